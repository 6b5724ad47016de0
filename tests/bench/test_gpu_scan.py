"""The bench of the scan's GPU backends, in Triton's interpreter where there is no GPU."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from linksim.bench.gpu_scan import bench_gpu_scan, card_limits
from linksim.bench.scan import ScanSize
from linksim.errors import InputError
from linksim.selective_scan import triton
from tests.helpers.command_line import run
from tests.helpers.on_triton import device


@pytest.mark.slow
@pytest.mark.skipif(triton.why_unavailable() is not None, reason="no Triton or no GPU")
def test_a_row_a_scan_and_pass() -> None:
    table = bench_gpu_scan(
        [ScanSize(length=4, channels=2, states=1)], device=device(), repetitions=1
    )
    own = table[table["scan"] == "triton"]
    assert list(own["pass"]) == ["forward", "forward+backward"]
    assert bool((table["median_ms"] > 0).all())


def test_without_triton_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "MISSING", "triton is not installed")
    with pytest.raises(InputError, match="bench scan: the triton backend is not available"):
        bench_gpu_scan([], device=torch.device("cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(
        capsys, "bench", "scan", "--device", "cuda", "--csv", str(tmp_path / "out.csv")
    )
    assert status == 2
    assert err == "linksim: device 'cuda': 0 CUDA device(s) here\n"


def test_what_a_card_can_do() -> None:
    """NVIDIA's data sheet of the H100 SXM: 3.35 TB/s; 132 multiprocessors at up to 1.98 GHz."""
    card = SimpleNamespace(
        multi_processor_count=132,
        clock_rate=1_980_000,
        memory_clock_rate=2_619_000,
        memory_bus_width=5120,
    )
    limits = card_limits(card)
    assert limits["byte"] == pytest.approx(3350, rel=0.001)
    assert limits["exp"] == pytest.approx(132 * 16 * 1.98)
