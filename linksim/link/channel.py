"""What a channel is: its settings, which a scenario names, and the realisations it draws.

Fading and noise of one seed are the same whatever is sent, at whatever SNR.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from linksim.link.constellation import Constellation
from linksim.settings import Settings

if TYPE_CHECKING:  # flat channels rest on no line of OFDM
    from linksim.link.slots import Waveform


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """What reaches the equaliser: y = h*x + noise, as far as the receiver knows h.

    y: complex64 [B, n]. h: complex64 [B, n], the gains as the receiver has them.
    no: float32 [B, n], or [B] if alike for all symbols: variance of all in y that is not h*x.
    uses: int64 [B], complex channel uses of each image; pilots, padding: int64 [B], those of them
        that are pilots, and those left empty.
    waveform: the time signal that was sent; None without one.
    """

    y: Tensor
    h: Tensor
    no: Tensor
    uses: Tensor
    pilots: Tensor | None = None
    padding: Tensor | None = None
    waveform: "Waveform | None" = None


@dataclass(frozen=True, kw_only=True)
class Realisation(ABC):
    """One draw of a channel for a batch: its fading and its noise.

    h: complex64 [B, …], the gains. noise: of that shape, variance 1.
    positions: int64 [B], of a street, where the channel is one. own_snr_db: float32 [B], the SNR
        that goes with the draw, NaN where the scenario sets it; None where it always does.
    """

    h: Tensor
    noise: Tensor
    positions: Tensor | None = None
    own_snr_db: Tensor | None = None

    @property
    @abstractmethod
    def length(self) -> int:
        """How many data symbols an image it has room for."""

    @abstractmethod
    def send(
        self, symbols: Tensor, used: Tensor, no: Tensor, rounds: tuple[int, ...] = ()
    ) -> Arrival:
        """Send symbols complex64 [B, n], n <= length, the first ``used`` [B] of each image, at
        noise variances ``no`` [B], in rounds as of :class:`linksim.codec.Frame`."""


class ChannelSettings(Settings, ABC):
    """A channel, known by its settings: the fields of a subclass are what a scenario can set.

    type: under which name a scenario found it (:mod:`linksim.link.lookup`).
    label: how tables and figures call the channel.
    constellation: the points that analogue symbols leave as; None for any complex value.
    fades: whether the gains are other than 1, so that an equaliser has something to do.

    A field that is a ``Path`` names a file whose contents belong to what is measured.
    """

    type: str = ""
    label: str | None = None
    constellation: Constellation | None = None
    fades: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """All settings in words: what tells channels apart."""
        points = f", {self.constellation.name}" if self.constellation else ""
        return f"{self.medium_name}{points}"

    @property
    def medium_name(self) -> str:
        """What symbols meet, in words, such as ``rayleigh(coherence=symbol)``."""
        settings = self.model_dump(exclude={"type", "label", "constellation", "antennas"})
        inside = ", ".join(f"{key}={value}" for key, value in settings.items())
        return f"{self.kind}({inside})" if inside else self.kind

    @property
    def kind(self) -> str:
        """The type, or the class of one of the user's own."""
        return self.type if self.type.isidentifier() else type(self).__name__

    @property
    def fading_name(self) -> str:
        """What of the settings determines fading and noise, which are drawn from it."""
        return self.medium_name

    @property
    def shown_name(self) -> str:
        """The label, or the settings in words."""
        return self.label or self.name

    def as_data(self) -> dict[str, Any]:
        """The settings as a scenario would write them."""
        found = self.type or f"{type(self).__module__}:{type(self).__qualname__}"
        return {**self.model_dump(mode="json", by_alias=True), "type": found}

    @property
    def files(self) -> tuple[Path, ...]:
        """Files whose contents belong to what is measured."""
        return tuple(value for value in dict(self).values() if isinstance(value, Path))

    @property
    def own_snr_db(self) -> float | None:
        """A typical SNR of a channel that has its own, in place of a scenario's; or None."""
        return None

    def seed_of(self, seed: int, trial: int) -> int:
        """The seed of a trial's draw, where ``seed`` follows from scenario, image and trial."""
        return seed

    def columns(self, realisation: "Realisation") -> dict[str, list[float]]:
        """What rows say of a draw, each column [B]."""
        return {}

    def data_symbols(self, uses: int) -> int:
        """How many data symbols that many complex channel uses carry."""
        return uses

    @property
    def block(self) -> int:
        """How many data symbols are always sent together, such as those of an OFDM slot."""
        return 1

    def draw(
        self, seeds: Sequence[int], length: int, device: torch.device | str = "cpu"
    ) -> Realisation:
        """One realisation of ``length`` data symbols a seed: no image depends on its batch.

        Drawn on the CPU whatever the device, so that every device meets the same channel.
        """
        draws = [self.draw_batch(seed, 1, length) for seed in seeds]
        drawn = {
            field.name: [getattr(draw, field.name) for draw in draws] for field in fields(draws[0])
        }
        tensors = {
            name: torch.cat(values).to(device)
            for name, values in drawn.items()
            if isinstance(values[0], Tensor)
        }
        return replace(draws[0], **tensors)

    @abstractmethod
    def draw_batch(
        self, seed: int, batch: int, length: int, device: torch.device | str = "cpu"
    ) -> Realisation:
        """Realisations of a whole batch from one seed, drawn on ``device``: fast, for training."""


def seed_sionna(seed: int, device: str) -> torch.Generator:
    """Seed Sionna's generator of a device, and give it."""
    # Not config.seed: that reseeds torch's global generator too.
    from sionna.phy import config

    generator: torch.Generator = config.torch_rng(device)
    return generator.manual_seed(seed)


def unit_noise(batch: int, length: int, device: str) -> Tensor:
    """Noise of variance 1, complex64 [batch, length], from Sionna's generator as it stands."""
    noise: Tensor = _sionna_awgn(device)(torch.zeros(batch, length, dtype=torch.complex64), 1.0)
    return noise


@lru_cache
def _sionna_awgn(device: str) -> Any:
    from sionna.phy.channel import AWGN

    return AWGN(precision="single", device=device)
