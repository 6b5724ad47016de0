"""tools/gpu_check.sh: its steps, small and on a CPU, so that it runs where there is a GPU."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.places import ROOT

SCRIPT = ROOT / "tools" / "gpu_check.sh"


def test_it_takes_less_than_ten_minutes() -> None:
    """Every step has a limit of its own."""
    limits = re.findall(
        r"^ *(?:if .* then )?(?:step|train) (\d+)", SCRIPT.read_text(), re.MULTILINE
    )
    assert len(limits) == 11
    assert sum(map(int, limits)) < 600


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_its_steps_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "figures.txt"
    environment = {**os.environ, "DRY": "1", "PYTHON": sys.executable}
    done = subprocess.run(
        ["bash", str(SCRIPT), str(out)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    text = out.read_text()
    assert done.returncode == 0, text
    assert "== failed" not in text
    for said in ("1 passed", "mambajscc", "ratio", "crops_per_s", "The time is up", "Going on at"):
        assert said in text
