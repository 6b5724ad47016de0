"""Triton's interpreter in the place of a GPU, made fast enough for tests."""

import pytest
import torch

INTERPRETED = not torch.cuda.is_available()


def device() -> torch.device:
    """Where the kernels take their tensors: a GPU, or the CPU where the interpreter runs."""
    return torch.device("cpu" if INTERPRETED else "cuda")


def patch_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the interpreter from patching Triton's language anew at each call of a function.

    The kernel's launch has done so already, for all functions of the kernel's module; what
    remains are those of Triton's own library, whose module is patched at the first call.
    """
    interpreter = pytest.importorskip("triton.runtime.interpreter")
    patched = set()

    def call(self: object, *args: object, **kwargs: object) -> object:
        module = self.fn.__module__  # type: ignore[attr-defined]
        if module.startswith("triton.") and module not in patched:
            patched.add(module)
            interpreter._patch_lang(self.fn)  # type: ignore[attr-defined]
        return self.rewrite()(*args, **kwargs)  # type: ignore[attr-defined]

    monkeypatch.setattr(interpreter.InterpretedFunction, "__call__", call)
