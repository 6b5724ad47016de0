"""What converters take their tensors from, and what they give back."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from linksim.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A checkpoint as weights of a codec.

    options: of the codec's constructor. state: its state_dict. superfluous: patterns of the names
    that are known not to matter. conventions: what a user must know when comparing numbers.
    lost: what the authors' function does that this cannot.
    """

    options: dict[str, Any]
    state: dict[str, Tensor]
    superfluous: Sequence[str] = ()
    conventions: Sequence[str] = ()
    lost: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Source:
    """The tensors of one or several files, and which of them were taken.

    where: the files, for messages. file_name: their names, which tell what shapes cannot.
    given: options that the user sets.
    """

    where: str
    file_name: str
    tensors: Mapping[str, Tensor]
    given: Mapping[str, Any] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)

    def has(self, name: str) -> bool:
        return name in self.tensors

    def take(self, name: str, *, axes: int | None = None) -> Tensor:
        """A tensor, floating ones as float64; InputError where it is missing or of other rank."""
        if name not in self.tensors:
            raise InputError(
                f"{self.where}: no tensor {name!r}; this is another codec's checkpoint"
            )
        tensor = self.tensors[name]
        if axes is not None and tensor.ndim != axes:
            raise InputError(f"{self.where}: {name} is {list(tensor.shape)}; wanted {axes} axes")
        self._taken.add(name)
        return tensor.double() if tensor.is_floating_point() else tensor

    def layer(self, theirs: str, ours: str) -> dict[str, Tensor]:
        """Weight and, if there is one, bias of a layer under our name."""
        found = {f"{ours}.weight": self.take(f"{theirs}.weight")}
        if self.has(f"{theirs}.bias"):
            found[f"{ours}.bias"] = self.take(f"{theirs}.bias")
        return found

    def count(self, pattern: str) -> int:
        """How many of ``pattern`` with {} = 0, 1, … begin a name."""
        n = 0
        while any(name.startswith(pattern.format(n)) for name in self.tensors):
            n += 1
        return n

    def rest(self, superfluous: Sequence[str]) -> list[str]:
        """Names that were neither taken nor are superfluous."""
        return sorted(
            name
            for name in self.tensors.keys() - self._taken
            if not any(re.fullmatch(pattern, name) for pattern in superfluous)
        )


def from_unit_range(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """A first layer on images in [0, 1] as one on 2x - 1: W / 2, b + sum W / 2."""
    return weight / 2, bias + weight.flatten(1).sum(1) / 2


def to_unit_range(expansion: Tensor, norm_bias: Tensor, where: str) -> tuple[Tensor, Tensor]:
    """A last layer that gives images in [0, 1] as one that gives 2x - 1.

    expansion [12, d] without bias, after a LayerNorm of bias norm_bias [d]: 2 W, and b + Δ with
    2 W Δ = -1, which has a solution from d = 12 on.
    """
    ones = expansion.new_ones(len(expansion), 1)
    shift = torch.linalg.lstsq(2 * expansion, -ones, driver="gelsd").solution[:, 0]
    if not torch.allclose(2 * expansion @ shift, -ones[:, 0], rtol=0, atol=1e-6):
        raise InputError(
            f"{where}: its last layer, {list(expansion.shape)}, cannot take the image range in; "
            "the first width must be at least 12"
        )
    return 2 * expansion, norm_bias + shift


def merged(weight: Tensor) -> Tensor:
    """Patch merging's 4C inputs (last axis) with the two middle neighbours in our order."""
    neighbours = weight.chunk(4, dim=-1)
    return torch.cat([neighbours[i] for i in (0, 2, 1, 3)], dim=-1)


def divided(weight: Tensor) -> Tensor:
    """Patch division's 4C outputs (first axis): their row 4c + 2i + j is our row (2i + j) C + c."""
    return torch.cat([weight[i::4] for i in range(4)])


def division(source: Source, theirs: str, ours: str, *, last: bool) -> dict[str, Tensor]:
    """A patch division; the last one takes the image range in."""
    state = source.layer(f"{theirs}.norm", f"{ours}.norm")
    expansion = divided(source.take(f"{theirs}.increment.weight", axes=2))
    if last:
        bias = state[f"{ours}.norm.bias"]
        expansion, state[f"{ours}.norm.bias"] = to_unit_range(expansion, bias, source.where)
    return state | {f"{ours}.expansion.weight": expansion}


def merging(source: Source, theirs: str, ours: str) -> dict[str, Tensor]:
    """A patch merging."""
    names = ("norm.weight", "norm.bias", "reduction.weight")
    return {f"{ours}.{name}": merged(source.take(f"{theirs}.{name}")) for name in names}


def modnet(source: Source, steps: str, gates: str, ours: str) -> dict[str, Tensor]:
    """A Channel ModNet from ``steps.i`` (linear layers) and ``gates.i.fc`` (of the SNR)."""
    state = source.layer(f"{steps}.0", f"{ours}.entry")
    for i in range(source.count(f"{gates}.{{}}.fc.")):
        state |= source.layer(f"{steps}.{i + 1}", f"{ours}.linears.{i}")
        for place in (0, 2, 4):
            state |= source.layer(f"{gates}.{i}.fc.{place}", f"{ours}.gates.{i}.{place}")
    return state
