"""What is handed out: a wheel built from the source distribution holds what a clone has."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.helpers.places import ROOT

HOOK = "import setuptools.build_meta as b, sys; print(b.build_{}(sys.argv[1]))"


def _build(kind: str, where: Path, out: Path) -> Path:
    """Call a hook of the build backend, with a compiler that compiles nothing."""
    done = subprocess.run(
        [sys.executable, "-c", HOOK.format(kind), str(out)],
        cwd=where,
        env={"PATH": "/usr/bin:/bin", "CC": "false", "CXX": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return out / done.stdout.split()[-1]


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("package")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a clone")
    clone = place / "clone"
    for name in filter(None, listed.stdout.split("\0")):
        if not name.startswith(("tests/", "results/", "docs/")):
            target = clone / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    archive = _build("sdist", clone, place)
    subprocess.run(["tar", "-xf", archive.name], cwd=place, check=True)
    return _build("wheel", place / archive.name.removesuffix(".tar.gz"), place)


def test_a_wheel_from_the_source_distribution_has_the_scenarios(wheel: Path) -> None:
    files = set(zipfile.ZipFile(wheel).namelist())
    scenarios = {p.relative_to(ROOT).as_posix() for p in (ROOT / "scenarios").rglob("*.yaml")}
    assert {f"linksim/{name}" for name in scenarios} <= files


@pytest.mark.parametrize("folder", ["linksim", "baselines"])
def test_and_all_that_lies_in_the_packages(wheel: Path, folder: str) -> None:
    files = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "-z", folder], cwd=ROOT, capture_output=True, text=True, check=True
    )
    wanted = {name for name in tracked.stdout.split("\0") if name and "/csrc/" not in name}
    assert wanted - files == set()
