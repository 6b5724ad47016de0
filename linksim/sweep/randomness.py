"""Random numbers that a codec draws: seeded, noticed, and none of the caller's taken."""

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from linksim.runtime.kept import process_kept


@dataclass
class Draws:
    """Whether random numbers were drawn; known when the block ends."""

    any: bool = False


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[Draws]:
    """A block in which the generators of torch, NumPy, Python and Sionna start from ``seed``.

    Afterwards they are what they were before, and so is what :func:`process_kept` keeps. All this
    is the process's: no two threads may be in such blocks at once.
    """
    draws = Draws()
    before = _state(device)
    _seed(seed, device)
    start = _state(device)
    try:
        with process_kept():
            yield draws
    finally:
        draws.any = not _same(start, _state(device))
        _restore(before, device)


def _seed(seed: int, device: torch.device) -> None:
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - it is the old generator that codecs draw from
    random.seed(seed)
    for generator in _sionna(device):
        generator.manual_seed(seed)


def _state(device: torch.device) -> list[Any]:
    cuda = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    states: list[Any] = [torch.random.get_rng_state(), *cuda]
    states += [generator.get_state() for generator in _sionna(device)]
    return [*states, np.random.get_state(), random.getstate()]  # noqa: NPY002


def _restore(states: list[Any], device: torch.device) -> None:
    *tensors, numpys, pythons = states
    random.setstate(pythons)
    np.random.set_state(numpys)  # noqa: NPY002
    torch.random.set_rng_state(tensors.pop(0))
    if device.type == "cuda":
        torch.cuda.set_rng_state(tensors.pop(0), device)
    for generator, state in zip(_sionna(device), tensors, strict=False):
        generator.set_state(state)


def _sionna(device: torch.device) -> list[torch.Generator]:
    """Sionna's generators, where Sionna is in use."""
    phy = sys.modules.get("sionna.phy")
    return [] if phy is None else [phy.config.torch_rng(str(device))]


def _same(states: list[Any], others: list[Any]) -> bool:
    return len(states) == len(others) and all(map(_equal, states, others))


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one[1], np.ndarray):  # NumPy's: name, keys, place, …
        return bool(np.array_equal(one[1], other[1])) and one[2:] == other[2:]
    return bool(one == other)
