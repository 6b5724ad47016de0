"""The time signal of OFDM symbols: its peak-to-average power ratio, and clipping.

Peaks lie between the samples of the critical rate, so the signal is looked at four times as densely
(J. Tellado, Multicarrier Modulation with Low PAR, section 2.3). The cyclic prefix repeats a part of
the signal and has no peak of its own.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from linksim.runtime.seeding import derive_seed
from linksim.units import db_to_linear, linear_to_db

OVERSAMPLING = 4

_SYMBOLS_MEASURED = 1024


@dataclass(frozen=True, kw_only=True)
class Distortion:
    """What an amplifier makes of a subcarrier: gain * x + noise of variance ``variance``."""

    gain: float
    variance: float


def time_signal(grid: Tensor) -> Tensor:
    """Time signal complex64 [S, OVERSAMPLING*F] of OFDM symbols [S, F], of the same mean power.

    Subcarriers stand in the order of their frequencies, the middle one (F // 2) at zero.
    """
    subcarriers = grid.shape[-1]
    padded = F.pad(grid, (0, (OVERSAMPLING - 1) * subcarriers))
    spectrum: Tensor = padded.roll(-(subcarriers // 2), dims=-1)
    signal: Tensor = torch.fft.ifft(spectrum, norm="forward") / subcarriers**0.5
    return signal


def subcarriers_of(signal: Tensor) -> Tensor:
    """OFDM symbols [S, F] of a time signal: the inverse of :func:`time_signal`. What lies outside
    the band is left to others' receivers."""
    subcarriers = signal.shape[-1] // OVERSAMPLING
    spectrum = torch.fft.fft(signal, norm="forward").roll(subcarriers // 2, dims=-1)
    grid: Tensor = spectrum[..., :subcarriers] * subcarriers**0.5
    return grid


def papr_of_symbols(signal: Tensor) -> Tensor:
    """Peak over mean power of each OFDM symbol of a time signal [S, n], float32 [S']; the mean is
    that of all symbols. Silent symbols, which are those not sent, do not count."""
    power = signal.real.square() + signal.imag.square()
    by_symbol = power.mean(dim=-1)
    sent = by_symbol > 0
    return power[sent].amax(dim=-1) / by_symbol[sent].mean()


def papr_max_db(signal: Tensor) -> Tensor:
    """Highest over mean power in dB, a scalar, of a time signal [S, n]."""
    return linear_to_db(papr_of_symbols(signal).max())


def soft_clip(signal: Tensor, backoff_db: float) -> Tensor:
    """The signal with its magnitude limited to ``backoff_db`` above unit mean power; phases stay.

    That is the soft limiter of the literature, an ideally predistorted amplifier (H. Ochiai and
    H. Imai, Performance Analysis of Deliberately Clipped OFDM Signals, IEEE Trans. Commun., 2002).
    """
    limit = math.sqrt(db_to_linear(backoff_db))
    return signal * (limit / signal.abs().clamp(min=limit))


@lru_cache
def clipping_distortion(subcarriers: int, backoff_db: float) -> Distortion:
    """What clipping does to a subcarrier, measured once with random QPSK.

    By Bussgang's theorem the clipped signal is a scaled copy and uncorrelated distortion (Ochiai
    and Imai, section II), of which a part falls outside the band.
    """
    generator = torch.Generator().manual_seed(derive_seed("clipping"))
    shape = (_SYMBOLS_MEASURED, subcarriers, 2)
    signs = torch.randint(2, shape, generator=generator) * 2 - 1
    sent = torch.view_as_complex(signs * 0.5**0.5)
    clipped = subcarriers_of(soft_clip(time_signal(sent), backoff_db))
    gain = float((clipped * sent.conj()).real.double().mean())
    variance = float((clipped - gain * sent).abs().double().square().mean())
    return Distortion(gain=gain, variance=variance)
