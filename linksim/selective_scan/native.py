"""The native CPU backend: the C++ kernel of csrc/ as an operator of torch.

``torch.ops.linksim.selective_scan`` runs one or two directions over the same input and adds them.
It has a fake implementation and autograd, so torch.compile, FLOP counters and the like see it.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from linksim.selective_scan.checks import ScanParameters, check_finite
from linksim.selective_scan.kernel import CHUNK, SLAB, Call, border_of

MACS_PER_STATE = 3
"""Multiply-accumulates per token, channel and state: decay times h, input times B, h times C."""


# --------------------------------------------------------------------------------------------------
# Forward.


def selective_scan(
    u: Tensor,
    scans: Sequence[ScanParameters],
    delta_softplus: bool,
    *,
    csi: Tensor | None,
    csi_interval: int | None,
    csi_start: bool,
    reverse: Sequence[bool],
) -> Tensor:
    """Sum of one or two scans over u, each along or against the tokens; see the public function.

    u, delta, B and C are read as float32 or bfloat16; everything inside is float32.
    """
    zeros = u.new_zeros(u.shape[2], dtype=torch.float32)
    D = [zeros if scan.D is None else scan.D.float() for scan in scans]
    bias = [zeros if scan.delta_bias is None else scan.delta_bias.float() for scan in scans]
    A = [scan.A.float() for scan in scans]
    parameters = (
        [scan.delta for scan in scans],
        A,
        [scan.B for scan in scans],
        [scan.C for scan in scans],
        D,
        bias,
    )
    needs_grad = torch.is_grad_enabled() and any(
        t.requires_grad for t in (u, *(t for ts in parameters for t in ts))
    )
    y: Tensor
    y, _ = _scan(
        u,
        *parameters,
        None if csi is None else csi.detach().float(),
        delta_softplus,
        (csi_interval or 0) * (1 if csi_start else -1),
        list(reverse),
        needs_grad,
    )
    return y


@torch.library.custom_op("linksim::selective_scan", mutates_args=(), device_types="cpu")
def _scan(
    u: Tensor,
    delta: Sequence[Tensor],
    A: Sequence[Tensor],
    B: Sequence[Tensor],
    C: Sequence[Tensor],
    D: Sequence[Tensor],
    delta_bias: Sequence[Tensor],
    csi: Tensor | None,
    delta_softplus: bool,
    csi_interval: int,
    reverse: Sequence[bool],
    keep_checkpoints: bool,
) -> tuple[Tensor, Tensor]:
    """y [batch, L, channels] and, if kept, the states that the backward pass starts from.

    csi_interval: I, set before tokens 0, I, 2I, …; 0: before token 0; -I: before I, 2I, ….
    """
    y = torch.empty(u.shape, dtype=u.dtype)
    checkpoints = torch.empty(_checkpoint_shape(u, A, keep_checkpoints))
    call = Call(u, delta, A, B, C, D, delta_bias, csi, delta_softplus, csi_interval, reverse)
    call.scan.y = border_of(y)
    call.set_sum(y)
    if keep_checkpoints:
        call.set_checkpoints(checkpoints)
    if not call.forward():
        for parameters in zip(delta, A, B, C, D, delta_bias, strict=True):
            check_finite(u, ScanParameters(*parameters), csi)
    return y, checkpoints


@_scan.register_fake
def _(
    u: Tensor,
    delta: Sequence[Tensor],
    A: Sequence[Tensor],
    B: Sequence[Tensor],
    C: Sequence[Tensor],
    D: Sequence[Tensor],
    delta_bias: Sequence[Tensor],
    csi: Tensor | None,
    delta_softplus: bool,
    csi_interval: int,
    reverse: Sequence[bool],
    keep_checkpoints: bool,
) -> tuple[Tensor, Tensor]:
    shape = _checkpoint_shape(u, A, keep_checkpoints)
    return u.new_empty(u.shape), u.new_empty(shape, dtype=torch.float32)


def _checkpoint_shape(u: Tensor, A: Sequence[Tensor], keep: bool) -> tuple[int, ...]:
    batch, length, channels = u.shape
    if not keep:
        return (0,)
    return (len(A), batch, -(-channels // SLAB), -(-length // CHUNK), A[0].shape[1], SLAB)


# --------------------------------------------------------------------------------------------------
# Backward.


@torch.library.custom_op("linksim::selective_scan_backward", mutates_args=(), device_types="cpu")
def _scan_backward(
    dy: Tensor,
    checkpoints: Tensor,
    u: Tensor,
    delta: Sequence[Tensor],
    A: Sequence[Tensor],
    B: Sequence[Tensor],
    C: Sequence[Tensor],
    D: Sequence[Tensor],
    delta_bias: Sequence[Tensor],
    csi: Tensor | None,
    delta_softplus: bool,
    csi_interval: int,
    reverse: Sequence[bool],
) -> list[Tensor]:
    """Gradients of u, then, a direction each, of delta, A, B, C, D and delta_bias."""
    call = Call(u, delta, A, B, C, D, delta_bias, csi, delta_softplus, csi_interval, reverse)
    batch, length, channels = u.shape
    directions, states = len(A), A[0].shape[1]
    slabs = -(-channels // SLAB)
    d_u = torch.empty(u.shape, dtype=u.dtype)
    d_delta = [torch.empty(t.shape, dtype=t.dtype) for t in delta]
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


@_scan_backward.register_fake
def _(
    dy: Tensor,
    checkpoints: Tensor,
    u: Tensor,
    delta: Sequence[Tensor],
    A: Sequence[Tensor],
    B: Sequence[Tensor],
    C: Sequence[Tensor],
    D: Sequence[Tensor],
    delta_bias: Sequence[Tensor],
    csi: Tensor | None,
    delta_softplus: bool,
    csi_interval: int,
    reverse: Sequence[bool],
) -> list[Tensor]:
    likes = (u, *delta, *A, *B, *C, *D, *delta_bias)
    return [like.new_empty(like.shape) for like in likes]


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    u, *lists, csi, ctx.softplus, ctx.interval, ctx.reverse, _ = inputs
    ctx.directions = len(lists[0])
    ctx.save_for_backward(output[1], u, csi, *(t for tensors in lists for t in tensors))


def _backward(ctx: Any, dy: Tensor, _: Tensor) -> tuple[Any, ...]:
    checkpoints, u, csi, *flat = ctx.saved_tensors
    n = ctx.directions
    lists = [list(flat[i : i + n]) for i in range(0, len(flat), n)]
    d_u, *grads = _scan_backward(
        dy, checkpoints, u, *lists, csi, ctx.softplus, ctx.interval, ctx.reverse
    )
    return (d_u, *(grads[i : i + n] for i in range(0, len(grads), n)), *[None] * 5)


_scan.register_autograd(_backward, setup_context=_save_for_backward)


# --------------------------------------------------------------------------------------------------
# FLOP counting: two for each multiply-accumulate, as torch counts. The backward pass counts twice
# the forward one, by torch's convention for matrix products.


def _flops(u: Sequence[int], A: Sequence[Sequence[int]]) -> int:
    return 2 * MACS_PER_STATE * prod(u) * sum(states for _, states in A)


@register_flop_formula(torch.ops.linksim.selective_scan)
def _(u: torch.Size, delta: Any, A: Sequence[torch.Size], *_: Any, **__: Any) -> int:
    return _flops(u, A)


@register_flop_formula(torch.ops.linksim.selective_scan_backward)
def _(
    dy: torch.Size, states: Any, u: Any, delta: Any, A: Sequence[torch.Size], *_: Any, **__: Any
) -> int:
    return 2 * _flops(dy, A)
