"""What the scan accepts, said in one line where it does not fit."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from linksim.errors import InputError


class ScanParameters(NamedTuple):
    """What one scan needs beside its input u [batch, L, channels].

    delta: step sizes [batch, L, channels], before bias and softplus where those are asked for.
    A: [channels, N]; B, C: [batch, L, N].
    D, delta_bias: [channels] or None.
    """

    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None = None
    delta_bias: Tensor | None = None


class Arguments(NamedTuple):
    """One call of the operator: scans over the same u, an entry of each sequence a direction.

    The tensors are those of :class:`ScanParameters`, A, D and delta_bias in float32.
    csi_interval: I, the first state is set before tokens 0, I, 2I, … of the walk; 0: before token
        0; -I: before I, 2I, …. reverse: which directions walk backwards.
    """

    u: Tensor
    delta: Sequence[Tensor]
    A: Sequence[Tensor]
    B: Sequence[Tensor]
    C: Sequence[Tensor]
    D: Sequence[Tensor]
    delta_bias: Sequence[Tensor]
    csi: Tensor | None
    delta_softplus: bool
    csi_interval: int
    reverse: Sequence[bool]

    def directions(self) -> Iterator[tuple[Tensor, ...]]:
        """(delta, A, B, C, D, delta_bias) of each direction."""
        yield from zip(self.delta, self.A, self.B, self.C, self.D, self.delta_bias, strict=True)


def check_shapes(
    u: Tensor, scan: ScanParameters, csi: Tensor | None, csi_interval: int | None
) -> None:
    """Raise InputError unless all shapes, dtypes and devices fit u [batch, L, channels]."""
    if u.ndim != 3 or 0 in u.shape:
        raise InputError(
            f"selective_scan: u is {_shape(u)}; it must be [batch, L, channels], none of them 0"
        )
    if scan.A.ndim != 2 or scan.A.shape[1] == 0:
        raise InputError(f"selective_scan: A is {_shape(scan.A)}; it must be [channels, N], N >= 1")
    batch, length, channels = u.shape
    states = scan.A.shape[1]
    _check(u, "delta", scan.delta, "[batch, L, channels]", (batch, length, channels))
    _check(u, "A", scan.A, "[channels, N]", (channels, states))
    _check(u, "B", scan.B, "[batch, L, N]", (batch, length, states))
    _check(u, "C", scan.C, "[batch, L, N]", (batch, length, states))
    _check(u, "D", scan.D, "[channels]", (channels,))
    _check(u, "delta_bias", scan.delta_bias, "[channels]", (channels,))
    _check(u, "csi", csi, "[batch]", (batch,))
    if csi_interval is not None and csi_interval < 1:
        raise InputError(
            f"selective_scan: csi_interval is {csi_interval}; it must be at least 1, or None for "
            "the initial state only"
        )


def check_finite(u: Tensor, scan: ScanParameters, csi: Tensor | None) -> None:
    """Raise InputError naming the first tensor that holds an infinity or a NaN."""
    for name, tensor in (("u", u), *scan._asdict().items(), ("csi", csi)):
        if tensor is not None and not bool(torch.isfinite(tensor).all()):
            raise InputError(f"selective_scan: {name} holds non-finite values; all must be finite")


def _check(u: Tensor, name: str, tensor: Tensor | None, axes: str, shape: tuple[int, ...]) -> None:
    if tensor is None:
        return
    if tuple(tensor.shape) != shape:
        raise InputError(
            f"selective_scan: {name} is {_shape(tensor)}; it must be {axes} = {list(shape)}"
        )
    if not tensor.is_floating_point() and name != "csi":
        raise InputError(f"selective_scan: {name} is {tensor.dtype}; it must be a floating dtype")
    if tensor.device != u.device:
        raise InputError(f"selective_scan: {name} is on {tensor.device}, u on {u.device}; move one")


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))
