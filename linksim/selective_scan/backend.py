"""Which backends of the scan this machine has, and which one a call takes."""

import warnings
from functools import cache

import torch
from torch import Tensor

from linksim.errors import InputError
from linksim.selective_scan import cuda, triton
from linksim.selective_scan.kernel import DETAIL, KERNEL

BACKENDS = ("reference", "native", "triton", "cuda")


def backends() -> dict[str, str]:
    """For each backend, whether it can run here, and with what or why not."""
    missing = {"triton": triton.why_unavailable(), "cuda": cuda.why_unavailable()}
    words = {name: f"not available: {reason}" for name, reason in missing.items() if reason}
    return {
        "reference": "available (pure torch, any device and dtype)",
        "native": f"available ({DETAIL})" if KERNEL else f"not available: {DETAIL}",
        "triton": words.get("triton", f"available ({triton.detail()})"),
        "cuda": words.get("cuda", "available (mamba-ssm)"),
    }


def choose_backend(u: Tensor, states: int, backend: str | None) -> str:
    """The backend of a call over u, with so many states a channel.

    Raises InputError if the one asked for cannot run, or the one that is best here does not take
    the call.
    """
    if backend is None:
        backend = _default_backend(u)
    if backend not in BACKENDS:
        raise InputError(
            f"selective_scan: backend is {backend!r}; allowed are {', '.join(BACKENDS)}, or None"
        )
    if backend == "native":
        _check_native(u)
    if backend == "triton":
        _check_triton(u, states)
    if backend == "cuda" and u.device.type != "cuda":
        raise InputError(
            f"selective_scan: u is on {u.device}; the cuda backend takes CUDA tensors"
            + ("" if cuda.why_unavailable() is None else f" ({cuda.why_unavailable()})")
        )
    return backend


def _default_backend(u: Tensor) -> str:
    if u.device.type == "cpu" and u.dtype in (torch.float32, torch.bfloat16):
        return "native" if KERNEL else _warn_and_use_reference("native", DETAIL)
    if u.device.type != "cuda" or u.dtype == torch.float64:
        return "reference"
    if triton.MISSING is None:
        return "triton"
    if cuda.why_unavailable() is None:
        return "cuda"
    return _warn_and_use_reference("triton", triton.MISSING)


def _check_native(u: Tensor) -> None:
    if KERNEL is None:
        raise InputError(f"selective_scan: the native backend is not available: {DETAIL}")
    if u.device.type != "cpu" or u.dtype not in (torch.float32, torch.bfloat16):
        raise InputError(
            f"selective_scan: u is {u.dtype} on {u.device}; the native backend takes float32 and "
            "bfloat16 on a CPU"
        )


def _check_triton(u: Tensor, states: int) -> None:
    if triton.MISSING is not None:
        raise InputError(f"selective_scan: the triton backend is not available: {triton.MISSING}")
    if u.device.type != triton.DEVICE or u.dtype not in triton.DTYPES:
        raise InputError(
            f"selective_scan: u is {u.dtype} on {u.device}; the triton backend takes float32, "
            f"bfloat16 and float16 on {triton.DEVICE}"
        )
    if states > triton.MAX_STATES:
        raise InputError(
            f"selective_scan: A has {states} states a channel; the triton backend takes up to "
            f"{triton.MAX_STATES}, backend='reference' any number"
        )


@cache
def _warn_and_use_reference(missing: str, why: str) -> str:
    warnings.warn(
        f"the selective scan runs on its slow reference backend, because the {missing} one is not "
        f"available: {why}",
        RuntimeWarning,
        stacklevel=5,
    )
    return "reference"
