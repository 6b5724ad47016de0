"""How often 95 % intervals hold the truth, on data whose truth is known."""

from collections.abc import Callable

import numpy as np
import pytest

from linksim.results.intervals import means, quantile_interval, rates

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]

REPEATED = 20_000
SIZES = [10, 24, 100]


def _gaussian(generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return generator.normal(size=shape)


def _lognormal(generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return np.exp(0.5 * generator.normal(size=shape))


def _heavy(generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Lognormal of sigma 1, of skewness 6."""
    return np.exp(generator.normal(size=shape))


@pytest.mark.slow
@pytest.mark.parametrize("images", SIZES)
@pytest.mark.parametrize(
    ("draw", "truth"), [(_gaussian, 0), (_lognormal, np.exp(0.125)), (_heavy, np.exp(0.5))]
)
def test_of_means(draw: Draw, truth: float, images: int) -> None:
    values = draw(np.random.default_rng(images), (images, REPEATED))
    found = means(values, np.ones_like(values))
    assert 0.93 <= ((found.low <= truth) & (truth <= found.high)).mean() <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("images", SIZES)
@pytest.mark.parametrize("rate", [0.02, 0.2])
def test_of_rates(rate: float, images: int) -> None:
    hits = np.random.default_rng(images).uniform(size=(images, REPEATED)) < rate
    low, high = rates(hits.astype(np.float64), np.ones(hits.shape))
    assert ((low <= rate) & (rate <= high)).mean() >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("images", SIZES)
@pytest.mark.parametrize("rate", [0.02, 0.2])
@pytest.mark.parametrize("correlation", [0.001, 0.3])
def test_of_rates_over_trials_of_an_image(rate: float, images: int, correlation: float) -> None:
    """Ten trials an image, from hardly correlated to strongly (beta-binomial)."""
    generator, more = np.random.default_rng(images), (1 - correlation) / correlation
    own = generator.beta(rate * more, (1 - rate) * more, size=(images, REPEATED))
    hits = generator.binomial(10, own).astype(np.float64)
    low, high = rates(hits, np.full(hits.shape, 10.0))
    assert ((low <= rate) & (rate <= high)).mean() >= 0.92


@pytest.mark.slow
@pytest.mark.parametrize("images", SIZES)
@pytest.mark.parametrize(
    ("draw", "truth"), [(_gaussian, -1.6448536), (_lognormal, np.exp(-0.5 * 1.6448536))]
)
def test_of_the_5_percent_quantile(draw: Draw, truth: float, images: int) -> None:
    """Of ten or 24 images there is no lower limit: the smallest one is too often above it."""
    values = np.sort(draw(np.random.default_rng(images), (5000, images)), axis=1)
    ends = np.array([quantile_interval(ordered, 0.05, images) for ordered in values])
    assert 0.93 <= ((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean() <= 0.97
    assert np.isinf(ends[:, 0]).all() == (images < 72)  # 0.95^72 is 2.5 %


def test_nothing_seen_is_not_nothing() -> None:
    """0 of 24: up to 14.2 %, as 1 - 0.025^(1/24); trials of an image count as one then."""
    for trials in (1, 10):
        low, high = rates(np.zeros((24, 1)), np.full((24, 1), float(trials)))
        assert (low[0], high[0]) == pytest.approx((0, 1 - 0.025 ** (1 / 24)))
