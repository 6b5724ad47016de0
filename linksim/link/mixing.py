"""The fixed interleaver and scrambler of an OFDM link: the same for every codec.

Coded bits leave a digital radio interleaved over the band and scrambled. The symbols of a codec
that lays a picture out in order would do neither: neighbours would fade together, and their common
phase would pile up in peaks of the time signal. So the symbols of each slot are spread over its
data elements at random, and each is turned by a random one of the four phases of QPSK. Both ends
know how; white noise and unit power stay what they are, and slots can be sent one after the other.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import torch
from torch import Tensor

from linksim import batch_exact
from linksim.seeding import derive_seed

_KEPT = 256


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """How symbols are laid over the data elements of slots, one slot after the other.

    places: int64 [n], the element of each symbol. symbols: int64 [n], the symbol of each element.
    turns: complex64 [n], the factor of each symbol, one of 1, j, -1 and -j.
    """

    places: Tensor
    symbols: Tensor
    turns: Tensor

    @classmethod
    def of(cls, per_slot: int, slots: int, device: str, *, draw: int = 0) -> Self:
        """For so many data elements a slot. draw: which of the possible mixings; a link uses the
        first."""
        drawn = [_drawn(per_slot, slot, draw) for slot in range(slots)]
        first = torch.arange(slots)[:, None] * per_slot
        places = (torch.stack([places for places, _ in drawn]) + first).flatten()
        turns = torch.cat([turns for _, turns in drawn])
        return cls(
            places=places.to(device), symbols=places.argsort().to(device), turns=turns.to(device)
        )

    @classmethod
    def of_blocks(cls, size: int, blocks: int, device: str) -> Self:
        """For blocks of a few symbols each, of which nothing is turned."""
        generator = torch.Generator().manual_seed(derive_seed("blocks", size))
        inside = torch.rand(blocks, size, generator=generator).argsort(dim=1)
        places = (inside + torch.arange(blocks)[:, None] * size).flatten()
        return cls(
            places=places.to(device),
            symbols=places.argsort().to(device),
            turns=torch.ones(len(places), dtype=torch.complex64, device=device),
        )

    def spread(self, symbols: Tensor) -> Tensor:
        """Data elements complex64 [B, n] of symbols [B, n]."""
        return batch_exact.multiply(symbols, self.turns)[:, self.symbols]

    def gather(self, elements: Tensor, count: int) -> Tensor:
        """What each of the first ``count`` symbols met, of values at all elements [B, n, …]."""
        return elements[:, self.places[:count]]

    def turn_back(self, symbols: Tensor) -> Tensor:
        """Symbols [B, m] without their phases."""
        return batch_exact.multiply(symbols, self.turns[: symbols.shape[1]].conj())


@lru_cache(maxsize=_KEPT)
def _drawn(per_slot: int, slot: int, draw: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(derive_seed("mixing", per_slot, slot, draw))
    places = torch.randperm(per_slot, generator=generator)
    quarters = torch.randint(4, (per_slot,), generator=generator)
    phases = torch.tensor([1, 1j, -1, -1j], dtype=torch.complex64)
    return places, phases[quarters]
