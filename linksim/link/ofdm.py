"""OFDM over the 3GPP channels of TR 38.901, on Sionna: y = h*x + sqrt(no)*n per resource element.

    data ─► slots of S OFDM symbols of F subcarriers, with pilots ─► amplifier ─► TDL or CDL
         ◄─ data resource elements, their gains and noise variances ◄─ LS, or perfect knowledge

Fading changes from one OFDM symbol to the next and goes on from slot to slot. Within an OFDM symbol
it stands still, and no symbol disturbs another: settings for which that is far from true (a cyclic
prefix shorter than the longest path, a Doppler shift beyond a tenth of the subcarrier spacing) are
refused. The cyclic prefix is not counted as channel use.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor
from torch.nn import functional as F

from linksim import batch_exact
from linksim.errors import InputError
from linksim.link.channel import Arrival, ChannelSettings, Realisation, seed_sionna, unit_noise
from linksim.link.estimation import LsEstimator
from linksim.link.pilots import PilotPattern
from linksim.link.waveform import (
    Distortion,
    clipping_distortion,
    papr_db,
    soft_clip,
    subcarriers_of,
    time_signal,
)
from linksim.seeding import derive_seed
from linksim.settings import Db, Settings

Model = Literal[
    "TDL-A", "TDL-B", "TDL-C", "TDL-D", "TDL-E", "CDL-A", "CDL-B", "CDL-C", "CDL-D", "CDL-E"
]  # fmt: skip

# Longest delay over the delay spread: TR 38.901 tables 7.7.2-1 to -5 (7.7.1: not longer)
_LONGEST_DELAY = {"A": 9.6586, "B": 4.7834, "C": 8.6523, "D": 12.525, "E": 20.6519}
_LARGEST_DOPPLER = 0.1  # of the subcarrier spacing
_SPEED_OF_LIGHT = 299_792_458.0
_SLOTS_MEASURED = 512


class Clipping(Settings):
    """An amplifier that saturates ``backoff_db`` above the mean power (a soft limiter)."""

    backoff_db: Db


class Ofdm(ChannelSettings):
    """OFDM over a tapped or clustered delay line, one antenna at either end.

    model: TDL-A to TDL-E or CDL-A to CDL-E (TR 38.901, section 7.7). delay_spread_ns: RMS.
    subcarriers, symbols_per_slot: F and S; symbols_per_slot OFDM symbols of F subcarriers are a
        slot, and a frame takes as many whole slots as its data symbols need.
    pilots: which resource elements they take; None for none.
    estimation: ``ls`` estimates the channel from each slot's pilots, ``perfect`` is told it.
    clipping: of the transmitter's amplifier; None for a linear one.
    """

    type: Literal["ofdm"] = "ofdm"
    model: Model
    delay_spread_ns: float = Field(ge=0, le=1e5, allow_inf_nan=False)
    carrier_ghz: float = Field(default=3.5, ge=0.5, le=100)
    speed_mps: float = Field(default=0.0, ge=0, le=1000)
    subcarriers: int = Field(default=288, ge=2, le=4096)
    subcarrier_spacing_khz: float = Field(default=30.0, gt=0, le=1000)
    symbols_per_slot: PositiveInt = Field(default=14, le=1000)
    cyclic_prefix_us: float = Field(default=2.34, ge=0, le=1000)
    pilots: PilotPattern | None = None
    estimation: Literal["perfect", "ls"] = "perfect"
    clipping: Clipping | None = None

    @model_validator(mode="after")
    def _free_of_interference(self) -> Self:
        longest_us = _LONGEST_DELAY[self.model[-1]] * self.delay_spread_ns / 1e3
        if longest_us > self.cyclic_prefix_us:
            raise ValueError(
                f"cyclic_prefix_us {self.cyclic_prefix_us:g} is shorter than the longest path of "
                f"{self.model} at delay_spread_ns {self.delay_spread_ns:g}, {longest_us:.4g} us; "
                "the interference between OFDM symbols that would follow is not simulated"
            )
        doppler_khz = self.speed_mps / _SPEED_OF_LIGHT * self.carrier_ghz * 1e6
        if doppler_khz > _LARGEST_DOPPLER * self.subcarrier_spacing_khz:
            raise ValueError(
                f"speed_mps {self.speed_mps:g} shifts the carrier by {doppler_khz:.3g} kHz, more "
                f"than a tenth of subcarrier_spacing_khz {self.subcarrier_spacing_khz:g}; the "
                "interference between subcarriers that would follow is not simulated"
            )
        return self

    @model_validator(mode="after")
    def _pilots_fit(self) -> Self:
        if self.pilots is None:
            if self.estimation == "ls":
                raise ValueError("estimation: ls needs pilots, such as {symbols: [2, 11]}")
            return self
        symbols = self.pilots.symbols
        if len(set(symbols)) < len(symbols) or max(symbols) >= self.symbols_per_slot:
            raise ValueError(
                f"pilots.symbols {list(symbols)}: wanted are different ones of the "
                f"{self.symbols_per_slot} OFDM symbols of a slot, from 0"
            )
        if self.pilots.spacing > self.subcarriers:
            raise ValueError(
                f"pilots.spacing {self.pilots.spacing}: there are only {self.subcarriers} "
                "subcarriers"
            )
        if self.data_per_slot == 0:
            raise ValueError(
                f"pilots take all {self.uses_per_slot} resource elements of a slot; "
                "leave some for data"
            )
        return self

    @property
    def fading_name(self) -> str:
        """All that determines h, in words: pilots and estimation meet the same fading."""
        return (
            f"{self.model}, {self.delay_spread_ns:.12g} ns, {self.carrier_ghz:.12g} GHz, "
            f"{self.speed_mps:.12g} m/s, {self.subcarriers}x{self.symbols_per_slot}, "
            f"{self.subcarrier_spacing_khz:.12g} kHz, prefix {self.cyclic_prefix_us:.12g} us"
        )

    @property
    def name(self) -> str:
        """The settings in words."""
        pilots = "no pilots"
        if self.pilots is not None:
            symbols = "+".join(map(str, sorted(self.pilots.symbols)))
            pilots = f"pilots {symbols}/{self.pilots.spacing}"
        clipping = f", clipped at {self.clipping.backoff_db:.12g} dB" if self.clipping else ""
        return f"ofdm({self.fading_name}, {pilots}, {self.estimation}{clipping})"

    @property
    def uses_per_slot(self) -> int:
        """Resource elements of a slot."""
        return self.subcarriers * self.symbols_per_slot

    @property
    def pilots_per_slot(self) -> int:
        """Those of them that are pilots."""
        if self.pilots is None:
            return 0
        return len(self.pilots.symbols) * len(self.pilots.subcarriers(self.subcarriers))

    @property
    def data_per_slot(self) -> int:
        """Those of them that can carry data."""
        return self.uses_per_slot - self.pilots_per_slot

    def data_symbols(self, uses: int) -> int:
        """Data symbols in as many whole slots as fit; InputError if none does."""
        slots = uses // self.uses_per_slot
        if slots == 0:
            raise InputError(
                f"a budget of {uses} channel uses an image is less than one slot of "
                f"{self.subcarriers}x{self.symbols_per_slot} = {self.uses_per_slot} resource "
                "elements and leaves no data symbol; raise cbr or take a smaller grid"
            )
        return slots * self.data_per_slot

    def draw_batch(
        self, seed: int, batch: int, length: int, device: torch.device | str = "cpu"
    ) -> "OfdmRealisation":
        """As :meth:`ChannelSettings.draw_batch`."""
        place = str(device)
        slots = -(-length // self.data_per_slot)
        seed_sionna(seed, place)
        h = self._gains(batch, slots, place)
        noise = unit_noise(batch, slots * self.uses_per_slot, place).reshape(h.shape)
        return OfdmRealisation(settings=self, h=h, noise=noise)

    def _gains(self, batch: int, slots: int, device: str) -> Tensor:
        """h, complex64 [batch, slots, S, F], from Sionna's generator as it stands."""
        from sionna.phy.channel import cir_to_ofdm_channel, subcarrier_frequencies

        spacing = self.subcarrier_spacing_khz * 1e3
        duration = 1 / spacing + self.cyclic_prefix_us * 1e-6
        model = _sionna_model(
            self.model, self.delay_spread_ns, self.carrier_ghz, self.speed_mps, device
        )
        a, tau = model(batch, slots * self.symbols_per_slot, 1 / duration)
        frequencies = subcarrier_frequencies(
            self.subcarriers, spacing, precision="single", device=device
        )
        h: Tensor = cir_to_ofdm_channel(frequencies, a, tau)
        return h.reshape(batch, slots, self.symbols_per_slot, self.subcarriers)


@dataclass(frozen=True, kw_only=True)
class OfdmRealisation(Realisation):
    """One draw of an OFDM channel for a batch; h and noise complex64 [B, slots, S, F]."""

    settings: Ofdm

    @property
    def length(self) -> int:
        """Data symbols in all slots."""
        return self.h.shape[1] * self.settings.data_per_slot

    def send(self, symbols: Tensor, used: Tensor, no: Tensor) -> Arrival:
        """Pilots and data over the slots that each image's ``used`` symbols need."""
        settings, layout = self.settings, _layout(self.settings, str(symbols.device))
        slots = -(-used // settings.data_per_slot)
        sent, papr = _amplify(layout.fill(symbols, slots), settings)
        h, noise = self.h[:, : sent.shape[1]], self.noise[:, : sent.shape[1]]
        no = no[:, None, None, None]
        y = batch_exact.multiply(h, sent) + batch_exact.scale(noise, no.sqrt())
        h_hat, variance = layout.know(y, h, no)
        n = symbols.shape[1]
        return Arrival(
            y=layout.data_of(y, n),
            h=layout.data_of(h_hat, n),
            no=layout.data_of(variance, n),
            uses=slots * settings.uses_per_slot,
            pilots=slots * settings.pilots_per_slot,
            padding=slots * settings.data_per_slot - used,
            papr_db=papr,
        )


class _Layout:
    """Where data and pilots stand in a slot, and what is known of its channel."""

    def __init__(self, settings: Ofdm, device: str) -> None:
        self._shape = (settings.symbols_per_slot, settings.subcarriers)
        self._ls: LsEstimator | None = None
        self._empty = torch.zeros(settings.uses_per_slot, dtype=torch.complex64, device=device)
        is_data = torch.ones(settings.uses_per_slot, dtype=torch.bool, device=device)
        if settings.pilots is not None:
            ls = _ls_estimator(settings, device)
            self._empty[ls.places] = ls.values
            is_data[ls.places] = False
            self._ls = ls if settings.estimation == "ls" else None
        self._data = is_data.nonzero()[:, 0]
        self._distortion = _distortion(settings)
        if self._ls is not None:
            self._change = _change_between_pilots(settings).to(device)

    def fill(self, symbols: Tensor, slots: Tensor) -> Tensor:
        """Resource grids complex64 [B, n, S, F] of symbols [B, N]: data and pilots in the first
        ``slots`` [B] slots, nothing in the others."""
        per_slot = len(self._data)
        padded = F.pad(symbols, (0, -symbols.shape[1] % per_slot))
        padded = padded.reshape(len(symbols), -1, per_slot)
        grid = self._empty.repeat(*padded.shape[:2], 1)
        grid[..., self._data] = padded
        taken = torch.arange(padded.shape[1], device=slots.device) < slots[:, None]
        return torch.where(taken[..., None], grid, 0).reshape(*taken.shape, *self._shape)

    def data_of(self, grid: Tensor, count: int) -> Tensor:
        """The first ``count`` data elements [B, count] of grids [B, n, S, F]."""
        return grid.flatten(2)[..., self._data].flatten(1)[:, :count]

    def know(self, y: Tensor, h: Tensor, no: Tensor) -> tuple[Tensor, Tensor]:
        """(gains, noise variance) of received grids y, as the receiver has them, [B, n, S, F].

        h: the true gains; no: [B, 1, 1, 1]. The variance is of noise, of the amplifier's
        distortion, and of the estimate's error: noise at the pilots, and what the channel does
        between them, averaged over the channel's realisations.
        """
        gain, distortion = self._distortion.gain, self._distortion.variance
        if self._ls is None:
            known, error = h if gain == 1 else h * gain, torch.zeros_like(no)
        else:
            known = self._ls(y)
            error = (no + distortion) * self._ls.noise_gain + gain**2 * self._change
        power = (known.real.square() + known.imag.square()) / gain**2
        return known, no + error + distortion * power


def _amplify(grid: Tensor, settings: Ofdm) -> tuple[Tensor, Tensor]:
    """(grids as sent, PAPR in dB [B]) of grids [B, n, S, F].

    Image by image, since an FFT's last bit depends on how many are computed at once.
    """
    sent, ratios = [], []
    for image in grid.flatten(1, 2):
        if settings.clipping is None:
            with torch.no_grad():
                ratios.append(papr_db(time_signal(image)))
        else:
            signal = soft_clip(time_signal(image), settings.clipping.backoff_db)
            ratios.append(papr_db(signal.detach()))
            sent.append(subcarriers_of(signal))
    amplified = torch.stack(sent).reshape(grid.shape) if sent else grid
    return amplified, torch.stack(ratios)


def _distortion(settings: Ofdm) -> Distortion:
    if settings.clipping is None:
        return Distortion(gain=1.0, variance=0.0)
    return clipping_distortion(settings.subcarriers, settings.clipping.backoff_db)


@lru_cache
def _layout(settings: Ofdm, device: str) -> _Layout:
    return _Layout(settings, device)


def _ls_estimator(settings: Ofdm, device: str) -> LsEstimator:
    assert settings.pilots is not None
    return LsEstimator(
        settings.pilots,
        symbols=settings.symbols_per_slot,
        subcarriers=settings.subcarriers,
        device=device,
    )


def _change_between_pilots(settings: Ofdm) -> Tensor:
    """E|h - h interpolated from the noiseless pilots|^2 over channels drawn once, [S, F]."""
    seed_sionna(derive_seed("change between pilots"), "cpu")
    h = settings._gains(_SLOTS_MEASURED, 1, "cpu")[:, 0]
    ls = _ls_estimator(settings, "cpu")
    change = h - ls.interpolate(h.flatten(1)[:, ls.places])
    return change.abs().double().square().mean(dim=0).float()


@lru_cache
def _sionna_model(
    name: str, delay_spread_ns: float, carrier_ghz: float, speed_mps: float, device: str
) -> Any:
    from sionna.phy.channel.tr38901 import CDL, TDL, Antenna

    kind, profile = name.split("-")
    settings = {"precision": "single", "device": device}
    carrier, spread = carrier_ghz * 1e9, delay_spread_ns * 1e-9
    if kind == "TDL":
        return TDL(profile, spread, carrier, min_speed=speed_mps, **settings)
    antennas = [
        Antenna(
            polarization="single",
            polarization_type="V",
            antenna_pattern="omni",
            carrier_frequency=carrier,
            **settings,
        )
        for _ in range(2)
    ]
    return CDL(
        profile, spread, carrier, *antennas, min_speed=speed_mps, max_speed=speed_mps, **settings
    )
