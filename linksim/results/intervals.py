"""Percentile bootstrap over clusters, the same draws for everything that is compared."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_CONFIDENCE = 0.95
_RESAMPLES = 2000
_VALUES_AT_ONCE = 4_000_000

Array = NDArray[np.float64]


def draws(clusters: int, values: int = 1) -> Iterator[NDArray[np.int64]]:
    """How often each cluster is drawn in each of 2000 resamples: [some of them, clusters] a step.

    They depend on the number of clusters alone. values: how many an entry will be multiplied into;
    more of them make smaller steps.
    """
    generator = np.random.default_rng(seed=0)
    at_once = max(1, _VALUES_AT_ONCE // (clusters * values))
    for start in range(0, _RESAMPLES, at_once):
        size = min(at_once, _RESAMPLES - start)
        drawn = generator.integers(clusters, size=(size, clusters))
        places = drawn + clusters * np.arange(size)[:, None]  # resamples one after the other
        counts = np.bincount(places.ravel(), minlength=size * clusters)
        yield counts.reshape(size, clusters)


def resampled_means(sums: Array, counts: Array) -> Array:
    """sum/count in each resample: [resamples, columns] of sums and counts [clusters, columns]."""
    with np.errstate(invalid="ignore"):
        return np.concatenate([(n @ sums) / (n @ counts) for n in draws(len(sums))])


def interval(resampled: Array) -> Array:
    """Bounds [2, columns] of the central 95 % of values [resamples, columns]."""
    tail = (1 - _CONFIDENCE) / 2
    return np.nanquantile(resampled, [tail, 1 - tail], axis=0)


def cluster_interval(sums: Array, counts: Array) -> Array:
    """95 % percentile bootstrap interval of sum/count, resampling clusters.

    sums, counts: [clusters, columns], each cluster's sum of values and number of values. Gives
    [2, columns], lower and upper; NaN for fewer than two clusters.
    """
    if len(sums) < 2:
        return np.full((2, sums.shape[1]), np.nan)
    return interval(resampled_means(sums, counts))


def interval_of_means(values: pd.DataFrame, clusters: "pd.Series | NDArray[np.int64]") -> Array:
    """:func:`cluster_interval` [2, columns] of values [rows, columns]; clusters: each row's own."""
    grouped = values.groupby(clusters, sort=True)
    sums, counts = (table.to_numpy(np.float64) for table in (grouped.sum(), grouped.count()))
    return cluster_interval(sums, counts)
