"""Flat channels on Sionna: y = h*x + sqrt(no)*n, E|h|^2 = E|n|^2 = 1."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from linksim.link.channel import Arrival, ChannelSettings, Realisation, seed_sionna, unit_noise
from linksim.link.mimo import Antennas, FlatMimoRealisation
from linksim.runtime import batch_exact
from linksim.units import db_to_linear

Coherence = Literal["symbol", "frame"] | PositiveInt


@dataclass(frozen=True, kw_only=True)
class FlatRealisation(Realisation):
    """One draw of a flat channel for a batch; h and noise complex64 [B, N]."""

    @property
    def length(self) -> int:
        """N."""
        return self.h.shape[1]

    def apply(self, symbols: Tensor, no: Tensor) -> Tensor:
        """y = h*x + sqrt(no)*n for symbols [B, n], n <= N, and noise variances no [B]."""
        n = symbols.shape[1]
        noise = batch_exact.scale(self.noise[:, :n], no.sqrt()[:, None])
        return batch_exact.multiply(self.h[:, :n], symbols) + noise

    def split(self, length: int) -> "tuple[FlatRealisation, FlatRealisation]":
        """What the first ``length`` symbols meet, and what the others do."""
        first = FlatRealisation(h=self.h[:, :length], noise=self.noise[:, :length])
        return first, FlatRealisation(h=self.h[:, length:], noise=self.noise[:, length:])

    def send(
        self, symbols: Tensor, used: Tensor, no: Tensor, rounds: tuple[int, ...] = ()
    ) -> Arrival:
        """The gains are known to the receiver, and nothing but data is sent."""
        h = self.h[:, : symbols.shape[1]]
        return Arrival(y=self.apply(symbols, no), h=h, no=no, uses=used)


class FlatChannel(ChannelSettings):
    """A channel with one complex gain a symbol, known to the receiver."""

    def draw_batch(
        self, seed: int, batch: int, length: int, device: torch.device | str = "cpu"
    ) -> Realisation:
        """As :meth:`ChannelSettings.draw_batch`."""
        place = str(device)
        generator = seed_sionna(seed, place)
        noise = unit_noise(batch, length, place)
        return FlatRealisation(h=self.gains(batch, length, generator, place), noise=noise)

    @abstractmethod
    def gains(self, batch: int, length: int, generator: torch.Generator, device: str) -> Tensor:
        """h, complex64 [batch, length] on ``device``, with E|h|^2 = 1.

        generator: what is random must be drawn from it. It is Sionna's own, so that Sionna's blocks
        draw from it anyway.
        """


class Awgn(FlatChannel):
    """Additive white Gaussian noise: h = 1."""

    type: Literal["awgn"] = "awgn"
    fades: ClassVar[bool] = False

    def gains(self, batch: int, length: int, generator: torch.Generator, device: str) -> Tensor:
        return torch.ones(batch, length, dtype=torch.complex64, device=device)


class Rayleigh(FlatChannel):
    """Rayleigh fading: complex Gaussian gains, independent every ``coherence`` symbols.

    coherence: ``symbol`` (fast fading), a number of symbols, or ``frame`` (one gain an image).
    antennas: at either end; independent gains from each to each. One at either end if left out.

    >>> h = Rayleigh(coherence="frame").draw([1, 2], length=4).h  # of two seeds
    >>> h.shape, bool((h == h[:, :1]).all())
    (torch.Size([2, 4]), True)
    """

    type: Literal["rayleigh"] = "rayleigh"
    coherence: Coherence = "symbol"
    antennas: Antennas | None = None

    @property
    def medium_name(self) -> str:
        """As :attr:`ChannelSettings.medium_name`, with the antennas."""
        antennas = f", {self.antennas.name}" if self.antennas else ""
        return f"{super().medium_name}{antennas}"

    @property
    def fading_name(self) -> str:
        """All schemes of so many antennas meet the same fading."""
        antennas = f", {self.antennas.tx}x{self.antennas.rx} antennas" if self.antennas else ""
        return f"{super().medium_name}{antennas}"

    @property
    def block(self) -> int:
        """The symbols on the layers of a channel use, or of two for Alamouti's scheme."""
        return self.antennas.symbols_per_block if self.antennas else 1

    def data_symbols(self, uses: int) -> int:
        """How many data symbols the layers of that many channel uses carry."""
        if self.antennas is None:
            return uses
        return uses // self.antennas.uses_per_block * self.antennas.symbols_per_block

    def draw_batch(
        self, seed: int, batch: int, length: int, device: torch.device | str = "cpu"
    ) -> Realisation:
        """As :meth:`ChannelSettings.draw_batch`."""
        if self.antennas is None:
            return super().draw_batch(seed, batch, length, device)
        antennas, place = self.antennas, str(device)
        blocks = -(-length // antennas.symbols_per_block)
        uses = blocks * antennas.uses_per_block
        seed_sionna(seed, place)
        noise = unit_noise(batch, uses * antennas.rx, place).reshape(batch, uses, antennas.rx)
        h = _scattered(batch, uses, self.coherence, place, tx=antennas.tx, rx=antennas.rx)
        return FlatMimoRealisation(h=h, noise=noise, antennas=antennas)

    def gains(self, batch: int, length: int, generator: torch.Generator, device: str) -> Tensor:
        return _scattered(batch, length, self.coherence, device)[..., 0, 0]


class Rician(FlatChannel):
    """Rician fading: a line of sight of phase zero and a Rayleigh part.

    k_db: K-factor in dB, the power of the line of sight over that of the Rayleigh part.
    """

    type: Literal["rician"] = "rician"
    k_db: float = Field(ge=-100, le=100)
    coherence: Coherence = "symbol"

    def gains(self, batch: int, length: int, generator: torch.Generator, device: str) -> Tensor:
        k = db_to_linear(self.k_db)
        scattered = _scattered(batch, length, self.coherence, device)[..., 0, 0]
        return float((k / (k + 1)) ** 0.5) + float((1 / (k + 1)) ** 0.5) * scattered


def _scattered(
    batch: int, length: int, coherence: Coherence, device: str, *, tx: int = 1, rx: int = 1
) -> Tensor:
    """Rayleigh gains, complex64 [batch, length, rx, tx]."""
    if isinstance(coherence, str):
        block = {"symbol": 1, "frame": length}[coherence]
    else:
        block = min(coherence, length)
    blocks = -(-length // block)
    gains: Tensor = _sionna_rayleigh(tx, rx, device)(batch * blocks)
    gains = gains.reshape(batch, blocks, rx, tx)
    return gains.repeat_interleave(block, dim=1)[:, :length]


@lru_cache
def _sionna_rayleigh(tx: int, rx: int, device: str) -> Any:
    from sionna.phy.channel import GenerateFlatFadingChannel

    return GenerateFlatFadingChannel(tx, rx, precision="single", device=device)
