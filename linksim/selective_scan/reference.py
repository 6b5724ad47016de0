"""The selective scan in plain torch: the oracle of the other backends.

Sequential over tokens, any floating dtype, gradients by autograd. Slow on purpose: it is the
recurrence of the paper written down, and nothing else.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from linksim.selective_scan.checks import ScanParameters, check_finite


def selective_scan(
    u: Tensor,
    scan: ScanParameters,
    delta_softplus: bool,
    *,
    csi: Tensor | None,
    csi_interval: int | None,
    reverse: bool,
) -> Tensor:
    """See :func:`linksim.selective_scan.selective_scan`; computes in float32 or wider."""
    if not torch.compiler.is_compiling():
        check_finite(u, scan, csi)
    out_dtype = u.dtype
    dtype = _compute_dtype(u, scan.delta, scan.A, scan.B, scan.C)
    with torch.autocast(u.device.type, enabled=False):
        u, delta, A, B, C = (t.to(dtype) for t in (u, scan.delta, scan.A, scan.B, scan.C))
        if scan.delta_bias is not None:
            delta = delta + scan.delta_bias.to(dtype)
        if delta_softplus:
            delta = F.softplus(delta)
        snr = None if csi is None else csi.detach().to(dtype)
        y = _recurrence(u, delta, A, B, C, snr, csi_interval, reverse)
        if scan.D is not None:
            y = y + scan.D.to(dtype) * u
    return y.to(out_dtype)


def _recurrence(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    snr: Tensor | None,
    csi_interval: int | None,
    reverse: bool,
) -> Tensor:
    """h_k = exp(delta_k A) h_{k-1} + delta_k u_k B_k and y_k = C_k . h_k, [batch, L, channels]."""
    length = u.shape[1]
    h = u.new_zeros(u.shape[0], u.shape[2], A.shape[1])
    outputs = []
    for step in range(length):
        k = length - 1 - step if reverse else step
        if snr is not None and (step == 0 or (csi_interval and step % csi_interval == 0)):
            h = torch.cat([snr[:, None, None].expand(*h.shape[:2], 1), h[..., 1:]], dim=-1)
        d_k = delta[:, k, :, None]
        h = torch.exp(d_k * A) * h + d_k * u[:, k, :, None] * B[:, k, None, :]
        outputs.append((h @ C[:, k, :, None]).squeeze(-1))
    if reverse:
        outputs.reverse()
    return torch.stack(outputs, dim=1)


def _compute_dtype(*tensors: Tensor) -> torch.dtype:
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype
