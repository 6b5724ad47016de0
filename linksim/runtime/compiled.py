"""torch.compile of what a neural codec computes."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import nn

from linksim.errors import InputError, one_line

PARTS = ("analysis", "synthesis")
BACKEND = "inductor"


def compile_parts(codec: object) -> None:
    """Compile a neural codec's analysis and synthesis, in place; others are left as they are.

    A part is compiled when it is first called with images of a size, which takes a minute or more;
    after eight sizes others run as they are. (One translation for all sizes, which torch would try
    at the second, fails on CSI-ReST's intervals.) Results differ from those of the plain codec by
    rounding. The call raises InputError where it cannot be compiled, as on a machine without a
    compiler.
    """
    if not isinstance(codec, nn.Module):
        return
    for name in PARTS:
        if hasattr(codec, name):
            compiled = torch.compile(getattr(codec, name), backend=BACKEND, dynamic=False)
            setattr(codec, name, _telling(compiled))


def _telling(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same, failing in one line."""
    from torch._dynamo.exc import BackendCompilerFailed  # takes a second to import

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except BackendCompilerFailed as error:
            reason = one_line(error)[:200]  # torch tells the whole graph
            raise InputError(f"--compile: torch.compile failed ({reason}); leave it out") from None

    return call
