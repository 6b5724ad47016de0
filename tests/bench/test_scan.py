"""The scan bench."""

import sys
from pathlib import Path

import pytest
import torch

from linksim.bench.scan import ScanSize, bench_scan, mamba_reference
from linksim.selective_scan.kernel import DETAIL, KERNEL

SMALL = ScanSize(length=64, channels=32, states=4)


@pytest.mark.skipif(KERNEL is None, reason=DETAIL)
def test_a_row_a_scan_pass_and_thread_count() -> None:
    table = bench_scan(SMALL, repetitions=3, slow_repetitions=1)
    threads = sorted({1, torch.get_num_threads()})
    native = table[table["scan"] == "native"]
    assert sorted(native["scan_threads"].unique()) == threads
    assert set(table["pass"]) == {"forward", "forward+backward"}
    assert {"native", "reference"} <= set(table["scan"])
    assert bool((table["median_ms"] >= table["fastest_ms"]).all())
    own = table[table["scan"] == "reference"]
    assert list(own["times_reference"]) == [1.0, 1.0]
    forward = native[native["pass"] == "forward"]
    assert bool((forward[["of_exp_limit", "of_mac_limit", "of_byte_limit"]] > 0).all(axis=None))
    # 64 * 32 pairs: 3 * 4 + 1 multiply-accumulates each
    work = forward["gmac_per_s"] * forward["median_ms"] * 1e6
    assert list(work) == pytest.approx([64 * 32 * 13] * len(threads))


def test_mamba_reference_loads_without_its_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package of the same shape: it would load everything, and its module wants CUDA."""
    ops = tmp_path / "mamba_ssm" / "ops"
    (ops / "triton").mkdir(parents=True)
    (tmp_path / "einops.py").touch()
    (tmp_path / "mamba_ssm" / "__init__.py").write_text("raise ImportError('no GPU')\n")
    for package in (ops, ops / "triton"):
        (package / "__init__.py").touch()
    (ops / "selective_scan_interface.py").write_text(
        "import selective_scan_cuda\n"
        "from mamba_ssm.ops.triton.layer_norm import _layer_norm_fwd\n"
        "def selective_scan_ref(): return 'reference'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    scan = mamba_reference()
    assert scan is not None
    assert scan() == "reference"
    assert not {n for n in set(sys.modules) - before if n.startswith(("mamba", "selective"))}


def test_without_mamba_there_is_no_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linksim.bench.scan.find_spec", lambda _: None)
    assert mamba_reference() is None
