"""OFDM over the 3GPP channels of TR 38.901, on Sionna.

    data ─► interleaver, scrambler ─► slots of S OFDM symbols of F subcarriers, with pilots
         ─► amplifier ─► TDL or CDL ─► equaliser's view: data elements, their gains and variances

In the frequency domain, y = h*x + sqrt(no)*n per resource element. Fading changes from one OFDM
symbol to the next and goes on from slot to slot; within an OFDM symbol it stands still, and no
symbol disturbs another. Settings for which that is not so (a cyclic prefix shorter than the longest
path, a Doppler shift beyond 0.02 of the subcarrier spacing, where the interference between
subcarriers is at -32 dB) are for the time domain, which simulates every sample
(:mod:`linksim.link.time_domain`). The cyclic prefix is not counted as channel use.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor

from linksim import batch_exact
from linksim.errors import InputError
from linksim.link.channel import Arrival, ChannelSettings, Realisation, seed_sionna, unit_noise
from linksim.link.estimation import (
    Covariance,
    Estimator,
    LeastSquares,
    LmmseEstimator,
    LsEstimator,
    Moments,
)
from linksim.link.pilots import PilotGrid, PilotPattern
from linksim.link.profiles import (
    SPEED_OF_LIGHT,
    Profile,
    longest_path_us,
    sionna_model,
    tdl_covariance,
)
from linksim.link.slots import SlotLayout, Waveform, clipped
from linksim.link.waveform import Distortion, clipping_distortion
from linksim.seeding import derive_seed
from linksim.settings import Db, Settings

_LARGEST_DOPPLER = 0.02  # of the subcarrier spacing
_SLOTS_MEASURED = 512
_LINEAR = Distortion(gain=1.0, variance=0.0)


class Clipping(Settings):
    """An amplifier that saturates ``backoff_db`` above the mean power (a soft limiter)."""

    backoff_db: Db


class Ofdm(ChannelSettings):
    """OFDM over a tapped or clustered delay line, one antenna at either end.

    model: TDL-A to TDL-E or CDL-A to CDL-E (TR 38.901, section 7.7). delay_spread_ns: RMS.
    subcarriers, symbols_per_slot: F and S; symbols_per_slot OFDM symbols of F subcarriers are a
        slot, and a frame takes as many whole slots as its data symbols need.
    pilots: which resource elements they take; None for none.
    estimation: of the channel, from each slot's pilots. ``ls``, least squares; ``lmmse``, by the
        covariance of the profile (TDL only); ``lmmse_robust``, by one that knows nothing but the
        cyclic prefix and the largest Doppler shift allowed. ``perfect`` is told the channel.
    ls_over_time: ``average`` of the OFDM symbols with pilots, or ``linear`` between them, for
        channels that change within a slot.
    clipping: of the transmitter's amplifier; None for a linear one.
    """

    type: Literal["ofdm"] = "ofdm"
    model: Profile
    delay_spread_ns: float = Field(ge=0, le=1e5, allow_inf_nan=False)
    carrier_ghz: float = Field(default=3.5, ge=0.5, le=100)
    speed_mps: float = Field(default=0.0, ge=0, le=1000)
    subcarriers: int = Field(default=288, ge=2, le=4096)
    subcarrier_spacing_khz: float = Field(default=30.0, gt=0, le=1000)
    symbols_per_slot: PositiveInt = Field(default=14, le=1000)
    cyclic_prefix_us: float = Field(default=2.34, ge=0, le=1000)
    pilots: PilotPattern | None = None
    estimation: Literal["perfect", "ls", "lmmse", "lmmse_robust"] = "perfect"
    ls_over_time: Literal["average", "linear"] = "average"
    clipping: Clipping | None = None

    @model_validator(mode="after")
    def _free_of_interference(self) -> Self:
        longest_us = longest_path_us(self.model, self.delay_spread_ns)
        if longest_us > self.cyclic_prefix_us:
            raise ValueError(
                f"cyclic_prefix_us {self.cyclic_prefix_us:g} is shorter than the longest path of "
                f"{self.model} at delay_spread_ns {self.delay_spread_ns:g}, {longest_us:.4g} us; "
                "the interference between OFDM symbols that would follow is not simulated"
            )
        doppler_khz = self.speed_mps / SPEED_OF_LIGHT * self.carrier_ghz * 1e6
        if doppler_khz > _LARGEST_DOPPLER * self.subcarrier_spacing_khz:
            raise ValueError(
                f"speed_mps {self.speed_mps:g} shifts the carrier by {doppler_khz:.3g} kHz, more "
                f"than {_LARGEST_DOPPLER:g} of subcarrier_spacing_khz "
                f"{self.subcarrier_spacing_khz:g}; the interference between subcarriers that would "
                "follow is not simulated"
            )
        return self

    @model_validator(mode="after")
    def _pilots_fit(self) -> Self:
        if self.pilots is None:
            if self.estimation != "perfect":
                raise ValueError(
                    f"estimation: {self.estimation} needs pilots, such as {{symbols: [2, 11]}}"
                )
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

    @model_validator(mode="after")
    def _estimation_fits(self) -> Self:
        if self.estimation == "lmmse" and not self.model.startswith("TDL"):
            raise ValueError(
                f"estimation: lmmse needs the covariance of the channel, and {self.model} has none "
                "that is known; take lmmse_robust, ls or a TDL model"
            )
        if self.ls_over_time != "average" and self.estimation != "ls":
            raise ValueError(f"ls_over_time is for estimation: ls, not {self.estimation}")
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
        over_time = f" {self.ls_over_time}" if self.estimation == "ls" else ""
        estimation = f"{self.estimation}{over_time}"
        return f"ofdm({self.fading_name}, mixed, {pilots}, {estimation}{clipping})"

    @property
    def spacing_hz(self) -> float:
        """Subcarrier spacing in Hz."""
        return self.subcarrier_spacing_khz * 1e3

    @property
    def symbol_s(self) -> float:
        """Duration of an OFDM symbol with its prefix, in seconds."""
        return 1 / self.spacing_hz + self.cyclic_prefix_us * 1e-6

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
        h = self.gains(batch, slots, place)
        noise = unit_noise(batch, slots * self.uses_per_slot, place).reshape(h.shape)
        return OfdmRealisation(settings=self, h=h, noise=noise)

    def gains(self, batch: int, slots: int, device: str) -> Tensor:
        """h, complex64 [batch, slots, S, F], from Sionna's generator as it stands."""
        from sionna.phy.channel import cir_to_ofdm_channel, subcarrier_frequencies

        model = sionna_model(
            self.model, self.delay_spread_ns, self.carrier_ghz, self.speed_mps, device
        )
        a, tau = model(batch, slots * self.symbols_per_slot, 1 / self.symbol_s)
        frequencies = subcarrier_frequencies(
            self.subcarriers, self.spacing_hz, precision="single", device=device
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
        settings, device = self.settings, str(symbols.device)
        layout, receiver = _layout(settings, device), _receiver(settings, device)
        slots, count = -(-used // settings.data_per_slot), symbols.shape[1]
        mixing = layout.mixing(count)
        grid = layout.fill(symbols, slots, mixing)
        backoff_db = settings.clipping.backoff_db if settings.clipping else None
        sent = grid if backoff_db is None else clipped(grid, backoff_db)
        h, noise = self.h[:, : sent.shape[1]], self.noise[:, : sent.shape[1]]
        no = no[:, None, None, None]
        y = batch_exact.multiply(h, sent) + batch_exact.scale(noise, no.sqrt())
        h_hat, variance = receiver.know(y, h, no)
        y, h_hat, variance = (
            mixing.gather(layout.data_of(grid), count) for grid in (y, h_hat, variance)
        )
        return Arrival(
            y=mixing.turn_back(y),
            h=h_hat,
            no=variance,
            uses=slots * settings.uses_per_slot,
            pilots=slots * settings.pilots_per_slot,
            padding=slots * settings.data_per_slot - used,
            waveform=Waveform(
                layout=layout, symbols=symbols.detach(), slots=slots, backoff_db=backoff_db
            ),
        )


class _Receiver:
    """What is known of a slot's channel where it is received."""

    def __init__(self, settings: Ofdm, device: str) -> None:
        self._estimator = _estimator(settings, device)
        self._distortion = _distortion(settings)

    def know(self, y: Tensor, h: Tensor, no: Tensor) -> tuple[Tensor, Tensor]:
        """(gains, noise variance) of received grids y, as the receiver has them, [B, n, S, F].

        h: the true gains; no: [B, 1, 1, 1]. The gains are the mean of the true ones given the
        estimate; the variance is of noise, of the amplifier's distortion, and of what the estimate
        leaves unknown.
        """
        gain, distortion = self._distortion.gain, self._distortion.variance
        if self._estimator is None:
            known, error = h if gain == 1 else h * gain, torch.zeros_like(no)
        else:
            known, error = self._estimator(y, no + distortion, gain)
        power = (known.real.square() + known.imag.square() + error) / gain**2
        return known, no + error + distortion * power


def _distortion(settings: Ofdm) -> Distortion:
    if settings.clipping is None:
        return _LINEAR
    return clipping_distortion(settings.subcarriers, settings.clipping.backoff_db)


@lru_cache
def _layout(settings: Ofdm, device: str) -> SlotLayout:
    pilots = None if settings.pilots is None else _pilot_grid(settings, device)
    return SlotLayout(settings.symbols_per_slot, settings.subcarriers, pilots, device)


@lru_cache
def _receiver(settings: Ofdm, device: str) -> _Receiver:
    return _Receiver(settings, device)


def _pilot_grid(settings: Ofdm, device: str) -> PilotGrid:
    assert settings.pilots is not None
    return PilotGrid(
        settings.pilots,
        symbols=settings.symbols_per_slot,
        subcarriers=settings.subcarriers,
        device=device,
    )


def _estimator(settings: Ofdm, device: str) -> Estimator | None:
    match settings.estimation:
        case "perfect":
            return None
        case "ls":
            pilots, over_time = _pilot_grid(settings, device), settings.ls_over_time
            return LsEstimator(pilots, moments_of_ls(settings), over_time=over_time)
        case "lmmse":
            return LmmseEstimator(_pilot_grid(settings, device), covariance_of(settings))
        case "lmmse_robust":
            return LmmseEstimator(_pilot_grid(settings, device), robust_covariance(settings))


def moments_of_ls(settings: Ofdm) -> Moments:
    """What least squares makes of noiseless pilots, over channels drawn once."""
    seed_sionna(derive_seed("change between pilots"), "cpu")
    h = settings.gains(_SLOTS_MEASURED, 1, "cpu")[:, 0]
    pilots = _pilot_grid(settings, "cpu")
    return Moments.of(h, LeastSquares(pilots, over_time=settings.ls_over_time)(pilots.at(h)))


def covariance_of(settings: Ofdm) -> Covariance:
    """The covariance of a TDL profile over a slot."""
    return tdl_covariance(
        settings.model,
        delay_spread_ns=settings.delay_spread_ns,
        carrier_ghz=settings.carrier_ghz,
        speed_mps=settings.speed_mps,
        symbols=settings.symbols_per_slot,
        symbol_s=settings.symbol_s,
        subcarriers=settings.subcarriers,
        spacing_hz=settings.spacing_hz,
    )


def robust_covariance(settings: Ofdm) -> Covariance:
    """The covariance for any channel that the settings' cyclic prefix and spacing can bear.

    Jakes' Doppler spectrum up to a limit has the mean square of an even one up to sqrt(3/2) of it.
    """
    return Covariance.robust(
        settings.symbols_per_slot,
        settings.subcarriers,
        longest_delay=settings.cyclic_prefix_us * 1e-6 * settings.spacing_hz,
        largest_doppler=1.5**0.5 * _LARGEST_DOPPLER * settings.spacing_hz * settings.symbol_s,
    )
