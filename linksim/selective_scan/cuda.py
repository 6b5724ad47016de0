"""The CUDA backend: mamba-ssm's kernel, with CSI-ReST by linearity.

The kernel knows no initial state and never restarts one. The recurrence is linear in its state, so
CSI-ReST splits off exactly: with s the SNR and the walk cut into segments of ``csi_interval``
tokens, the first of the N states restarts in every segment and there is the sum of

- its zero-state part: the kernel run on the segments as a batch, with this state alone;
- its zero-input part: C_k[0] s exp(A[0] (sum of the segment's step sizes up to and including k)).

The other N - 1 states and the skip are an ordinary scan. With one segment the zero-state part
joins the ordinary scan. mamba-ssm is imported only when a scan asks for it.
"""

from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.nn import functional as F

from linksim.errors import InputError
from linksim.selective_scan.checks import ScanParameters

Kernel = Callable[..., Tensor]
"""(u, delta [batch, channels, L], A [channels, N], B, C [batch, N, L], D, z, delta_bias
[channels] or None, delta_softplus) -> [batch, channels, L]."""

INSTALL = (
    "install it with: MAMBA_FORCE_BUILD=TRUE pip install --no-build-isolation 'linksim[cuda]'"
    " (compiles the Mamba-1 kernel selective_scan_cuda; needs nvcc)"
)


@cache
def why_unavailable() -> str | None:
    """Why the backend cannot run here; None if it can. Imports nothing of mamba-ssm."""
    if find_spec("mamba_ssm") is None:
        return f"mamba-ssm is not installed; {INSTALL}"
    if find_spec("selective_scan_cuda") is None:
        return f"mamba-ssm is installed without its Mamba-1 kernel; {INSTALL}"
    return None if torch.cuda.is_available() else "torch finds no CUDA device"


def load_kernel() -> Kernel:
    """mamba-ssm's selective_scan_fn; raises InputError that says how to install it."""
    reason = why_unavailable()
    if reason is not None:
        raise InputError(f"selective_scan: the cuda backend is not available: {reason}")
    try:
        interface = import_module("mamba_ssm.ops.selective_scan_interface")
    except (ImportError, OSError) as error:
        raise InputError(f"selective_scan: mamba-ssm does not load ({error}); {INSTALL}") from error
    kernel: Kernel = interface.selective_scan_fn
    return kernel


def selective_scan(
    kernel: Kernel,
    u: Tensor,
    scan: ScanParameters,
    delta_softplus: bool,
    *,
    csi: Tensor | None,
    csi_interval: int | None,
    csi_start: bool,
    reverse: bool,
) -> Tensor:
    """See :func:`linksim.selective_scan.selective_scan`; ``kernel`` runs the ordinary scans."""
    dtype, length = u.dtype, u.shape[1]
    u, delta, B, C = (
        (t.flip(1) if reverse else t).to(dtype) for t in (u, scan.delta, scan.B, scan.C)
    )
    A = scan.A.float()
    D, bias = (None if t is None else t.float() for t in (scan.D, scan.delta_bias))
    run = partial(_run, kernel, bias, delta_softplus)
    if csi is None:
        y = run(u, delta, A, B, C, D)
    else:
        interval = min(csi_interval or length, length)
        y = _zero_input(delta, A[:, 0], C[..., 0], bias, delta_softplus, csi, interval)
        if not csi_start:
            y[:, :interval] = 0
        if interval == length:
            y = y + run(u, delta, A, B, C, D)
        else:
            u_, delta_, B_, C_ = (
                _segments(t, interval) for t in (u, delta, B[..., :1], C[..., :1])
            )
            first = run(u_, delta_, A[:, :1], B_, C_, None)
            y = y + first.reshape(u.shape[0], -1, u.shape[2])[:, :length]
            if A.shape[1] > 1:
                y = y + run(u, delta, A[:, 1:], B[..., 1:], C[..., 1:], D)
            elif D is not None:
                y = y + D * u
    return (y.flip(1) if reverse else y).to(dtype)


def _run(
    kernel: Kernel,
    bias: Tensor | None,
    delta_softplus: bool,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
) -> Tensor:
    """The kernel, channels last."""
    u_, delta_, B_, C_ = (t.transpose(1, 2) for t in (u, delta, B, C))
    return kernel(u_, delta_, A, B_, C_, D, None, bias, delta_softplus).transpose(1, 2)


def _zero_input(
    delta: Tensor,
    A: Tensor,
    C: Tensor,
    bias: Tensor | None,
    delta_softplus: bool,
    csi: Tensor,
    interval: int,
) -> Tensor:
    """What a first state of s at the start of each segment gives, float32 [batch, L, channels].

    delta [batch, L, channels], A [channels] and C [batch, L] of the first state, csi [batch].
    """
    with torch.autocast(delta.device.type, enabled=False):
        steps = delta.float() if bias is None else delta.float() + bias
        if delta_softplus:
            steps = F.softplus(steps)
        elapsed = _segments(steps, interval).cumsum(1).reshape(delta.shape[0], -1, delta.shape[2])
        decay = torch.exp(elapsed[:, : delta.shape[1]] * A)
        return decay * C.float()[..., None] * csi.detach().float()[:, None, None]


def _segments(x: Tensor, interval: int) -> Tensor:
    """[batch, L, width] -> [batch * segments, interval, width], the last one filled with zeros."""
    missing = -x.shape[1] % interval
    return F.pad(x, (0, 0, 0, missing)).reshape(-1, interval, x.shape[2])
