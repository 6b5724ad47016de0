"""Where things lie that tests read."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The repository."""

HELPERS = Path(__file__).resolve().parent
DATA = ROOT / "tests" / "data"
