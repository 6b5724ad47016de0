"""What users of a fading channel meet in the bad moments: quantiles and outage probability.

The distribution is over images and fades together: one row is one user's image in one fade.
"""

import numpy as np
import pandas as pd

from linksim.metrics.table import Column
from linksim.results.intervals import Array, draws, interval, interval_of_means

_WORST = 0.05


def outage_columns(rows: pd.DataFrame, column: Column, target: float) -> dict[str, float]:
    """Columns of the summary for the rows of one point.

    ``psnr_target``: the target. ``psnr_outage``: how often PSNR is below it. ``psnr_q05``: the 5 %
    quantile (of a metric of which less is better, above it and the 95 % quantile, ``lpips_q95``).
    The latter two with 95 % intervals as means have them, ``_lo`` and ``_hi``.
    """
    metric, sign = column.name, column.sign
    values = sign * rows[metric].to_numpy(np.float64)
    image = pd.factorize(rows["image"], sort=True)[0]
    quantile = f"{metric}_{'q95' if sign < 0 else 'q05'}"
    lost = (values < sign * target).astype(np.float64)
    outage_lo, outage_hi = interval_of_means(pd.DataFrame(lost), image)[:, 0]
    low, high = np.sort(sign * _quantile_interval(values, image))
    return {
        f"{metric}_target": target,
        f"{metric}_outage": lost.mean(),
        f"{metric}_outage_lo": outage_lo,
        f"{metric}_outage_hi": outage_hi,
        quantile: sign * _quantiles(values, np.ones((1, len(values))))[0],
        f"{quantile}_lo": low,
        f"{quantile}_hi": high,
    }


def _quantile_interval(values: Array, image: np.ndarray) -> Array:
    """Bounds [2] of the quantile of values [rows], resampling the images [rows] they belong to."""
    images = int(image.max()) + 1
    if images < 2:
        return np.full(2, np.nan)
    steps = draws(images, values=len(values) // images)
    return interval(np.concatenate([_quantiles(values, drawn[:, image]) for drawn in steps]))


def _quantiles(values: Array, weights: np.ndarray) -> Array:
    """The smallest value that at least 5 % of the weight does not pass, for each of [B, rows]."""
    order = np.argsort(values)
    below = np.cumsum(weights[:, order], axis=1)
    place = (below >= _WORST * below[:, -1:] - 1e-9).argmax(axis=1)
    quantiles: Array = values[order][place]
    return quantiles
