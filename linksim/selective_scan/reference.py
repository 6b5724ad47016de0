"""The selective scan in plain torch: the oracle of the other backends.

Sequential over tokens, any floating dtype, gradients by autograd. Slow on purpose: it is the
recurrence of the paper written down, and nothing else.
"""

from collections.abc import Collection

import torch
from torch import Tensor
from torch.nn import functional as F

from linksim.selective_scan.checks import ScanParameters, check_finite

CHUNK = 64
"""Tokens whose decays are held at once."""


def selective_scan(
    u: Tensor,
    scan: ScanParameters,
    delta_softplus: bool,
    *,
    csi: Tensor | None,
    csi_interval: int | None,
    csi_start: bool,
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
        tokens = range(0 if csi_start else csi_interval or u.shape[1], u.shape[1])
        restarts = frozenset(tokens[:: csi_interval or u.shape[1]])
        y = _recurrence(u, delta, A, B, C, snr, restarts, reverse)
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
    restarts: Collection[int],
    reverse: bool,
) -> Tensor:
    """h_k = exp(delta_k A) h_{k-1} + delta_k u_k B_k and y_k = C_k . h_k, [batch, L, channels].

    The first state is set to snr before each token of the walk in ``restarts``.

    Goes by chunks of tokens, so that little memory is needed without gradients, and takes tokens
    by unbind, not by index: the gradient of an index is as large as the whole tensor.
    """
    tokens = u.shape[1]
    if reverse:
        u, delta, B, C = (t.flip(1) for t in (u, delta, B, C))
    h = u.new_zeros(u.shape[0], u.shape[2], A.shape[1])
    outputs = []
    for start in range(0, tokens, CHUNK):
        chunk = slice(start, start + CHUNK)
        decays = torch.exp(delta[:, chunk, :, None] * A).unbind(1)
        driven = ((delta[:, chunk] * u[:, chunk])[..., None] * B[:, chunk, None]).unbind(1)
        states = []
        for step, (a_k, x_k) in enumerate(zip(decays, driven, strict=True), start):
            if snr is not None and step in restarts:
                h = torch.cat([snr[:, None, None].expand(*h.shape[:2], 1), h[..., 1:]], dim=-1)
            h = torch.addcmul(x_k, a_k, h)
            states.append(h)
        outputs.append((torch.stack(states, dim=1) @ C[:, chunk, :, None]).squeeze(-1))
    y = torch.cat(outputs, dim=1)
    return y.flip(1) if reverse else y


def _compute_dtype(*tensors: Tensor) -> torch.dtype:
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype
