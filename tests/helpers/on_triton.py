"""The Triton kernels on a GPU or, where there is none, in Triton's interpreter."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from linksim.selective_scan import ScanParameters
from tests.helpers.recurrence import Case, recurrence, relative_error

INTERPRETED = not torch.cuda.is_available()
"""tests/conftest.py sees to it."""
TOLERANCE = 1e-5


def device() -> torch.device:
    """Where the kernels take their tensors."""
    return torch.device("cpu" if INTERPRETED else "cuda")


def on_device(case: Case, dtype: torch.dtype = torch.float32) -> Case:
    """The same values, of that dtype, where the kernels run; they require gradients."""

    def move(t: Tensor | None) -> Tensor | None:
        return None if t is None else t.detach().to(device(), dtype).requires_grad_()

    u, csi = move(case.u), case.csi
    assert u is not None
    csi = None if csi is None else csi.to(device())
    return replace(case, u=u, scan=ScanParameters(*map(move, case.scan)), csi=csi)


def errors(case: Case) -> list[float]:
    """Of the output and of all gradients of the kernels, against the float64 recurrence."""
    exact, single = case.cast(torch.float64), on_device(case)
    wanted, got = recurrence(exact), single.run("triton")
    weights = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1))
    wanted_gradients = torch.autograd.grad(wanted, exact.tensors(), weights.double())
    gradients = torch.autograd.grad(got, single.tensors(), weights.to(device()))
    pairs = zip((got, *gradients), (wanted, *wanted_gradients), strict=True)
    return [relative_error(ours.cpu(), theirs) for ours, theirs in pairs]


def assert_matches(case: Case) -> None:
    """Output and all gradients of the kernels are those of the float64 recurrence."""
    assert max(errors(case)) < TOLERANCE


def patch_language_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the interpreter from patching Triton's language anew at each call of a function.

    The kernel's launch has done so already, for all functions of the kernel's module; what
    remains are those of Triton's own library, whose module is patched at the first call.
    """
    from triton.runtime.interpreter import InterpretedFunction, _patch_lang

    patched = set()

    def call(self: object, *args: object, **kwargs: object) -> object:
        module = self.fn.__module__  # type: ignore[attr-defined]
        if module.startswith("triton.") and module not in patched:
            patched.add(module)
            _patch_lang(self.fn)
        return self.rewrite()(*args, **kwargs)  # type: ignore[attr-defined]

    monkeypatch.setattr(InterpretedFunction, "__call__", call)
