"""OFDM over the traced paths of a street: every position is a channel of its own."""

import math
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from linksim.link.channel import Realisation
from linksim.link.ofdm import OfdmChannel, OfdmRealisation
from linksim.link.ofdm_mimo import OfdmMimoRealisation
from linksim.link.site_file import NO_PATH_DB, Site, load_site, site_path
from linksim.settings import Db, Settings

_BOLTZMANN, _KELVIN = 1.380649e-23, 290.0


class LinkBudget(Settings):
    """What a position's SNR follows from: transmitted power over kTB at 290 K and a noise figure.

    bandwidth_mhz: of the noise; that of all subcarriers if left out.
    """

    tx_power_dbm: Db
    noise_figure_db: float = Field(default=7.0, ge=0, le=50)
    bandwidth_mhz: float | None = Field(default=None, gt=0, le=1e5)

    def snr_db(self, gain: NDArray[np.float64], bandwidth_hz: float) -> NDArray[np.float64]:
        """Of mean power gains between isotropic antennas."""
        band = bandwidth_hz if self.bandwidth_mhz is None else self.bandwidth_mhz * 1e6
        noise_dbm = 10 * math.log10(_BOLTZMANN * _KELVIN * band * 1e3) + self.noise_figure_db
        with np.errstate(divide="ignore"):
            found: NDArray[np.float64] = self.tx_power_dbm + 10 * np.log10(gain) - noise_dbm
        return found


class SiteChannel(OfdmChannel):
    """OFDM over the paths of a traced site (``linksim trace``), position by position.

    site: one that comes with linksim, such as ``munich``, or a file of ``linksim trace``. Trial t
    of a sweep is position t, the same for every image and codec; after the last one comes the first
    again, with other noise. Training and calibration draw positions by chance.

    E|h|^2 = 1 at every position: the mean over its subcarriers and antennas when a frame starts.
    link_budget: gives every position an SNR of its own, in place of ``snr_db``, and both sides are
    told that one. A position without a path has -100 dB, whatever the SNR is.
    """

    type: Literal["site"] = "site"
    site: Path
    link_budget: LinkBudget | None = None

    @model_validator(mode="after")
    def _antennas_traced(self) -> Self:
        for have, want, end in zip(self.data.array, self.array, ("tx", "rx"), strict=True):
            if want > have:
                raise ValueError(f"antennas.{end} {want}: the site was traced for {have}")
        if not self.data.counts.any():
            raise ValueError(f"site {self.site}: no position has a path")
        return self

    @property
    def data(self) -> Site:
        """The site."""
        return load_site(self.site)

    @property
    def files(self) -> tuple[Path, ...]:
        """The site's file."""
        return (site_path(self.site),)

    @property
    def longest_delay_us(self) -> float:
        """After a position's first path, of the last one of any position."""
        return float(self.data.delays.max(initial=0.0)) * 1e6

    @property
    def largest_doppler_khz(self) -> float:
        """The largest Doppler shift of a path, in kHz."""
        return float(np.abs(self.data.dopplers).max(initial=0.0)) / 1e3

    @property
    def fading_name(self) -> str:
        """The site and the grid."""
        return f"{self.site.stem}, {self.data.digest[:12]}, {self.grid_name}"

    @property
    def medium_name(self) -> str:
        """The settings in words."""
        budget = self.link_budget
        if budget is None:
            return super().medium_name
        words = f"{budget.tx_power_dbm:g} dBm, noise figure {budget.noise_figure_db:g} dB"
        band = "" if budget.bandwidth_mhz is None else f" in {budget.bandwidth_mhz:g} MHz"
        return f"{super().medium_name} at {words}{band}"

    @property
    def own_snr_db(self) -> float | None:
        """With a link budget, the median over positions that have a path."""
        if self.link_budget is None:
            return None
        snrs = self._snrs_db()
        return round(float(np.median(snrs[self.data.counts > 0])), 2)

    def seed_of(self, seed: int, trial: int) -> int:
        """The seed that is nearest below and draws position ``trial``."""
        count = len(self.data.counts)
        return seed - seed % count + trial % count

    def columns(self, realisation: Realisation) -> dict[str, list[float]]:
        """Of rows: position, its x and y in metres, and whether it is in line of sight."""
        assert realisation.positions is not None  # draw_batch gives them
        places, site = realisation.positions.tolist(), self.data
        columns: dict[str, list[float]] = {
            "position": places,
            "x_m": site.positions[places, 0].tolist(),
            "y_m": site.positions[places, 1].tolist(),
            "line_of_sight": site.line_of_sight[places].tolist(),
        }
        return columns

    def draw_batch(
        self, seed: int, batch: int, length: int, device: torch.device | str = "cpu"
    ) -> OfdmRealisation | OfdmMimoRealisation:
        """As :meth:`linksim.link.channel.ChannelSettings.draw_batch`; one draw is of position
        ``seed`` modulo their number, several are of positions that have a path, by chance."""
        drawn = super().draw_batch(seed, batch, length, device)
        positions = self._positions(seed, batch)
        snrs = torch.from_numpy(self._snrs_db()[positions]).to(device, torch.float32)
        places = torch.from_numpy(positions).to(device)
        return replace(drawn, positions=places, own_snr_db=snrs)

    def paths(self, batch: int, steps: int, rate_hz: float, device: str) -> tuple[Tensor, Tensor]:
        """As :meth:`linksim.link.ofdm.OfdmChannel.paths`, of the positions that the seed of
        Sionna's generator stands for."""
        from sionna.phy import config

        seed = config.torch_rng(device).initial_seed()
        site, (tx, rx) = self.data, self.array
        places = self._positions(seed, batch)
        most = max(1, int(site.counts[places].max()))
        a = np.zeros((batch, rx, tx, most, steps), np.complex64)
        tau = np.zeros((batch, most), np.float32)
        times = np.arange(steps) / rate_hz
        scales = self._scales()
        for i, place in enumerate(places.tolist()):
            if site.counts[place] == 0:
                a[i, ..., 0, :] = 1
                continue
            own = site.paths_of(place)
            count = int(site.counts[place])
            turned = np.exp(2j * np.pi * site.dopplers[own, None].astype(np.float64) * times)
            gains = _gains(site, own, tx, rx) * scales[place]
            a[i, ..., :count, :] = gains[..., None] * turned
            tau[i, :count] = site.delays[own]
        return (
            torch.from_numpy(a)[:, None, :, None].to(device),
            torch.from_numpy(tau)[:, None, None].to(device),
        )

    def _positions(self, seed: int, batch: int) -> NDArray[np.int64]:
        counts = self.data.counts
        if batch == 1:
            return np.array([seed % len(counts)])
        reached = np.flatnonzero(counts)
        return np.random.default_rng(seed).choice(reached, batch)

    def _powers(self) -> NDArray[np.float64]:
        """Mean power gain of each position over subcarriers and antennas, [P]."""
        return _mean_powers(self.data, self.array, self.subcarriers, self.spacing_hz)

    def _scales(self) -> NDArray[np.float64]:
        """What makes E|h|^2 = 1 of a position's gains, [P]."""
        powers = self._powers()
        return np.divide(1, np.sqrt(powers), out=np.zeros_like(powers), where=powers > 0)

    def _snrs_db(self) -> NDArray[np.float64]:
        """Of positions, NaN where the scenario sets it, [P]."""
        powers = self._powers()
        if self.link_budget is None:
            return np.where(powers > 0, np.nan, NO_PATH_DB)
        snrs = self.link_budget.snr_db(powers, self.bandwidth_hz)
        return np.maximum(snrs, NO_PATH_DB)


def _gains(site: Site, own: slice, tx: int, rx: int) -> NDArray[np.complex128]:
    """Between all antennas, complex128 [rx, tx, K], of some paths."""
    at_tx = np.exp(1j * np.arange(tx)[:, None] * site.tx_turns[own].astype(np.float64))
    at_rx = np.exp(1j * np.arange(rx)[:, None] * site.rx_turns[own].astype(np.float64))
    gains: NDArray[np.complex128] = site.gains[own] * at_rx[:, None] * at_tx[None]
    return gains


@lru_cache(maxsize=16)
def _mean_powers(
    site: Site, array: tuple[int, int], subcarriers: int, spacing_hz: float
) -> NDArray[np.float64]:
    frequencies = (np.arange(subcarriers) - subcarriers // 2) * spacing_hz
    powers = np.zeros(len(site.counts))
    for place in np.flatnonzero(site.counts).tolist():
        own = site.paths_of(place)
        turns = np.exp(-2j * np.pi * site.delays[own, None].astype(np.float64) * frequencies)
        h = np.tensordot(_gains(site, own, *array), turns, axes=1)
        powers[place] = np.mean(np.abs(h) ** 2)
    return powers
