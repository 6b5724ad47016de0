"""The CUDA backend's decomposition of CSI-ReST, with plain torch in the place of its kernel."""

import sys
from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from linksim.bench.scan import mamba_reference
from linksim.errors import InputError
from linksim.selective_scan import cuda
from tests.helpers.recurrence import Case, random_case, recurrence, relative_error


def kernel(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
) -> Tensor:
    """An ordinary scan with the arguments of mamba-ssm's: u, delta [B, D, L], B, C [B, N, L]."""
    assert z is None
    assert u.dtype == delta.dtype == B.dtype == C.dtype  # what the CUDA code insists on
    assert A.dtype == torch.float32
    wide = u.float()
    steps = delta.float() if delta_bias is None else delta.float() + delta_bias[:, None]
    steps = F.softplus(steps) if delta_softplus else steps
    h = torch.zeros(u.shape[0], *A.shape)
    y = []
    for k in range(u.shape[2]):
        driven = (steps[:, :, k] * wide[:, :, k])[..., None] * B[:, None, :, k].float()
        h = torch.exp(steps[:, :, k, None] * A) * h + driven
        y.append((h * C[:, None, :, k].float()).sum(-1))
    out = torch.stack(y, dim=2)
    return (out if D is None else out + D[:, None] * wide).to(u.dtype)


MAMBA = pytest.param(
    mamba_reference(),
    id="mamba-ssm",
    marks=pytest.mark.skipif(mamba_reference() is None, reason="mamba-ssm is not installed"),
)
"""Its selective_scan_ref; how to install it without CUDA: linksim/bench_scan.py."""


def scan(case: Case, scan_kernel: Callable[..., Tensor] = kernel) -> Tensor:
    return cuda.selective_scan(
        scan_kernel,
        case.u,
        case.scan,
        case.softplus,
        csi=case.csi,
        csi_interval=case.interval,
        csi_start=case.csi_start,
        reverse=case.reverse,
    )


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("states", [1, 4])
@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("interval", [1, 7, 20, 2048, None])
@pytest.mark.parametrize("scan_kernel", [pytest.param(kernel, id="ours"), MAMBA])
def test_decomposition_is_exact(
    scan_kernel: Callable[..., Tensor],
    interval: int | None,
    start: bool,
    states: int,
    reverse: bool,
) -> None:
    case = random_case(2, 20, 3, states, interval=interval, reverse=reverse, csi_start=start)
    exact, single = case.cast(torch.float64), case.cast(torch.float32)
    y, wanted = scan(single, scan_kernel), recurrence(exact)
    assert relative_error(y, wanted) < 1e-6
    for ours, theirs in zip(
        torch.autograd.grad(y.square().sum(), single.tensors()),
        torch.autograd.grad(wanted.square().sum(), exact.tensors()),
        strict=True,
    ):
        assert relative_error(ours, theirs) < 1e-5


def test_without_csi_it_is_the_kernel() -> None:
    case = random_case(2, 20, 3, 4, csi=False)
    assert relative_error(scan(case.cast(torch.float32)), recurrence(case)) < 1e-6


def test_the_snr_stays_float32_in_half_precision() -> None:
    """With zero input the output is the SNR's decay alone: rounded once, at the end."""
    case = random_case(1, 20, 3, 4, interval=6).cast(torch.bfloat16)
    silent = Case(
        u=torch.zeros_like(case.u), scan=case.scan, csi=torch.tensor([12.3456]), interval=6
    )
    wanted = recurrence(silent.cast(torch.float64))
    assert torch.equal(scan(silent), wanted.float().to(torch.bfloat16))


def test_a_missing_kernel_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mamba_ssm", None)
    monkeypatch.setattr(cuda, "find_spec", lambda _: None)
    cuda.why_unavailable.cache_clear()
    with pytest.raises(InputError, match=r"MAMBA_FORCE_BUILD=TRUE pip install --no-build-isol"):
        cuda.load_kernel()
    cuda.why_unavailable.cache_clear()


def test_a_kernel_that_does_not_load_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = ModuleType("mamba_ssm")
    broken.__path__ = []
    monkeypatch.setitem(sys.modules, "mamba_ssm", broken)
    monkeypatch.setattr(cuda, "why_unavailable", lambda: None)
    with pytest.raises(InputError, match="mamba-ssm does not load"):
        cuda.load_kernel()
