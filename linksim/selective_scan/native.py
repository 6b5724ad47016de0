"""The native CPU engine: the C++ kernel of csrc/ behind the operator."""

import torch
from torch import Tensor

from linksim.selective_scan.checks import Arguments, ScanParameters, check_finite
from linksim.selective_scan.kernel import CHUNK, SLAB, Call, border_of


def checkpoint_shape(scan: Arguments) -> tuple[int, ...]:
    """Of the states that the backward pass starts from: one a chunk of tokens."""
    batch, length, channels = scan.u.shape
    chunks, slabs = -(-length // CHUNK), -(-channels // SLAB)
    return len(scan.A), batch, slabs, chunks, scan.A[0].shape[1], SLAB


def forward(scan: Arguments, checkpoints: Tensor | None) -> Tensor:
    """y; fills the checkpoints if there are any. Raises InputError for non-finite input."""
    y = torch.empty(scan.u.shape, dtype=scan.u.dtype)
    call = Call(scan)
    call.scan.y = border_of(y)
    call.set_sum(y)
    if checkpoints is not None:
        call.set_checkpoints(checkpoints)
    if not call.forward():
        for parameters in scan.directions():
            check_finite(scan.u, ScanParameters(*parameters), scan.csi)
    return y


def backward(dy: Tensor, checkpoints: Tensor, scan: Arguments) -> list[Tensor]:
    """Gradients of u, then, a direction each, of delta, A, B, C, D and delta_bias."""
    call = Call(scan)
    u, B, C = scan.u, scan.B, scan.C
    batch, length, channels = u.shape
    directions, states = len(scan.A), scan.A[0].shape[1]
    slabs = -(-channels // SLAB)
    d_u = torch.empty(u.shape, dtype=u.dtype)
    d_delta = [torch.empty(t.shape, dtype=t.dtype) for t in scan.delta]
    # Shares of slabs of channels and of images, added up below in an order of their own.
    d_BC = torch.empty(directions, slabs, batch, length, 2 * states)
    d_A = torch.empty(directions, batch, slabs * SLAB, states)
    d_D, d_bias = torch.empty(2, directions, batch, slabs * SLAB)
    call.scan.y = call.border(dy)
    call.scan.d_u = border_of(d_u)
    call.set_sum(d_u)
    call.set_checkpoints(checkpoints)
    for i, direction in enumerate(call.scan.direction[:directions]):
        direction.d_delta = border_of(d_delta[i])
        direction.d_BC = d_BC[i].data_ptr()
        direction.d_A = d_A[i].data_ptr()
        direction.d_D = d_D[i].data_ptr()
        direction.d_bias = d_bias[i].data_ptr()
    call.backward()
    d_B, d_C = d_BC.sum(1).chunk(2, dim=-1)
    return [
        d_u,
        *d_delta,
        *(t.clone() for t in d_A.sum(1)[:, :channels]),
        *(t.to(like.dtype, copy=True) for t, like in zip(d_B, B, strict=True)),
        *(t.to(like.dtype, copy=True) for t, like in zip(d_C, C, strict=True)),
        *(t.clone() for t in d_D.sum(1)[:, :channels]),
        *(t.clone() for t in d_bias.sum(1)[:, :channels]),
    ]
