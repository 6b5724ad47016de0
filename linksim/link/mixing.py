"""The fixed interleaver and scrambler of an OFDM link: the same for every codec.

Coded bits leave a digital radio interleaved over time and band, and scrambled. The symbols of a
codec that lays a picture out in order would do neither: neighbours would fade together, loud parts
would stand in slots of their own, and their common phase would pile up in peaks of the time signal.
So the symbols of a frame are spread over all its data elements at random, and each is turned by a
random one of the four phases of QPSK. A frame that is sent in rounds (hybrid ARQ) is spread round
by round. Both ends know how; white noise and unit power stay what they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import torch
from torch import Tensor

from linksim.runtime import batch_exact
from linksim.runtime.seeding import derive_seed

_KEPT = 16


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """How the symbols of each image are laid over data elements; B is 1 where all do alike.

    places: int64 [B, n], the element of each symbol. symbols: int64 [B, n], the symbol of each
    element. turns: complex64 [B, n], the factor of each symbol, one of 1, j, -1 and -j.
    """

    places: Tensor
    symbols: Tensor
    turns: Tensor

    @classmethod
    def of(
        cls, rounds: Sequence[tuple[int, ...]], length: int, device: str, *, draw: int = 0
    ) -> Self:
        """For images whose rounds have so many elements each, ``length`` at most in all.

        draw: which of the possible mixings; a link uses the first.
        """
        alike = len(set(rounds)) == 1
        drawn = [_drawn(own, length, draw) for own in (rounds[:1] if alike else rounds)]
        places = torch.stack([places for places, _ in drawn])
        turns = torch.stack([turns for _, turns in drawn])
        return cls(
            places=places.to(device), symbols=places.argsort().to(device), turns=turns.to(device)
        )

    @classmethod
    def of_blocks(cls, size: int, blocks: int, device: str) -> Self:
        """For blocks of a few symbols each, of which nothing is turned."""
        generator = torch.Generator().manual_seed(derive_seed("blocks", size))
        inside = torch.rand(blocks, size, generator=generator).argsort(dim=1)
        places = (inside + torch.arange(blocks)[:, None] * size).reshape(1, -1)
        return cls(
            places=places.to(device),
            symbols=places.argsort().to(device),
            turns=torch.ones(places.shape, dtype=torch.complex64, device=device),
        )

    def spread(self, symbols: Tensor) -> Tensor:
        """Data elements complex64 [B, n] of symbols [B, n]."""
        return batch_exact.multiply(symbols, self.turns).take_along_dim(self.symbols, dim=1)

    def gather(self, elements: Tensor, count: int) -> Tensor:
        """What each of the first ``count`` symbols met, of values at all elements [B, n]."""
        return elements.take_along_dim(self.places[:, :count], dim=1)

    def turn_back(self, symbols: Tensor) -> Tensor:
        """Symbols [B, m] without their phases."""
        return batch_exact.multiply(symbols, self.turns[:, : symbols.shape[1]].conj())


@lru_cache(maxsize=_KEPT)
def _drawn(rounds: tuple[int, ...], length: int, draw: int) -> tuple[Tensor, Tensor]:
    """(places, turns) of one image; what no round holds stays where it is."""
    places = torch.arange(length)
    quarters = torch.zeros(length, dtype=torch.int64)
    first = 0
    for index, size in enumerate(rounds):
        generator = torch.Generator().manual_seed(derive_seed("mixing", size, index, draw))
        end = first + size
        places[first:end] = first + torch.randperm(size, generator=generator)
        quarters[first:end] = torch.randint(4, (size,), generator=generator)
        first = end
    return places, torch.tensor([1, 1j, -1, -1j], dtype=torch.complex64)[quarters]
