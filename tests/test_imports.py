"""Imports go one way (the contracts in pyproject.toml), and what goes the other way is found."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.places import ROOT

PACKAGES = ("linksim", "baselines")


def _lint(root: Path) -> tuple[int, str]:
    """Exit status and output of lint-imports over the packages in a folder."""
    command = "from importlinter.cli import lint_imports_command as lint; lint()"
    done = subprocess.run(
        [sys.executable, "-c", command, "--no-cache", "--config", "pyproject.toml"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_imports_go_one_way() -> None:
    status, said = _lint(ROOT)
    assert status == 0, said


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The packages' Python files, to spoil."""
    for package in PACKAGES:
        only_python = shutil.ignore_patterns("*.so", "*.png", "*.safetensors", "__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=only_python)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("linksim/link/flat.py", "import linksim.sweep.run", "each line may use those below it"),
        ("linksim/units.py", "import baselines.gdn", "linksim knows no baseline"),
        ("linksim/images/folders.py", "import linksim.images.sets", "No circles"),
    ],
)
def test_a_forbidden_import_is_found(copy: Path, module: str, line: str, contract: str) -> None:
    spoilt = copy / module
    spoilt.write_text(f"{spoilt.read_text()}\n{line}\n")
    status, said = _lint(copy)
    assert status == 1, said
    assert f"{contract} BROKEN" in " ".join(said.split())


def test_the_top_level_can_be_taken_in_at_a_glance() -> None:
    folders = (path for path in (ROOT / "linksim").iterdir() if path.is_dir())
    rooms = [path for path in folders if any(path.iterdir()) and path.name != "__pycache__"]
    modules = list((ROOT / "linksim").glob("*.py"))
    assert len(rooms) + len(modules) <= 30, sorted(path.name for path in (*rooms, *modules))
