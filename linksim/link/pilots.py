"""Pilots in an OFDM slot."""

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor

from linksim.runtime import batch_exact
from linksim.runtime.seeding import derive_seed
from linksim.settings import Settings


class PilotPattern(Settings):
    """Which resource elements of a slot carry pilots; each has unit power.

    symbols: the OFDM symbols with pilots, from 0. spacing: in them every so-manyth subcarrier has
    one, as near to the middle of the band as on either side; the others carry data.
    """

    symbols: tuple[NonNegativeInt, ...] = Field(min_length=1)
    spacing: PositiveInt = 1

    def subcarriers(self, count: int) -> range:
        """The subcarriers with pilots, of ``count``."""
        return range((count - 1) % self.spacing // 2, count, self.spacing)


class PilotGrid:
    """The pilots of a slot of S OFDM symbols of F subcarriers, in R rows and C columns of it.

    rows, columns: the OFDM symbols and the subcarriers with pilots, rising. places: int64 [R * C],
    where they stand in a slot laid out symbol by symbol. values: complex64 [R * C], QPSK of unit
    power, the same for everybody.

    antenna, antennas: of a transmitter with several, each has a share of the pattern's subcarriers;
    the others are silent there.
    """

    def __init__(
        self,
        pattern: PilotPattern,
        *,
        symbols: int,
        subcarriers: int,
        device: str,
        antenna: int = 0,
        antennas: int = 1,
    ) -> None:
        self.symbols, self.subcarriers, self.device = symbols, subcarriers, device
        self.rows = sorted(pattern.symbols)
        self.columns = pattern.subcarriers(subcarriers)[antenna::antennas]
        first = torch.tensor(self.rows)[:, None] * subcarriers
        self.places = (first + torch.tensor(self.columns)).flatten().to(device)
        generator = torch.Generator().manual_seed(derive_seed("pilots"))
        signs = torch.randint(2, (len(self.places), 2), generator=generator) * 2 - 1
        self.values = torch.view_as_complex(signs * 0.5**0.5).to(device)

    def at(self, grid: Tensor) -> Tensor:
        """Pilot elements complex [..., R, C] of slots [..., S, F]."""
        elements = grid.flatten(-2)[..., self.places]
        return elements.reshape(*elements.shape[:-1], len(self.rows), len(self.columns))

    def sent(self) -> Tensor:
        """A slot with the pilots alone, complex64 [S, F]."""
        slot = torch.zeros(self.symbols * self.subcarriers, dtype=torch.complex64)
        slot = slot.to(self.device)
        slot[self.places] = self.values
        return slot.reshape(self.symbols, self.subcarriers)

    def received(self, y: Tensor) -> Tensor:
        """Gains with noise, complex64 [..., R, C], of slots received, [..., S, F]: y/p."""
        values = self.values.reshape(len(self.rows), len(self.columns))
        at_pilots = self.at(y)
        return batch_exact.multiply(at_pilots, values.conj().expand_as(at_pilots))
