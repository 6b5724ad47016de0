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

from abc import abstractmethod
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor

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
from linksim.link.mimo import Antennas
from linksim.link.ofdm_mimo import AntennaPilots, OfdmMimoRealisation
from linksim.link.pilots import PilotGrid, PilotPattern
from linksim.link.profiles import (
    SPEED_OF_LIGHT,
    Profile,
    longest_path_us,
    sionna_model,
    tdl_covariance,
)
from linksim.link.slots import SlotLayout, Waveform, clipped
from linksim.link.time_domain import SampledOfdm
from linksim.link.waveform import Distortion, clipping_distortion
from linksim.runtime import batch_exact
from linksim.runtime.seeding import derive_seed
from linksim.settings import Db, Settings

_LARGEST_DOPPLER = 0.02  # of the subcarrier spacing
_SLOTS_MEASURED = 512
_DRAWS_MEASURED, _SYMBOLS_MEASURED = 256, 4  # of the time domain
_LINEAR = Distortion(gain=1.0, variance=0.0)


class Clipping(Settings):
    """An amplifier that saturates ``backoff_db`` above the mean power (a soft limiter)."""

    backoff_db: Db


class OfdmChannel(ChannelSettings):
    """OFDM over paths that a subclass names: the grid, and what sender and receiver make of it.

    subcarriers, symbols_per_slot: F and S; symbols_per_slot OFDM symbols of F subcarriers are a
        slot, and a frame takes as many whole slots as its data symbols need.
    pilots: which resource elements they take; None for none.
    estimation: of the channel, from each slot's pilots. ``ls``, least squares; ``lmmse``, by the
        covariance of the channel; ``lmmse_robust``, by one that knows nothing but the cyclic prefix
        and the largest Doppler shift of the frequency domain. ``perfect`` is told the channel.
    ls_over_time: ``average`` of the OFDM symbols with pilots, or ``linear`` between them, for
        channels that change within a slot.
    clipping: of the transmitter's amplifier; None for a linear one.
    domain: ``frequency``, or ``time`` for channels whose symbols disturb one another.
    antennas: at either end, for a linear amplifier in the frequency domain; one if left out.
    """

    subcarriers: int = Field(default=288, ge=2, le=4096)
    subcarrier_spacing_khz: float = Field(default=30.0, gt=0, le=1000)
    symbols_per_slot: PositiveInt = Field(default=14, le=1000)
    cyclic_prefix_us: float = Field(default=2.34, ge=0, le=1000)
    pilots: PilotPattern | None = None
    estimation: Literal["perfect", "ls", "lmmse", "lmmse_robust"] = "perfect"
    ls_over_time: Literal["average", "linear"] = "average"
    clipping: Clipping | None = None
    domain: Literal["frequency", "time"] = "frequency"
    antennas: Antennas | None = None

    @property
    @abstractmethod
    def longest_delay_us(self) -> float:
        """Of the last path, in microseconds."""

    @property
    @abstractmethod
    def largest_doppler_khz(self) -> float:
        """The largest Doppler shift of a path, in kHz."""

    @property
    @abstractmethod
    def fading_name(self) -> str:
        """All that determines the paths, in words: pilots and estimation meet the same fading."""

    @property
    def array(self) -> tuple[int, int]:
        """Antennas of the transmitter and of the receiver."""
        return (self.antennas.tx, self.antennas.rx) if self.antennas else (1, 1)

    @abstractmethod
    def paths(self, batch: int, steps: int, rate_hz: float, device: str) -> tuple[Tensor, Tensor]:
        """Sionna's a and tau of ``steps`` moments, from its generator as it stands; E|h|^2 = 1
        from each antenna to each."""

    def covariance(self) -> Covariance | None:
        """Of the gains of a slot; None where it is not known."""
        return None

    @model_validator(mode="after")
    def _free_of_interference(self) -> Self:
        if self.domain == "time":
            if self.longest_delay_us * 1e-6 * self.bandwidth_hz + 13 > self.subcarriers:
                most_us = (self.subcarriers - 13) / self.bandwidth_hz * 1e6
                raise ValueError(
                    f"the longest path has {self.longest_delay_us:.4g} us; domain: time takes "
                    f"{most_us:.4g} us at most with {self.subcarriers} subcarriers, a symbol less "
                    "what a sinc takes"
                )
            return self
        if self.longest_delay_us > self.cyclic_prefix_us:
            raise ValueError(
                f"cyclic_prefix_us {self.cyclic_prefix_us:g} is shorter than the longest path, "
                f"{self.longest_delay_us:.4g} us; take domain: time, which simulates the "
                "interference between OFDM symbols that follows"
            )
        if self.largest_doppler_khz > _LARGEST_DOPPLER * self.subcarrier_spacing_khz:
            raise ValueError(
                f"the carrier is shifted by {self.largest_doppler_khz:.3g} kHz, more than "
                f"{_LARGEST_DOPPLER:g} of subcarrier_spacing_khz {self.subcarrier_spacing_khz:g}; "
                "take domain: time, which simulates the interference between subcarriers that "
                "follows"
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
        columns, (tx, _) = len(self.pilots.subcarriers(self.subcarriers)), self.array
        if columns < tx:
            raise ValueError(
                f"pilots.spacing {self.pilots.spacing}: {columns} subcarriers with pilots are too "
                f"few for {tx} transmit antennas"
            )
        if self.data_per_slot == 0:
            raise ValueError(
                f"pilots take all {self.uses_per_slot} resource elements of a slot; "
                "leave some for data"
            )
        return self

    @model_validator(mode="after")
    def _antennas_fit(self) -> Self:
        if self.antennas is not None:
            if self.clipping is not None:
                raise ValueError("clipping is for one antenna at either end; leave out antennas")
            if self.domain == "time":
                raise ValueError("domain: time is for one antenna at either end, not antennas")
        return self

    @model_validator(mode="after")
    def _estimation_fits(self) -> Self:
        if self.ls_over_time != "average" and self.estimation != "ls":
            raise ValueError(f"ls_over_time is for estimation: ls, not {self.estimation}")
        if self.estimation == "lmmse" and self.covariance() is None:
            raise ValueError(
                "estimation: lmmse needs the covariance of the channel, and this one has none that "
                "is known; take lmmse_robust or ls"
            )
        return self

    @property
    def grid_name(self) -> str:
        """The grid and the antennas in words, the end of ``fading_name``."""
        tx, rx = self.array
        return (
            f"{self.subcarriers}x{self.symbols_per_slot}, "
            f"{self.subcarrier_spacing_khz:.12g} kHz, prefix {self.cyclic_prefix_us:.12g} us"
            + (f", {tx}x{rx} antennas" if self.antennas else "")
        )

    @property
    def medium_name(self) -> str:
        """The settings in words."""
        pilots = "no pilots"
        if self.pilots is not None:
            symbols = "+".join(map(str, sorted(self.pilots.symbols)))
            pilots = f"pilots {symbols}/{self.pilots.spacing}"
        clipping = f", clipped at {self.clipping.backoff_db:.12g} dB" if self.clipping else ""
        over_time = f" {self.ls_over_time}" if self.estimation == "ls" else ""
        estimation = f"{self.estimation}{over_time}"
        domain = ", time domain" if self.domain == "time" else ""
        antennas = f", {self.antennas.name}" if self.antennas else ""
        inside = f"{self.fading_name}, mixed, {pilots}, {estimation}{clipping}{domain}{antennas}"
        return f"{self.kind}({inside})"

    @property
    def spacing_hz(self) -> float:
        """Subcarrier spacing in Hz."""
        return self.subcarrier_spacing_khz * 1e3

    @property
    def bandwidth_hz(self) -> float:
        """Of all subcarriers, in Hz."""
        return self.subcarriers * self.spacing_hz

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
        """Data symbols that the others carry, on all layers."""
        uses = self.uses_per_slot - self.pilots_per_slot
        if self.antennas is None:
            return uses
        return uses // self.antennas.uses_per_block * self.antennas.symbols_per_block

    @property
    def block(self) -> int:
        """The data symbols of a slot."""
        return self.data_per_slot

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
    ) -> "OfdmRealisation | OfdmMimoRealisation":
        """As :meth:`ChannelSettings.draw_batch`."""
        place = str(device)
        slots = -(-length // self.data_per_slot)
        seed_sionna(seed, place)
        taps = None
        if self.domain == "time":
            h, taps = self._sampled_gains(batch, slots, place)
        else:
            h = self.gains(batch, slots, place)
        _, rx = self.array
        noise = unit_noise(batch, slots * self.uses_per_slot * rx, place)
        if self.antennas is not None:
            return OfdmMimoRealisation(
                h=h,
                noise=noise.reshape(h.shape[:-1]),
                antennas=self.antennas,
                pilots_per_slot=self.pilots_per_slot,
                layout=partial(_layout, self),
                known_by=partial(_known_by, self),
            )
        noise = noise.reshape(h.shape)
        return OfdmRealisation(settings=self, h=h, noise=noise, taps=taps)

    def gains(self, batch: int, slots: int, device: str) -> Tensor:
        """h, complex64 [batch, slots, S, F], and with antennas [batch, slots, S, F, rx, tx], from
        Sionna's generator as it stands."""
        from sionna.phy.channel import cir_to_ofdm_channel, subcarrier_frequencies

        paths = self.paths(batch, slots * self.symbols_per_slot, 1 / self.symbol_s, device)
        frequencies = subcarrier_frequencies(
            self.subcarriers, self.spacing_hz, precision="single", device=device
        )
        h: Tensor = cir_to_ofdm_channel(frequencies, *paths)
        h = h[:, 0, :, 0].permute(0, 3, 4, 1, 2)  # [batch, slots * S, F, rx, tx]
        h = h.reshape(batch, slots, self.symbols_per_slot, self.subcarriers, *h.shape[3:])
        return h[..., 0, 0] if self.antennas is None else h

    def _sampled_gains(self, batch: int, slots: int, device: str) -> tuple[Tensor, Tensor]:
        """(h [batch, slots, S, F], taps [batch, samples, taps]) of the time domain."""
        sampled = sampled_ofdm(self, device)
        steps = sampled.samples(slots * self.symbols_per_slot)
        taps = torch.stack(
            [sampled.taps_of(self.paths(1, steps, self.bandwidth_hz, device)) for _ in range(batch)]
        )
        h = torch.stack([sampled.gains(image) for image in taps])
        return h.reshape(batch, slots, self.symbols_per_slot, self.subcarriers), taps


class Ofdm(OfdmChannel):
    """OFDM over a tapped or clustered delay line, one antenna at either end.

    model: TDL-A to TDL-E or CDL-A to CDL-E (TR 38.901, section 7.7); the covariance is known of TDL
        alone. delay_spread_ns: RMS.
    """

    type: Literal["ofdm"] = "ofdm"
    model: Profile
    delay_spread_ns: float = Field(ge=0, le=1e5, allow_inf_nan=False)
    carrier_ghz: float = Field(default=3.5, ge=0.5, le=100)
    speed_mps: float = Field(default=0.0, ge=0, le=1000)

    @property
    def fading_name(self) -> str:
        """All that determines h, in words: pilots and estimation meet the same fading."""
        return (
            f"{self.model}, {self.delay_spread_ns:.12g} ns, {self.carrier_ghz:.12g} GHz, "
            f"{self.speed_mps:.12g} m/s, {self.grid_name}"
        )

    @property
    def longest_delay_us(self) -> float:
        """Of the last path, in microseconds."""
        return longest_path_us(self.model, self.delay_spread_ns)

    @property
    def largest_doppler_khz(self) -> float:
        """The largest Doppler shift of a path, in kHz."""
        return self.speed_mps / SPEED_OF_LIGHT * self.carrier_ghz * 1e6

    def paths(self, batch: int, steps: int, rate_hz: float, device: str) -> tuple[Tensor, Tensor]:
        """As :meth:`OfdmChannel.paths`."""
        model = sionna_model(
            self.model, self.delay_spread_ns, self.carrier_ghz, self.speed_mps, device, *self.array
        )
        a, tau = model(batch, steps, rate_hz)
        return a, tau

    def covariance(self) -> Covariance | None:
        """Of a TDL profile over a slot; None for CDL."""
        if not self.model.startswith("TDL"):
            return None
        return tdl_covariance(
            self.model,
            delay_spread_ns=self.delay_spread_ns,
            carrier_ghz=self.carrier_ghz,
            speed_mps=self.speed_mps,
            symbols=self.symbols_per_slot,
            symbol_s=self.symbol_s,
            subcarriers=self.subcarriers,
            spacing_hz=self.spacing_hz,
        )


@dataclass(frozen=True, kw_only=True)
class OfdmRealisation(Realisation):
    """One draw of an OFDM channel for a batch; h and noise complex64 [B, slots, S, F].

    taps: complex64 [B, samples, taps] of the time domain; None in the frequency domain.
    """

    settings: OfdmChannel
    taps: Tensor | None = None

    @property
    def length(self) -> int:
        """Data symbols in all slots."""
        return self.h.shape[1] * self.settings.data_per_slot

    def send(
        self, symbols: Tensor, used: Tensor, no: Tensor, rounds: tuple[int, ...] = ()
    ) -> Arrival:
        """Pilots and data over the slots that each image's ``used`` symbols need."""
        settings, device = self.settings, str(symbols.device)
        layout, receiver = _layout(settings, device), _receiver(settings, device)
        slots, count = -(-used // settings.data_per_slot), symbols.shape[1]
        mixing = layout.mixing(count, slots, rounds)
        grid = layout.fill(symbols, slots, mixing)
        backoff_db = settings.clipping.backoff_db if settings.clipping else None
        sent = grid if backoff_db is None else clipped(grid, backoff_db)
        h, noise = self.h[:, : sent.shape[1]], self.noise[:, : sent.shape[1]]
        no = no[:, None, None, None]
        clean = batch_exact.multiply(h, sent) if self.taps is None else self._sampled(sent)
        y = clean + batch_exact.scale(noise, no.sqrt())
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
                layout=layout,
                symbols=symbols.detach(),
                slots=slots,
                rounds=rounds,
                backoff_db=backoff_db,
            ),
        )

    def _sampled(self, grid: Tensor) -> Tensor:
        """What arrives of grids [B, n, S, F] in the time domain, without noise."""
        assert self.taps is not None
        sampled = sampled_ofdm(self.settings, str(grid.device))
        return sampled.send(grid.flatten(1, 2), self.taps).reshape(grid.shape)


class _Receiver:
    """What is known of a slot's channel where it is received."""

    def __init__(self, settings: OfdmChannel, device: str) -> None:
        self._estimator = _estimator(settings, device)
        self._distortion = _distortion(settings)
        self._interference = interference_of(settings) if settings.domain == "time" else 0.0

    def know(self, y: Tensor, h: Tensor, no: Tensor) -> tuple[Tensor, Tensor]:
        """(gains, noise variance) of received grids y, as the receiver has them, [B, n, S, F].

        h: the true gains; no: [B, 1, 1, 1]. The gains are the mean of the true ones given the
        estimate; the variance is of noise, of interference between symbols, of the amplifier's
        distortion, and of what the estimate leaves unknown.
        """
        no = no + self._interference
        gain, distortion = self._distortion.gain, self._distortion.variance
        if self._estimator is None:
            known, error = h if gain == 1 else h * gain, torch.zeros_like(no)
        else:
            known, error = self._estimator(y, no + distortion, gain)
        power = (known.real.square() + known.imag.square() + error) / gain**2
        return known, no + error + distortion * power


def _distortion(settings: OfdmChannel) -> Distortion:
    if settings.clipping is None:
        return _LINEAR
    return clipping_distortion(settings.subcarriers, settings.clipping.backoff_db)


@lru_cache
def _layout(settings: OfdmChannel, device: str) -> SlotLayout:
    pilots = None if settings.pilots is None else _pilot_grid(settings, device)
    block = settings.antennas.uses_per_block if settings.antennas else 1
    return SlotLayout(settings.symbols_per_slot, settings.subcarriers, pilots, device, block=block)


@lru_cache
def _receiver(settings: OfdmChannel, device: str) -> _Receiver:
    return _Receiver(settings, device)


@lru_cache
def _known_by(settings: OfdmChannel, device: str) -> tuple[AntennaPilots, ...]:
    """How the receiver knows the gains from each of several antennas; () for perfect knowledge."""
    known_by = []
    for antenna in range(settings.array[0]):
        estimator = _estimator(settings, device, antenna)
        if estimator is None:
            return ()
        known_by.append(AntennaPilots(_pilot_grid(settings, device, antenna), estimator))
    return tuple(known_by)


def _pilot_grid(settings: OfdmChannel, device: str, antenna: int | None = None) -> PilotGrid:
    """The pilots of one transmit antenna, or of all."""
    assert settings.pilots is not None
    return PilotGrid(
        settings.pilots,
        symbols=settings.symbols_per_slot,
        subcarriers=settings.subcarriers,
        device=device,
        antenna=antenna or 0,
        antennas=1 if antenna is None else settings.array[0],
    )


def _estimator(settings: OfdmChannel, device: str, antenna: int = 0) -> Estimator | None:
    match settings.estimation:
        case "perfect":
            return None
        case "ls":
            pilots, over_time = _pilot_grid(settings, device, antenna), settings.ls_over_time
            return LsEstimator(pilots, moments_of_ls(settings, antenna), over_time=over_time)
        case "lmmse":
            covariance = settings.covariance()
            assert covariance is not None  # the settings see to that
            return LmmseEstimator(_pilot_grid(settings, device, antenna), covariance)
        case "lmmse_robust":
            covariance = robust_covariance(settings)
            return LmmseEstimator(_pilot_grid(settings, device, antenna), covariance)


def moments_of_ls(settings: OfdmChannel, antenna: int = 0) -> Moments:
    """What least squares makes of an antenna's noiseless pilots, over channels drawn once."""
    seed_sionna(derive_seed("change between pilots"), "cpu")
    h = settings.gains(_SLOTS_MEASURED, 1, "cpu")[:, 0]
    h = h if settings.antennas is None else h[..., 0, antenna]
    pilots = _pilot_grid(settings, "cpu", antenna)
    return Moments.of(h, LeastSquares(pilots, over_time=settings.ls_over_time)(pilots.at(h)))


def robust_covariance(settings: OfdmChannel) -> Covariance:
    """The covariance for any channel that the settings' cyclic prefix and spacing can bear.

    Jakes' Doppler spectrum up to a limit has the mean square of an even one up to sqrt(3/2) of it.
    """
    return Covariance.robust(
        settings.symbols_per_slot,
        settings.subcarriers,
        longest_delay=settings.cyclic_prefix_us * 1e-6 * settings.spacing_hz,
        largest_doppler=1.5**0.5 * _LARGEST_DOPPLER * settings.spacing_hz * settings.symbol_s,
    )


@lru_cache
def sampled_ofdm(settings: OfdmChannel, device: str) -> SampledOfdm:
    """The time domain of the settings' grid."""
    return SampledOfdm(
        subcarriers=settings.subcarriers,
        bandwidth=settings.bandwidth_hz,
        prefix=round(settings.cyclic_prefix_us * 1e-6 * settings.bandwidth_hz),
        longest_delay=settings.longest_delay_us * 1e-6,
        device=device,
    )


@lru_cache
def interference_of(settings: OfdmChannel) -> float:
    """Mean power of what symbols of unit power leave in others, over channels drawn once."""
    sampled, symbols = sampled_ofdm(settings, "cpu"), _SYMBOLS_MEASURED
    seed_sionna(derive_seed("interference"), "cpu")
    generator = torch.Generator().manual_seed(derive_seed("interference"))
    power = 0.0
    for _ in range(_DRAWS_MEASURED):
        signs = torch.randint(2, (1, symbols, settings.subcarriers, 2), generator=generator) * 2 - 1
        grid = torch.view_as_complex(signs * 0.5**0.5)
        steps = sampled.samples(symbols)
        taps = sampled.taps_of(settings.paths(1, steps, settings.bandwidth_hz, "cpu"))
        left = sampled.send(grid, taps[None])[0] - sampled.gains(taps) * grid[0]
        power += float(left[1:].abs().square().mean()) / _DRAWS_MEASURED
    return power
