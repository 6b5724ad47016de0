"""The scan as an operator of torch, whichever engine computes it.

``torch.ops.linksim.selective_scan`` runs one or two directions over the same input and adds them.
It has a fake implementation and autograd, so torch.compile, FLOP counters and the like see it.
An engine is a module of three functions: ``checkpoint_shape``, ``forward`` and ``backward``.
"""

from collections.abc import Sequence
from math import prod
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from linksim.selective_scan import native, triton
from linksim.selective_scan.checks import Arguments, ScanParameters

MACS_PER_STATE = 3
"""Multiply-accumulates per token, channel and state: decay times h, input times B, h times C."""


class Engine(Protocol):
    """What computes the scans of one call."""

    def checkpoint_shape(self, scan: Arguments) -> tuple[int, ...]:
        """Shape of the states, float32, that the backward pass starts from."""

    def forward(self, scan: Arguments, checkpoints: Tensor | None) -> Tensor:
        """y [batch, L, channels] in u's dtype; fills the checkpoints if there are any."""

    def backward(self, dy: Tensor, checkpoints: Tensor, scan: Arguments) -> list[Tensor]:
        """Gradients of u, then, a direction each, of delta, A, B, C, D and delta_bias."""


ENGINES: dict[str, Engine] = {"native": native, "triton": triton}


# --------------------------------------------------------------------------------------------------
# Forward.


def selective_scan(
    engine: str,
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

    u, delta, B and C are read in the dtypes that the engine takes; everything inside is float32.
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
        engine,
    )
    return y


@torch.library.custom_op("linksim::selective_scan", mutates_args=())
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
    engine: str,
) -> tuple[Tensor, Tensor]:
    """y [batch, L, channels] and, if kept, the states that the backward pass starts from.

    csi_interval: I, set before tokens 0, I, 2I, …; 0: before token 0; -I: before I, 2I, ….
    """
    scan = Arguments(u, delta, A, B, C, D, delta_bias, csi, delta_softplus, csi_interval, reverse)
    checkpoints = _checkpoints(scan, keep_checkpoints, engine)
    return ENGINES[engine].forward(scan, checkpoints if keep_checkpoints else None), checkpoints


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
    engine: str,
) -> tuple[Tensor, Tensor]:
    scan = Arguments(u, delta, A, B, C, D, delta_bias, csi, delta_softplus, csi_interval, reverse)
    return u.new_empty(u.shape), _checkpoints(scan, keep_checkpoints, engine)


def _checkpoints(scan: Arguments, keep: bool, engine: str) -> Tensor:
    shape = ENGINES[engine].checkpoint_shape(scan) if keep else (0,)
    return scan.u.new_empty(shape, dtype=torch.float32)


# --------------------------------------------------------------------------------------------------
# Backward.


@torch.library.custom_op("linksim::selective_scan_backward", mutates_args=())
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
    engine: str,
) -> list[Tensor]:
    """Gradients of u, then, a direction each, of delta, A, B, C, D and delta_bias."""
    scan = Arguments(u, delta, A, B, C, D, delta_bias, csi, delta_softplus, csi_interval, reverse)
    return ENGINES[engine].backward(dy, checkpoints, scan)


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
    engine: str,
) -> list[Tensor]:
    likes = (u, *delta, *A, *B, *C, *D, *delta_bias)
    return [like.new_empty(like.shape) for like in likes]


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    u, *lists, csi, softplus, interval, reverse, _, engine = inputs
    ctx.settings = (softplus, interval, reverse, engine)
    ctx.directions = len(lists[0])
    ctx.save_for_backward(output[1], u, csi, *(t for tensors in lists for t in tensors))


def _backward(ctx: Any, dy: Tensor, _: Tensor) -> tuple[Any, ...]:
    checkpoints, u, csi, *flat = ctx.saved_tensors
    n = ctx.directions
    lists = [list(flat[i : i + n]) for i in range(0, len(flat), n)]
    d_u, *grads = _scan_backward(dy, checkpoints, u, *lists, csi, *ctx.settings)
    return (d_u, *(grads[i : i + n] for i in range(0, len(grads), n)), *[None] * 6)


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
