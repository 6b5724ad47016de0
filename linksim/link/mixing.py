"""The fixed interleaver and scrambler of an OFDM link: the same for every codec.

Coded bits leave a digital radio interleaved over the band and scrambled. The symbols of a codec
that lays a picture out in order would do neither: neighbours would fade together, and their common
phase would pile up in peaks of the time signal. So all symbols of a frame are spread over its data
elements at random, and each is turned by a random one of the four phases of QPSK. Both ends know
how; white noise and unit power stay what they are.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import torch
from torch import Tensor

from linksim import batch_exact
from linksim.seeding import derive_seed

_KEPT = 64
_TURNS = torch.tensor([1, 1j, -1, -1j], dtype=torch.complex64)


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """How symbols of a batch of frames are laid over their data elements.

    places: int64 [B, n], the element of each symbol. symbols: int64 [B, n], the symbol of each
    element. turns: complex64 [n], the factor of each symbol, one of 1, j, -1 and -j.
    """

    places: Tensor
    symbols: Tensor
    turns: Tensor

    @classmethod
    def of(cls, used: Tensor, count: int, *, draw: int = 0) -> Self:
        """For frames of int64 ``used`` [B] data elements, the first of ``count``; the others stay.

        draw: which of the possible mixings; a link uses the first.
        """
        device = str(used.device)
        drawn = [_drawn(int(n), count, draw, device) for n in used.tolist()]
        return cls(
            places=torch.stack([places for places, _ in drawn]),
            symbols=torch.stack([symbols for _, symbols in drawn]),
            turns=_turns(count, draw, device),
        )

    def spread(self, symbols: Tensor) -> Tensor:
        """Data elements complex64 [B, n] of symbols [B, n]."""
        return batch_exact.multiply(symbols, self.turns).gather(1, self.symbols)

    def gather(self, elements: Tensor, count: int) -> Tensor:
        """The values [B, count] that the first symbols met, of those at all elements [B, n]."""
        return elements.gather(1, self.places[:, :count])

    def turn_back(self, symbols: Tensor) -> Tensor:
        """Symbols [B, m] without their phases."""
        return batch_exact.multiply(symbols, self.turns[: symbols.shape[1]].conj())


@lru_cache(maxsize=_KEPT)
def _drawn(used: int, count: int, draw: int, device: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(derive_seed("interleaver", used, draw))
    places = torch.cat([torch.randperm(used, generator=generator), torch.arange(used, count)])
    return places.to(device), places.argsort().to(device)


@lru_cache(maxsize=_KEPT)
def _turns(count: int, draw: int, device: str) -> Tensor:
    generator = torch.Generator().manual_seed(derive_seed("scrambler", draw))
    return _TURNS[torch.randint(4, (count,), generator=generator)].to(device)
