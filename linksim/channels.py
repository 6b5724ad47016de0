"""What a channel is, and the flat ones, on Sionna: y = h*x + sqrt(no)*n, E|h|^2 = E|n|^2 = 1.

Each channel is its settings (what a scenario says) and draws its realisations. Fading and noise of
one seed are the same whatever is sent, at whatever SNR.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from linksim import batch_exact
from linksim.settings import Settings
from linksim.units import db_to_linear

Coherence = Literal["symbol", "frame"] | PositiveInt


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """What reaches the equaliser: y = h*x + noise, as far as the receiver knows h.

    y: complex64 [B, n]. h: complex64 [B, n], the gains as the receiver has them.
    no: float32 [B, n], or [B] if alike for all symbols: variance of all in y that is not h*x.
    uses: int64 [B], complex channel uses of each image; pilots, padding: int64 [B], those of them
        that are pilots, and those left empty.
    papr_db: float32 [B], peak-to-average power ratio of what was sent; None without a waveform.
    """

    y: Tensor
    h: Tensor
    no: Tensor
    uses: Tensor
    pilots: Tensor | None = None
    padding: Tensor | None = None
    papr_db: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Realisation(ABC):
    """One draw of a channel for a batch: its fading and its noise.

    h: complex64 [B, …], the gains. noise: of that shape, variance 1.
    """

    h: Tensor
    noise: Tensor

    @property
    @abstractmethod
    def length(self) -> int:
        """How many data symbols an image it has room for."""

    @abstractmethod
    def send(self, symbols: Tensor, used: Tensor, no: Tensor) -> Arrival:
        """Send symbols complex64 [B, n], n <= length, the first ``used`` [B] of each image, at
        noise variances ``no`` [B]."""


class ChannelSettings(Settings, ABC):
    """A channel, known by its settings."""

    @property
    @abstractmethod
    def name(self) -> str:
        """All settings in words: what tells channels apart."""

    @property
    def fading_name(self) -> str:
        """What of the settings determines fading and noise, which are drawn from it."""
        return self.name

    @property
    def shown_name(self) -> str:
        """How tables and figures call it."""
        return self.name

    def data_symbols(self, uses: int) -> int:
        """How many data symbols that many complex channel uses carry."""
        return uses

    def draw(
        self, seeds: Sequence[int], length: int, device: torch.device | str = "cpu"
    ) -> Realisation:
        """One realisation of ``length`` data symbols a seed: no image depends on its batch.

        Drawn on the CPU whatever the device, so that every device meets the same channel.
        """
        draws = [self.draw_batch(seed, 1, length) for seed in seeds]
        h = torch.cat([draw.h for draw in draws])
        noise = torch.cat([draw.noise for draw in draws])
        return replace(draws[0], h=h.to(device), noise=noise.to(device))

    @abstractmethod
    def draw_batch(
        self, seed: int, batch: int, length: int, device: torch.device | str = "cpu"
    ) -> Realisation:
        """Realisations of a whole batch from one seed, drawn on ``device``: fast, for training."""


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

    def send(self, symbols: Tensor, used: Tensor, no: Tensor) -> Arrival:
        """The gains are known to the receiver, and nothing but data is sent."""
        h = self.h[:, : symbols.shape[1]]
        return Arrival(y=self.apply(symbols, no), h=h, no=no, uses=used)


class FlatChannel(ChannelSettings):
    """A channel with one complex gain a symbol, known to the receiver."""

    @property
    def name(self) -> str:
        """The settings in words, such as ``rayleigh(coherence=symbol)``."""
        settings = self.model_dump(exclude={"type"})
        inside = ", ".join(f"{key}={value}" for key, value in settings.items())
        kind = getattr(self, "type", type(self).__name__)
        return f"{kind}({inside})" if inside else str(kind)

    def draw_batch(
        self, seed: int, batch: int, length: int, device: torch.device | str = "cpu"
    ) -> FlatRealisation:
        """As :meth:`ChannelSettings.draw_batch`."""
        place = str(device)
        seed_sionna(seed, place)
        noise = unit_noise(batch, length, place)
        return FlatRealisation(h=self._gains(batch, length, place), noise=noise)

    @abstractmethod
    def _gains(self, batch: int, length: int, device: str) -> Tensor:
        """h, complex64 [batch, length], from Sionna's generator as it stands."""


class Awgn(FlatChannel):
    """Additive white Gaussian noise: h = 1."""

    type: Literal["awgn"] = "awgn"

    def _gains(self, batch: int, length: int, device: str) -> Tensor:
        return torch.ones(batch, length, dtype=torch.complex64, device=device)


class Rayleigh(FlatChannel):
    """Rayleigh fading: complex Gaussian gains, independent every ``coherence`` symbols.

    coherence: ``symbol`` (fast fading), a number of symbols, or ``frame`` (one gain an image).
    """

    type: Literal["rayleigh"] = "rayleigh"
    coherence: Coherence = "symbol"

    def _gains(self, batch: int, length: int, device: str) -> Tensor:
        return _scattered(batch, length, self.coherence, device)


class Rician(FlatChannel):
    """Rician fading: a line of sight of phase zero and a Rayleigh part.

    k_db: K-factor in dB, the power of the line of sight over that of the Rayleigh part.
    """

    type: Literal["rician"] = "rician"
    k_db: float = Field(ge=-100, le=100)
    coherence: Coherence = "symbol"

    def _gains(self, batch: int, length: int, device: str) -> Tensor:
        k = db_to_linear(self.k_db)
        scattered = _scattered(batch, length, self.coherence, device)
        return float((k / (k + 1)) ** 0.5) + float((1 / (k + 1)) ** 0.5) * scattered


def _scattered(batch: int, length: int, coherence: Coherence, device: str) -> Tensor:
    block = {"symbol": 1, "frame": length}[coherence] if isinstance(coherence, str) else coherence
    blocks = -(-length // block)
    gains: Tensor = _sionna_rayleigh(device)(batch * blocks).reshape(batch, blocks)
    return gains.repeat_interleave(block, dim=1)[:, :length]


def seed_sionna(seed: int, device: str) -> None:
    """Seed Sionna's generator of a device."""
    # Not config.seed: that reseeds torch's global generator too.
    from sionna.phy import config

    config.torch_rng(device).manual_seed(seed)


def unit_noise(batch: int, length: int, device: str) -> Tensor:
    """Noise of variance 1, complex64 [batch, length], from Sionna's generator as it stands."""
    noise: Tensor = _sionna_awgn(device)(torch.zeros(batch, length, dtype=torch.complex64), 1.0)
    return noise


@lru_cache
def _sionna_awgn(device: str) -> Any:
    from sionna.phy.channel import AWGN

    return AWGN(precision="single", device=device)


@lru_cache
def _sionna_rayleigh(device: str) -> Any:
    from sionna.phy.channel import GenerateFlatFadingChannel

    return GenerateFlatFadingChannel(1, 1, precision="single", device=device)
