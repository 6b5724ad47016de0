"""Rows to a summary: means over images with intervals that respect what is independent."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linksim.errors import InputError

METRIC_COLUMNS = (
    *("psnr", "ssim", "ms_ssim", "ms_ssim_db", "lpips", "lpips_db"),
    *("snr_error_db", "accuracy"),
)
POINT_COLUMNS = ("codec", "channel", "snr_db", "cbr")

_CONFIDENCE = 0.95
_RESAMPLES = 2000
_VALUES_AT_ONCE = 4_000_000
_MEANS = {"failed": "failure_rate", "cbr_realised": "cbr_realised"}
_MEANS |= {"ebno_db": "ebno_db", "side_info_bits": "side_info_bits", "papr_db": "papr_db"}


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per (codec, channel, snr_db, cbr), codecs and channels in the order of the rows.

    Columns: codec, codec_name, is_bound, channel, snr_db, cbr; ``images`` and ``count`` (images
    times trials); failure_rate and the means of cbr_realised, ebno_db, side_info_bits and papr_db;
    pilot_share, of the channel uses, of OFDM channels; then for every metric its mean and the
    bounds of a 95 % interval, as ``psnr``, ``psnr_lo``, ``psnr_hi``; ms_ssim_variant. Columns that
    the rows lack are left out. A failed image counts with the quality of the picture that was shown
    for it.

    Interval: percentile bootstrap over images, each drawn with all its trials, since trials of one
    image are not independent of each other. All codecs meet the same draws. One image gives none
    (NaN). Raises InputError where a needed column is missing.
    """
    missing = [name for name in (*POINT_COLUMNS, "image") if name not in rows]
    if missing:
        raise InputError(f"rows: no column {', '.join(missing)}; found {', '.join(rows.columns)}")
    groups = rows.groupby(list(POINT_COLUMNS), sort=False)
    lines = pd.DataFrame([_line(group) for _, group in groups])
    order = {name: list(rows[name].unique()) for name in ("codec", "channel")}
    return lines.sort_values(
        ["codec", "channel", "cbr", "snr_db"],
        key=lambda column: column.map(order[column.name].index) if column.name in order else column,
        ignore_index=True,
    )


def cluster_interval(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """95 % percentile bootstrap interval of sum/count, resampling clusters.

    sums, counts: [clusters, metrics], each cluster's sum of values and number of values. Gives
    [2, metrics], lower and upper; NaN for fewer than two clusters. The draws depend on the number
    of clusters alone.
    """
    clusters = len(sums)
    if clusters < 2:
        return np.full((2, sums.shape[1]), np.nan)
    generator = np.random.default_rng(seed=0)
    at_once = max(1, _VALUES_AT_ONCE // clusters)
    means = []
    for start in range(0, _RESAMPLES, at_once):
        size = min(at_once, _RESAMPLES - start)
        drawn = generator.integers(clusters, size=(size, clusters))
        places = drawn + clusters * np.arange(size)[:, None]  # resamples one after the other
        times_drawn = np.bincount(places.ravel(), minlength=size * clusters).reshape(size, clusters)
        with np.errstate(invalid="ignore"):
            means.append((times_drawn @ sums) / (times_drawn @ counts))
    tail = (1 - _CONFIDENCE) / 2
    return np.nanquantile(np.concatenate(means), [tail, 1 - tail], axis=0)


def _line(group: pd.DataFrame) -> dict[str, object]:
    """One line of the summary from the rows of one point."""
    first = group.iloc[0]
    names = ("codec", "codec_name", "is_bound", "channel", "snr_db", "cbr")
    line: dict[str, object] = {name: first[name] for name in names if name in group}
    line |= {"images": group["image"].nunique(), "count": len(group)}
    line |= {new: group[old].mean() for old, new in _MEANS.items() if old in group}
    if "papr_db" in group and group["papr_db"].notna().any():  # OFDM
        line["pilot_share"] = group["pilot_symbols"].sum() / group["symbols"].sum()
    metrics = [name for name in METRIC_COLUMNS if name in group]
    if metrics:
        line |= _means_with_intervals(group, metrics)
    if "ms_ssim_variant" in group:
        line["ms_ssim_variant"] = "+".join(sorted(group["ms_ssim_variant"].dropna().unique()))
    return line


def _means_with_intervals(group: pd.DataFrame, metrics: Sequence[str]) -> dict[str, float]:
    by_image = group.groupby("image", sort=True)[list(metrics)]
    sums = by_image.sum().to_numpy(np.float64)
    counts = by_image.count().to_numpy(np.float64)
    low, high = cluster_interval(sums, counts)
    values: dict[str, float] = {}
    for i, name in enumerate(metrics):
        mean = group[name].mean()
        values |= {name: mean, f"{name}_lo": low[i], f"{name}_hi": high[i]}
    return values
