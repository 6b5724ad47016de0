"""OFDM sample by sample: for channels whose symbols disturb one another.

    resource grid ─► inverse FFT, cyclic prefix ─► taps that change every sample ─► FFT, grid

A path beyond the cyclic prefix brings the end of one OFDM symbol into the next; a channel that
changes within a symbol mixes its subcarriers. What is left of each resource element is a gain times
what was sent, and interference, which is taken for noise.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor

Paths = tuple[Tensor, Tensor]
"""Sionna's a and tau: complex gains of the paths at every sample, and their delays in seconds."""


@dataclass(frozen=True)
class SampledOfdm:
    """Sionna's modulator, time channel and demodulator for symbols of F subcarriers.

    bandwidth: in Hz, the sampling rate. prefix: samples of the cyclic prefix. longest_delay: of the
    channel, in seconds.
    """

    subcarriers: int
    bandwidth: float
    prefix: int
    longest_delay: float
    device: str

    @property
    def samples_per_symbol(self) -> int:
        """With the prefix."""
        return self.subcarriers + self.prefix

    @cached_property
    def lags(self) -> tuple[int, int]:
        """The first and the last lag of the taps, in samples."""
        from sionna.phy.channel import time_lag_discrete_time_channel

        first, last = time_lag_discrete_time_channel(self.bandwidth, self.longest_delay)
        return first, last

    @property
    def taps(self) -> int:
        """How many there are."""
        return self.lags[1] - self.lags[0] + 1

    def samples(self, symbols: int) -> int:
        """Samples received of that many OFDM symbols."""
        return symbols * self.samples_per_symbol + self.taps - 1

    def taps_of(self, paths: Paths) -> Tensor:
        """Taps complex64 [samples, taps] of one channel's paths."""
        from sionna.phy.channel import cir_to_time_channel

        h: Tensor = cir_to_time_channel(self.bandwidth, *paths, *self.lags)
        return h.reshape(h.shape[-2:])

    def gains(self, taps: Tensor) -> Tensor:
        """What multiplies each subcarrier, complex64 [S, F], of taps [samples, taps].

        The mean over the FFT's window of the taps, where they reach into the same OFDM symbol.
        """
        size = self.samples_per_symbol
        symbols = (len(taps) - self.taps + 1) // size
        windows = taps[: symbols * size].reshape(symbols, size, -1)[:, self.prefix :]
        sample = torch.arange(self.subcarriers, device=taps.device)[:, None]
        lag = torch.arange(self.taps, device=taps.device)
        mean = (windows * (sample >= lag - self.prefix)).mean(dim=1)
        # Lag l turns subcarrier k by exp(-2j pi k (l + first lag) / F), k from -(F // 2).
        k = torch.arange(self.subcarriers, device=taps.device) - self.subcarriers // 2
        turns = -2 * torch.pi / self.subcarriers * ((lag + self.lags[0])[:, None] * k).float()
        return mean @ torch.polar(torch.ones_like(turns), turns)

    def send(self, grid: Tensor, taps: Tensor) -> Tensor:
        """What is received of grids, complex64 [B, S, F], over taps [B, samples, taps], noiseless.

        Image by image, since an FFT's last bit depends on how many are computed at once.
        """
        symbols = grid.shape[1]
        modulate, demodulate = self._modulator, self._demodulator
        channel = _apply_channel(symbols * self.samples_per_symbol, self.taps, self.device)
        received = []
        for image, h in zip(grid, taps[:, : self.samples(symbols)], strict=True):
            y = channel(modulate(image)[None, None, None], h[None, None, None, None, None])
            received.append(demodulate(y)[0, 0, 0, :symbols])
        return torch.stack(received)

    @cached_property
    def _modulator(self) -> Any:
        from sionna.phy.ofdm import OFDMModulator

        return OFDMModulator(self.prefix, precision="single", device=self.device)

    @cached_property
    def _demodulator(self) -> Any:
        from sionna.phy.ofdm import OFDMDemodulator

        return OFDMDemodulator(
            self.subcarriers, self.lags[0], self.prefix, precision="single", device=self.device
        )


@lru_cache(maxsize=8)
def _apply_channel(samples: int, taps: int, device: str) -> Any:
    from sionna.phy.channel import ApplyTimeChannel

    return ApplyTimeChannel(samples, taps, precision="single", device=device)
