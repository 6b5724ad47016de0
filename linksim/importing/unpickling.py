"""Pickles read without running anything that they name.

A published file can be a whole pickled module. Unpickling one as usual imports its classes and
calls what it says. Here a name stands for the real thing only where it builds a tensor; every other
one stands for an inert class, whose instances hold what the file says of them and do nothing.
"""

import pickle
from collections.abc import Callable
from typing import IO, Any

_TENSOR_BUILDERS = {
    ("collections", "OrderedDict"),
    ("torch", "Size"),
    ("torch", "device"),
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_parameter_with_state"),
}
_DTYPES = {
    *("float16", "bfloat16", "float32", "float64", "bool"),
    *("uint8", "int8", "int16", "int32", "int64", "complex64", "complex128"),
}
_UNCALLED = {
    ("functools", "partial"),
    ("builtins", "getattr"),
    ("builtins", "set"),
    ("builtins", "frozenset"),
    ("builtins", "slice"),
    ("builtins", "range"),
    ("copyreg", "_reconstructor"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
}
"""What modules hold beside their tensors: a call of one of these is not made, but left inert."""
_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class CallRefusedError(Exception):
    """A pickle asked for a call; the argument says of what."""


class _Named(type):
    """Class of the inert classes: calling one is what a pickle must not do."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise CallRefusedError(f"{cls.__module__}.{cls.__qualname__}")


class Inert(metaclass=_Named):
    """In place of an object whose class is not loaded; its state is in ``__dict__``."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "Inert":
        return object.__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Keep a state that is a dictionary of attributes; others are not asked for."""
        if isinstance(state, dict):
            vars(self).update({str(name): value for name, value in state.items()})

    def __setitem__(self, key: object, value: object) -> None:
        """Where the class was a dict: nothing here asks for its items."""

    def append(self, value: object) -> None:
        """Where the class was a list."""

    def extend(self, values: object) -> None:
        """Where the class was a list."""

    def add(self, value: object) -> None:
        """Where the class was a set."""


class _Builder:
    """Something to call, of which a pickle can change nothing."""

    __slots__ = ("_build",)

    def __init__(self, build: Callable[..., Any]) -> None:
        self._build = build

    def __call__(self, *args: Any) -> Any:
        return self._build(*args)


def _left_inert(*args: Any) -> Inert:
    return Inert.__new__(Inert)


class Unpickler(pickle.Unpickler):
    """What ``torch.load(pickle_module=…)`` reads with.

    Raises CallRefusedError where the pickle would call something.
    """

    def find_class(self, module_name: str, global_name: str) -> Any:
        module_name = _PYTHON_2.get(module_name, module_name)
        if module_name == "torch" and global_name in _DTYPES:
            return super().find_class(module_name, global_name)
        if (module_name, global_name) in _TENSOR_BUILDERS:
            return _Builder(super().find_class(module_name, global_name))
        if (module_name, global_name) in _UNCALLED:
            return _Builder(_left_inert)
        return _Named(
            global_name, (Inert,), {"__module__": module_name, "__qualname__": global_name}
        )


def load(file: IO[bytes], **options: Any) -> Any:
    """As ``pickle.load``."""
    return Unpickler(file, **options).load()
