"""The Triton kernels in the sizes that are used: minutes in the interpreter, and a compilation."""

import os
import subprocess
import sys

import pytest

from linksim.selective_scan import triton
from tests.helpers.on_triton import INTERPRETED, assert_matches, patch_language_once
from tests.helpers.places import ROOT
from tests.helpers.recurrence import random_case

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(triton.why_unavailable() is not None, reason="no Triton or no GPU"),
]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    if INTERPRETED:
        patch_language_once(monkeypatch)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("length", "channels", "states"),
    [(1, 1, 1), (8, 63, 2), (33, 64, 5), (70, 65, 3), (17, 130, 16), (20, 5, 64)],
)
def test_sizes(length: int, channels: int, states: int, reverse: bool) -> None:
    assert_matches(random_case(1, length, channels, states, interval=19, reverse=reverse))


@pytest.mark.parametrize("capability", ["80", "90"])
def test_compiles_for_a_gpu_that_is_not_here(capability: str) -> None:
    """Down to machine code, by ptxas; what the interpreter does not see."""
    environment = {**os.environ, "TRITON_INTERPRET": "0", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.helpers.compile_triton", capability]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [line.split() for line in done.stdout.splitlines()]
    assert {name for name, _, _ in rows} == {"chunk_ends", "carry_over", "outputs", "gradients"}
    assert all(int(registers) <= 255 and int(shared) == 0 for _, registers, shared in rows)
