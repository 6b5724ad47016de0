"""What users of a fading channel meet in the bad moments: quantiles and outage probability.

The distribution is over images and fades together: one row is one user's image in one fade. A
transmission without a finite value is worse than any with one.
"""

import numpy as np
import pandas as pd

from linksim.metrics.table import Column
from linksim.results.intervals import Array, effective_size, quantile_interval, rates

_WORST = 0.05


def outage_columns(rows: pd.DataFrame, column: Column, target: float) -> dict[str, float]:
    """Columns of the summary for the rows of one point.

    ``psnr_target``: the target. ``psnr_outage``: how often PSNR is below it. ``psnr_q05``: the 5 %
    quantile (of a metric of which less is better, above it and the 95 % quantile, ``lpips_q95``).
    The latter two with 95 % intervals over images, ``_lo`` and ``_hi``
    (:mod:`linksim.results.intervals`); a limit that so few images do not tell is infinite.
    """
    name, sign = column.name, column.sign
    values = sign * rows[name].to_numpy(np.float64)
    values = np.where(np.isfinite(values), values, -np.inf)
    image, images = pd.factorize(rows["image"])
    lost = values < sign * target
    sums, counts = _by_image(lost, image, len(images))
    low, high = rates(sums, counts)
    quantile = f"{name}_{'q95' if sign < 0 else 'q05'}"
    ordered = np.sort(values)
    worst = float(ordered[int(np.ceil(_WORST * len(ordered) - 1e-9)) - 1])
    ends = [np.nan, np.nan]
    if len(images) > 1:
        size = effective_size(*_by_image(values <= worst, image, len(images)))[0]
        ends = sorted(sign * end for end in quantile_interval(ordered, _WORST, size))
    return {
        f"{name}_target": target,
        f"{name}_outage": lost.mean(),
        f"{name}_outage_lo": low[0],
        f"{name}_outage_hi": high[0],
        quantile: sign * worst,
        f"{quantile}_lo": ends[0],
        f"{quantile}_hi": ends[1],
    }


def _by_image(hits: np.ndarray, image: np.ndarray, images: int) -> tuple[Array, Array]:
    """Sums and counts [images, 1] of hits [rows]; image: each row's own."""
    sums, counts = np.bincount(image[hits], minlength=images), np.bincount(image, minlength=images)
    return sums.astype(np.float64)[:, None], counts.astype(np.float64)[:, None]
