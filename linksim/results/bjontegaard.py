"""Bjøntegaard's mean gap between two quality curves, by piecewise cubic interpolation.

G. Bjøntegaard, Calculation of average PSNR differences between RD-curves, VCEG-M33, 2001, with the
curve through the points that the common test conditions took since JCTVC-L1100: the monotone
piecewise cubic of F. N. Fritsch and R. E. Carlson (SIAM J. Numer. Anal. 17, 1980) with the slopes
of F. N. Fritsch and J. Butland (SIAM J. Sci. Stat. Comput. 5, 1984), which never overshoots.
It is written for many curves at once, as a jackknife has them.
"""

import numpy as np

from linksim.results.intervals import Array

FEWEST_POINTS = 4


def mean_gap(x: Array, y: Array, x_ref: Array, y_ref: Array) -> Array:
    """Mean of y(x) - y_ref(x) over the range of x that both curves share.

    All arrays [B, points], the mean [B]. NaN where x or x_ref does not rise from point to point, or
    where they share no range.
    """
    low = np.maximum(x[:, 0], x_ref[:, 0])
    high = np.minimum(x[:, -1], x_ref[:, -1])
    rising = (np.diff(x) > 0).all(axis=1) & (np.diff(x_ref) > 0).all(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = (_area(x, y, low, high) - _area(x_ref, y_ref, low, high)) / (high - low)
    return np.where(rising & (high > low), gap, np.nan)


def bd_quality(cbr: Array, quality: Array, cbr_ref: Array, quality_ref: Array) -> Array:
    """Mean gain in quality at equal CBR, over log CBR: BD-PSNR for PSNR; [B]."""
    return mean_gap(np.log10(cbr), quality, np.log10(cbr_ref), quality_ref)


def bd_cbr(cbr: Array, quality: Array, cbr_ref: Array, quality_ref: Array) -> Array:
    """Mean change of the CBR at equal quality in per cent, negative for a saving; [B].

    >>> cbr, psnr = np.array([[1, 2, 4, 8]]) / 96, np.array([[20.0, 23.0, 26.0, 29.0]])
    >>> bd_cbr(cbr / 2, psnr, cbr, psnr).round(6)
    array([-50.])
    """
    return per_cent(bd_log_cbr(cbr, quality, cbr_ref, quality_ref))


def bd_log_cbr(cbr: Array, quality: Array, cbr_ref: Array, quality_ref: Array) -> Array:
    """The same as a difference of log10 of the CBR, in which intervals are taken; [B]."""
    return mean_gap(quality, np.log10(cbr), quality_ref, np.log10(cbr_ref))


def per_cent(log_ratio: Array) -> Array:
    """A log10 of a ratio as the ratio's distance from one, in per cent."""
    return 100 * (10**log_ratio - 1)


def _slopes(x: Array, y: Array) -> Array:
    """dy/dx at the points, [B, points]: harmonic means of the neighbours, zero at extrema."""
    h, d = np.diff(x), np.diff(y) / np.diff(x)
    w1, w2 = 2 * h[:, 1:] + h[:, :-1], h[:, 1:] + 2 * h[:, :-1]
    inner = (w1 + w2) / (w1 / d[:, :-1] + w2 / d[:, 1:])
    inner = np.where(d[:, :-1] * d[:, 1:] > 0, inner, 0)
    first = _end_slope(h[:, 0], h[:, 1], d[:, 0], d[:, 1])
    last = _end_slope(h[:, -1], h[:, -2], d[:, -1], d[:, -2])
    return np.column_stack([first, inner, last])


def _end_slope(h: Array, h_next: Array, d: Array, d_next: Array) -> Array:
    """Slope [B] at an end by three points, held to the shape of the curve."""
    slope = ((2 * h + h_next) * d - h * d_next) / (h + h_next)
    slope = np.where(np.sign(slope) == np.sign(d), slope, 0)
    too_steep = (np.sign(d) != np.sign(d_next)) & (np.abs(slope) > 3 * np.abs(d))
    return np.where(too_steep, 3 * d, slope)


def _area(x: Array, y: Array, low: Array, high: Array) -> Array:
    """Integral [B] of the curve through the points [B, points] from low to high [B]."""
    h, m = np.diff(x), _slopes(x, y)

    def up_to(end: Array) -> Array:
        t = np.clip((end[:, None] - x[:, :-1]) / h, 0, 1)
        t2 = t * t
        t3, t4 = t2 * t, t2 * t2
        # integrals from 0 to t of the four Hermite polynomials
        value = y[:, :-1] * (t4 / 2 - t3 + t) + y[:, 1:] * (t3 - t4 / 2)
        slope = m[:, :-1] * (t4 / 4 - t3 * (2 / 3) + t2 / 2) + m[:, 1:] * (t4 / 4 - t3 / 3)
        area: Array = (h * (value + h * slope)).sum(axis=1)
        return area

    return up_to(high) - up_to(low)
