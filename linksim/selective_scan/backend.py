"""Which backends of the scan this machine has, and which one a call takes."""

import warnings
from functools import cache

import torch
from torch import Tensor

from linksim.errors import InputError
from linksim.selective_scan import cuda
from linksim.selective_scan.kernel import DETAIL, KERNEL

BACKENDS = ("reference", "native", "cuda")


def backends() -> dict[str, str]:
    """For each backend, whether it can run here, and with what or why not."""
    missing = cuda.why_unavailable()
    return {
        "reference": "available (pure torch, any device and dtype)",
        "native": f"available ({DETAIL})" if KERNEL else f"not available: {DETAIL}",
        "cuda": "available (mamba-ssm)" if missing is None else f"not available: {missing}",
    }


def choose_backend(u: Tensor, backend: str | None) -> str:
    """The backend of a call over u; raises InputError if the one asked for cannot run."""
    if backend is None:
        return _default_backend(u)
    if backend not in BACKENDS:
        raise InputError(
            f"selective_scan: backend is {backend!r}; allowed are {', '.join(BACKENDS)}, or None"
        )
    if backend == "native":
        _check_native(u)
    if backend == "cuda" and u.device.type != "cuda":
        raise InputError(
            f"selective_scan: u is on {u.device}; the cuda backend takes CUDA tensors"
            + ("" if cuda.why_unavailable() is None else f" ({cuda.why_unavailable()})")
        )
    return backend


def _default_backend(u: Tensor) -> str:
    if u.device.type == "cpu" and u.dtype in (torch.float32, torch.bfloat16):
        return "native" if KERNEL else _warn_and_use_reference()
    return "cuda" if u.device.type == "cuda" and u.dtype != torch.float64 else "reference"


def _check_native(u: Tensor) -> None:
    if KERNEL is None:
        raise InputError(f"selective_scan: the native backend is not available: {DETAIL}")
    if u.device.type != "cpu" or u.dtype not in (torch.float32, torch.bfloat16):
        raise InputError(
            f"selective_scan: u is {u.dtype} on {u.device}; the native backend takes float32 and "
            "bfloat16 on a CPU"
        )


@cache
def _warn_and_use_reference() -> str:
    warnings.warn(
        "the selective scan runs on its slow reference backend, because the native one is not "
        f"available: {DETAIL}",
        RuntimeWarning,
        stacklevel=5,
    )
    return "reference"
