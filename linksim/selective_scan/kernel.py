"""The compiled kernel of csrc/: finding, loading and calling it.

It is compiled once per instruction set when the package is installed; the best one that this
processor runs is loaded here by ctypes. That happens after torch is imported, so that both share
one OpenMP thread pool.
"""

import ctypes
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch
from torch import Tensor

from linksim.selective_scan.checks import Arguments

_INSTRUCTION_SETS = {"AVX512": ("avx512", "avx2", "baseline"), "AVX2": ("avx2", "baseline")}
_NOT_FINITE, _NO_MEMORY = 1, 2


# The structures of csrc/scan.h.


class Border(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("batch_stride", ctypes.c_int64),
        ("token_stride", ctypes.c_int64),
        ("is_bfloat16", ctypes.c_int32),
    )


class Direction(ctypes.Structure):
    _fields_ = (
        ("delta", Border),
        ("B", Border),
        ("C", Border),
        ("A", ctypes.c_void_p),
        ("D", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("reverse", ctypes.c_int32),
        ("checkpoints", ctypes.c_void_p),
        ("d_delta", Border),
        ("d_BC", ctypes.c_void_p),
        ("d_A", ctypes.c_void_p),
        ("d_D", ctypes.c_void_p),
        ("d_bias", ctypes.c_void_p),
    )


class Scan(ctypes.Structure):
    _fields_ = (
        ("batch", ctypes.c_int64),
        ("length", ctypes.c_int64),
        ("channels", ctypes.c_int64),
        ("states", ctypes.c_int64),
        ("u", Border),
        ("y", Border),
        ("d_u", Border),
        ("sum", Border),
        ("csi", ctypes.c_void_p),
        ("csi_interval", ctypes.c_int64),
        ("softplus", ctypes.c_int32),
        ("directions", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("direction", Direction * 2),
    )


def instruction_sets() -> tuple[str, ...]:
    """Those that this processor has, the best first."""
    return _INSTRUCTION_SETS.get(torch.backends.cpu.get_cpu_capability(), ("baseline",))


def load(names: Sequence[str]) -> tuple[ctypes.CDLL | None, str]:
    """The first kernel that was compiled for one of these instruction sets, and which it is; or
    None and, in words, why there is none."""
    failure = "it was not compiled when linksim was installed (no C++ compiler with OpenMP?)"
    for name in names:
        for suffix in EXTENSION_SUFFIXES:
            path = Path(__file__).with_name(f"_native_{name}{suffix}")
            if not path.exists():
                continue
            try:
                return ctypes.CDLL(str(path)), name
            except OSError as error:
                failure = f"{path.name} does not load ({error})"
    return None, failure


KERNEL, DETAIL = load(instruction_sets())
CHUNK: int = KERNEL.linksim_scan_chunk() if KERNEL else 0
"""Tokens between two saved states."""
SLAB: int = KERNEL.linksim_scan_slab() if KERNEL else 0
"""Channels that the kernel takes together."""


def limit(operation: str, rounds: int) -> int:
    """Do ``multiply_add`` or ``exponential`` on registers alone, in all threads of torch.

    Returns how many single operations were done, in proportion to ``rounds``.
    """
    if KERNEL is None:
        raise RuntimeError(f"the native selective scan is not available: {DETAIL}")
    function = KERNEL[f"linksim_limit_{operation}"]
    function.argtypes, function.restype = (ctypes.c_int64, ctypes.c_int32), ctypes.c_int64
    done: int = function(rounds, torch.get_num_threads())
    return done


def border_of(tensor: Tensor) -> Border:
    return Border(
        data=tensor.data_ptr(),
        batch_stride=tensor.stride(0),
        token_stride=tensor.stride(1),
        is_bfloat16=tensor.dtype == torch.bfloat16,
    )


def _readable(tensor: Tensor) -> Tensor:
    """The tensor with its last axis contiguous, in a dtype that the kernel reads."""
    if tensor.dtype not in (torch.float32, torch.bfloat16):
        tensor = tensor.float()
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


class Call:
    """Arguments of one call of the kernel, and the tensors that keep their memory alive."""

    def __init__(self, given: Arguments) -> None:
        self._alive: list[Tensor] = []
        batch, length, channels = given.u.shape
        self.scan = Scan(
            batch=batch,
            length=length,
            channels=channels,
            states=given.A[0].shape[1],
            u=self.border(given.u),
            csi=None if given.csi is None else self.pointer(given.csi),
            csi_interval=given.csi_interval,
            softplus=given.delta_softplus,
            directions=len(given.A),
            threads=torch.get_num_threads(),
        )
        for i, direction in enumerate(self.scan.direction[: len(given.A)]):
            direction.delta = self.border(given.delta[i])
            direction.B = self.border(given.B[i])
            direction.C = self.border(given.C[i])
            direction.A = self.pointer(given.A[i])
            direction.D = self.pointer(given.D[i])
            direction.bias = self.pointer(given.delta_bias[i])
            direction.reverse = given.reverse[i]

    def border(self, tensor: Tensor) -> Border:
        self._alive.append(_readable(tensor))
        return border_of(self._alive[-1])

    def pointer(self, tensor: Tensor) -> int:
        self._alive.append(tensor.contiguous())
        return self._alive[-1].data_ptr()

    def set_sum(self, result: Tensor) -> None:
        """Where the directions are added: in the result itself if it is float32."""
        exact = result.dtype == torch.float32 or self.scan.directions == 1
        self.scan.sum = self.border(result if exact else torch.empty(result.shape))

    def set_checkpoints(self, checkpoints: Tensor) -> None:
        for direction, states in zip(self.scan.direction, checkpoints, strict=False):
            direction.checkpoints = states.data_ptr()

    def forward(self) -> bool:
        """Run the scan; False if an output is not finite."""
        return self._run("linksim_scan_forward") != _NOT_FINITE

    def backward(self) -> None:
        """Run the scan's backward pass."""
        self._run("linksim_scan_backward")

    def _run(self, name: str) -> int:
        if KERNEL is None:
            raise RuntimeError(f"the native selective scan is not available: {DETAIL}")
        status: int = KERNEL[name](ctypes.byref(self.scan))
        if status == _NO_MEMORY:
            raise MemoryError("selective_scan: no memory for the working space of the kernel")
        return status
