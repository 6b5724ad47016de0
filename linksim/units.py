"""Decibels, noise variance and bandwidth: the definitions that every figure rests on.

SNR is Es/N0 per complex channel use with unit symbol power and E|h|^2 = 1, so ``no``, the variance
of the complex noise (half of it in each part), is 10^(-SNR/10). CBR is the channel bandwidth ratio:
complex channel uses over 3*H*W source values.
"""

from fractions import Fraction
from math import floor, log10
from typing import overload

from torch import Tensor

_EXACT_CBR_DENOMINATOR = 10**6


@overload
def db_to_linear(db: float) -> float: ...
@overload
def db_to_linear(db: Tensor) -> Tensor: ...
def db_to_linear(db: float | Tensor) -> float | Tensor:
    """Power ratio of a level in dB: 10^(dB/10).

    >>> db_to_linear(20.0)
    100.0
    """
    return 10.0 ** (db / 10.0)


@overload
def linear_to_db(ratio: float) -> float: ...
@overload
def linear_to_db(ratio: Tensor) -> Tensor: ...
def linear_to_db(ratio: float | Tensor) -> float | Tensor:
    """Level in dB of a power ratio: 10*log10(ratio).

    >>> linear_to_db(1000.0)
    30.0
    """
    return 10.0 * (ratio.log10() if isinstance(ratio, Tensor) else log10(ratio))


@overload
def snr_db_to_no(snr_db: float) -> float: ...
@overload
def snr_db_to_no(snr_db: Tensor) -> Tensor: ...
def snr_db_to_no(snr_db: float | Tensor) -> float | Tensor:
    """Complex noise variance ``no`` at unit symbol power: 10^(-SNR/10).

    >>> snr_db_to_no(10.0)
    0.1
    """
    return db_to_linear(-snr_db)


def esno_to_ebno_db(esno_db: float, info_bits_per_symbol: float) -> float:
    """Eb/N0 in dB from Es/N0 in dB, for a scheme of that many information bits a symbol.

    >>> round(esno_to_ebno_db(10.0, 2), 2)  # 16-QAM at rate 1/2
    6.99
    """
    return esno_db - linear_to_db(info_bits_per_symbol)


def channel_bandwidth_ratio(symbols: float, height: int, width: int) -> float:
    """CBR of an image of height x width sent with that many complex symbols.

    >>> channel_bandwidth_ratio(4096, 256, 256) == 1 / 48
    True
    """
    return symbols / (3 * height * width)


def symbol_budget(cbr: float | Fraction, height: int, width: int) -> int:
    """Largest number of complex symbols whose CBR does not pass ``cbr``.

    A float is read as the nearest fraction with a denominator up to 10^6, so that 1/48 means
    exactly 1/48.

    >>> symbol_budget(1 / 48, 256, 256)
    4096
    """
    exact = Fraction(cbr).limit_denominator(_EXACT_CBR_DENOMINATOR)
    return floor(exact * 3 * height * width)
