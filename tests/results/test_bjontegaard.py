"""Bjøntegaard's gaps: by hand, against SciPy's PCHIP and against the field's own implementation."""

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from linksim.results.bjontegaard import bd_cbr, bd_quality, mean_gap


def curve(*values: float) -> np.ndarray:
    return np.array([values], dtype=np.float64)


def test_by_hand() -> None:
    cbr = curve(0.01, 0.02, 0.04, 0.08)
    psnr = curve(22, 25, 28, 31)  # 3 dB a doubling
    assert bd_quality(cbr, psnr + 1.5, cbr, psnr) == pytest.approx([1.5])
    # 1.5 dB more at equal CBR is half a doubling less at equal quality: 2^(-1/2) - 1
    assert bd_cbr(cbr, psnr + 1.5, cbr, psnr) == pytest.approx([100 * (2**-0.5 - 1)])


def test_curves_of_different_slope_by_hand() -> None:
    # y = 20 + 2x on [0, 6] and 22 + x on [2, 8]: on the common [2, 6] the gap is x - 2, mean 2
    x, x_ref = curve(0, 1, 3, 6), curve(2, 3, 5, 8)
    assert mean_gap(x, 20 + 2 * x, x_ref, 22 + x_ref) == pytest.approx([2.0])
    # and over y, common range [24, 30]: (y - 20)/2 - (y - 22) = 12 - y/2, mean at 27: -1.5
    assert mean_gap(20 + 2 * x, x, 22 + x_ref, x_ref) == pytest.approx([-1.5])


def test_against_a_published_implementation() -> None:
    """The example of the package bjontegaard (FAU-LMS, PyPI 1.3.0), which agrees with the JVET
    sheet; the values are what its bd_rate and bd_psnr give with method="pchip"."""
    rate = curve(1358.24, 2486.44, 4593.60, 9487.76)
    psnr = curve(34.851, 36.845, 38.615, 40.037)
    rate_test = curve(1356.24, 2451.52, 4469.00, 9787.80)
    psnr_test = curve(34.987, 36.970, 38.651, 40.121)
    assert bd_cbr(rate_test, psnr_test, rate, psnr) == pytest.approx([-4.417485350589045])
    assert bd_quality(rate_test, psnr_test, rate, psnr) == pytest.approx([0.11969278542479489])


def test_against_scipy() -> None:
    generator = np.random.default_rng(0)
    x, x_ref = (np.cumsum(generator.uniform(0.2, 2, size=(50, 6)), axis=1) for _ in range(2))
    y, y_ref = (generator.normal(size=(50, 6)) for _ in range(2))  # extrema and steep ends too
    wanted = []
    for each in zip(x, y, x_ref, y_ref, strict=True):
        low, high = max(each[0][0], each[2][0]), min(each[0][-1], each[2][-1])
        areas = [PchipInterpolator(*each[i : i + 2]).integrate(low, high) for i in (0, 2)]
        wanted.append((areas[0] - areas[1]) / (high - low))
    assert mean_gap(x, y, x_ref, y_ref) == pytest.approx(np.array(wanted), rel=1e-9, abs=1e-12)


def test_no_gap_without_a_common_range_or_a_rising_curve() -> None:
    x, y = curve(1, 2, 3, 4), curve(20, 22, 21, 25)
    assert np.isnan(mean_gap(x, y, x + 3, y))
    assert np.isnan(mean_gap(y, x, x + 20, y))
