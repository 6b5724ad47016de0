"""The GPU engine: the kernels of triton_kernels.py behind the operator.

Triton comes with torch's wheels for Linux, so there is nothing to compile or to install. With
TRITON_INTERPRET=1 in the environment from the start, the kernels run in Triton's interpreter on a
CPU: far too slow for use, but the same code.
"""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from math import log2
from typing import Any

import torch
from torch import Tensor

from linksim.selective_scan.checks import Arguments

BLOCK_T = 8
"""Tokens that a warp holds in registers."""
BLOCK_C = 64
"""Channels that a warp holds, two a lane."""
MAX_STATES = 256
"""N at most: N states a channel are kept for every BLOCK_T tokens, for the backward pass."""
DTYPES = (torch.float32, torch.bfloat16, torch.float16)

_WARPS = 2048
"""Enough to fill the GPUs of today: four for each of 132 * 4 schedulers."""
_CARRIED, _CARRY_WARPS, _AHEAD = 128, 4, 16
"""States and warps of a program of carry_over, and chunks that it fetches together."""
_LOG2_E = 1.4426950408889634


INTERPRETED = os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "yes", "on", "y")
"""Whether Triton's interpreter stands in for a GPU."""
DEVICE = "cpu" if INTERPRETED else "cuda"
"""The type of the device on which the tensors must be."""
MISSING = (
    None if find_spec("triton") else "triton is not installed; torch's wheels for Linux bring it"
)
"""Why no machine could run the kernels with what is installed; None if one could."""


def why_unavailable() -> str | None:
    """Why the engine cannot run here; None if it can."""
    if MISSING is None and not INTERPRETED and not torch.cuda.is_available():
        return "torch finds no CUDA device"
    return MISSING


def detail() -> str:
    """What runs the kernels."""
    return f"Triton {version('triton')}" + (", interpreted on the CPU" if INTERPRETED else "")


def pieces_of_a_chunk(batch: int, length: int, channels: int, directions: int) -> int:
    """Pieces of BLOCK_T tokens in a chunk: 2 to 32, as many as leave enough warps to fill a GPU."""
    pieces = batch * directions * -(-channels // BLOCK_C) * length / BLOCK_T
    return 1 << min(max(round(log2(pieces / _WARPS)), 1), 5)


def checkpoint_shape(scan: Arguments) -> tuple[int, ...]:
    """Of the states that the backward pass starts from: one a piece."""
    batch, length, channels = scan.u.shape
    pieces = pieces_of_a_chunk(batch, length, channels, len(scan.A))
    chunks = -(-length // (pieces * BLOCK_T))
    return len(scan.A), batch, chunks * pieces, scan.A[0].shape[1], channels


def forward(scan: Arguments, checkpoints: Tensor | None) -> Tensor:
    """y; fills the checkpoints if there are any. Nothing waits for the GPU."""
    call = _Call(scan, checkpoints)
    y = torch.empty(scan.u.shape, dtype=scan.u.dtype, device=scan.u.device)
    with call.device():
        call.find_starts(call.u, None)
        call.run("outputs", call.u, *call.result(y), call.walks, call.csi, call.size)
    return y


def backward(dy: Tensor, checkpoints: Tensor, scan: Arguments) -> list[Tensor]:
    """Gradients of u, then, a direction each, of delta, A, B, C, D and delta_bias."""
    call = _Call(scan, checkpoints)
    size, new = call.size, call.new
    directions, tiles = len(scan.A), -(-size.channels // BLOCK_C)
    d_u = torch.empty(scan.u.shape, dtype=scan.u.dtype, device=scan.u.device)
    d_delta = [torch.empty(t.shape, dtype=t.dtype, device=t.device) for t in scan.delta]
    ends = new(directions, size.batch, size.chunks, size.states, size.channels)
    sums = new(directions, size.batch, size.chunks, size.channels)
    # Shares of tiles of channels, and of chunks, added up below in an order of their own.
    d_B, d_C = new(2, directions, tiles, size.batch, size.states, size.length)
    d_A = torch.empty_like(ends)
    d_D, d_bias = new(2, directions, size.batch, size.chunks, size.channels)
    rows = [call.rows(t) for t in d_delta]
    adjoints = tuple(
        call.kernels.Adjoint(*direction)
        for direction in zip(ends, sums, rows, d_B, d_C, d_A, d_D, d_bias, strict=True)
    )
    out = call.rows(dy)
    with call.device():
        call.find_starts(out, adjoints)
        arguments = (call.walks, adjoints, call.csi, size)
        call.run("gradients", call.u, out, *call.result(d_u), *arguments)
    # Each direction apart, so that no result shares memory with another.
    return [
        d_u,
        *d_delta,
        *(share.sum((0, 1)).t().contiguous() for share in d_A),
        *_add_tiles(d_B, scan.B),
        *_add_tiles(d_C, scan.C),
        *(share.sum((0, 1)) for share in d_D),
        *(share.sum((0, 1)) for share in d_bias),
    ]


def _add_tiles(shares: Tensor, likes: Sequence[Tensor]) -> list[Tensor]:
    """[tiles, batch, N, L] of each direction, added up, as [batch, L, N]."""
    return [
        share.sum(0).transpose(1, 2).contiguous().to(like.dtype)
        for share, like in zip(shares, likes, strict=True)
    ]


class _Call:
    """What the kernels take, made of the operator's arguments.

    starts: where a state is to be kept for every piece; None keeps one a chunk.
    """

    def __init__(self, scan: Arguments, starts: Tensor | None) -> None:
        self.kernels: Any = import_module("linksim.selective_scan.triton_kernels")
        self._device = scan.u.device
        batch, length, channels = scan.u.shape
        directions, states = len(scan.A), scan.A[0].shape[1]
        pieces = pieces_of_a_chunk(batch, length, channels, directions)
        chunks = -(-length // (pieces * BLOCK_T))
        kept = 1 if starts is None else pieces
        if starts is None:
            starts = self.new(directions, batch, chunks, states, channels)
        rates = self.new(directions, states, channels)
        for A, A2 in zip(scan.A, rates, strict=True):
            torch.mul(A.t(), _LOG2_E, out=A2)
        sums = self.new(directions, batch, chunks, channels)
        self.size = self.kernels.Size(batch, length, channels, states, chunks, pieces, kept)
        self.u = self.rows(scan.u)
        self.csi = None if scan.csi is None else scan.csi.contiguous()
        self.walks = tuple(
            self.kernels.Walk(
                *map(self.rows, (delta, B, C)), A2, D.contiguous(), bias.contiguous(), h, total
            )
            for (delta, _, B, C, D, bias), A2, h, total in zip(
                scan.directions(), rates, starts, sums, strict=True
            )
        )
        self._walk = {
            "CSI_START": scan.csi_interval >= 0,
            "INTERVAL": abs(scan.csi_interval),
            "REVERSE": tuple(scan.reverse),
            "BLOCK_T": BLOCK_T,
        }
        self._softplus = scan.delta_softplus

    def new(self, *shape: int) -> Tensor:
        """Float32, uninitialised."""
        return torch.empty(shape, dtype=torch.float32, device=self._device)

    def rows(self, tensor: Tensor) -> Any:
        """A [batch, L, width] tensor as the kernels read it."""
        if tensor.dtype not in DTYPES:
            tensor = tensor.float()
        if tensor.stride(2) != 1:
            tensor = tensor.contiguous()
        return self.kernels.Rows(tensor, tensor.stride(0), tensor.stride(1))

    def result(self, tensor: Tensor) -> tuple[Any, Any]:
        """A result's rows, and those where the directions are added up on the way to it."""
        exact = tensor.dtype == torch.float32 or len(self.walks) == 1
        total = tensor if exact else self.new(*tensor.shape)
        return self.rows(tensor), self.rows(total)

    def device(self) -> AbstractContextManager[object]:
        """Triton launches on the current device."""
        return torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext()

    def find_starts(self, x: Any, adjoints: Any) -> None:
        """Steps 1 and 2: the states, or with ``adjoints`` the adjoint states, of all chunks."""
        directions = len(self.walks)
        if self.size.chunks > 1:
            self.run("chunk_ends", x, self.walks, adjoints, self.csi, self.size, each=directions)
        blocks = -(-self.size.states * self.size.channels // _CARRIED)
        self.kernels.carry_over[(blocks, self.size.batch * directions)](
            self.walks,
            adjoints,
            self.csi,
            self.size,
            **self._walk,
            BLOCK=_CARRIED,
            AHEAD=_AHEAD,
            num_warps=_CARRY_WARPS,
        )

    def run(self, name: str, *arguments: Any, each: int = 1) -> None:
        """One of the kernels that take a chunk a warp, ``each`` of them an image and chunk."""
        tiles = -(-self.size.channels // BLOCK_C)
        grid = (tiles, self.size.chunks, self.size.batch * each)
        options = {**self._walk, "SOFTPLUS": self._softplus, "BLOCK_C": BLOCK_C}
        getattr(self.kernels, name)[grid](*arguments, **options, num_warps=1)
