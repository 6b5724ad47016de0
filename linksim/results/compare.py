"""Codecs against each other, paired: every codec meets the same images, fades and noise.

What an image or a fade does to both cancels in the difference, so its interval is narrower than
those of the two means suggest.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from linksim.metrics.table import Column, all_columns
from linksim.results.bjontegaard import FEWEST_POINTS, bd_cbr, bd_quality, mean_gap
from linksim.results.intervals import Array, interval, interval_of_means, resampled_means
from linksim.results.stats import point_columns

_COLUMNS = (
    *("label", "reference", "channel", "snr_knowledge", "cbr", "snr_db", "quantity", "unit"),
    *("difference", "difference_lo", "difference_hi", "images", "pairs"),
)


def compare(rows: pd.DataFrame, own: Sequence[Column] = ()) -> pd.DataFrame:
    """Differences ``codec`` - ``reference``, each codec against each one that stands before it.

    quantity: a metric, at each point; and over each curve of four points or more, for PSNR and
    likewise for MS-SSIM and LPIPS in dB (:mod:`linksim.results.bjontegaard`):

    - ``bd_psnr_over_cbr`` (dB) and ``bd_cbr_at_psnr`` (%), the mean gap between curves over CBR;
    - ``bd_psnr_over_snr`` (dB) and ``bd_snr_at_psnr`` (dB), the same over the SNR.

    What a curve runs over is left empty, and so is a gap between curves that share no range or do
    not rise. difference_lo, difference_hi: 95 % percentile bootstrap over images, each drawn with
    all that belongs to it. pairs: images times the trials that both codecs have. own: columns of a
    user's own metrics.
    """
    at = [name for name in point_columns(rows) if name != "label"]
    metrics = {name: column for name, column in all_columns(own).items() if name in rows}
    lines: list[dict[str, object]] = []
    for reference, codec in combinations(rows["label"].unique(), 2):
        one, other = (rows[rows["label"] == name] for name in (codec, reference))
        columns = [*at, "image", "trial"]
        values = [*metrics, "cbr_realised"]
        pairs = one[columns + values].merge(
            other[columns + values], on=columns, suffixes=("", "_ref")
        )
        names = {"label": codec, "reference": reference}
        for where, group in _groups(pairs, at):
            lines += [names | where | line for line in _differences(group, metrics)]
        for axis in ("cbr", "snr_db"):
            for where, group in _groups(pairs, [name for name in at if name != axis]):
                if group[axis].nunique() >= FEWEST_POINTS:
                    lines += [names | where | line for line in _bd(group, axis, metrics)]
    return pd.DataFrame(lines).reindex(
        columns=[c for c in _COLUMNS if c != "snr_knowledge" or c in at]
    )


def _groups(table: pd.DataFrame, by: list[str]) -> Iterator[tuple[dict[str, object], pd.DataFrame]]:
    for _, group in table.groupby(by, sort=False):
        yield {name: group[name].iloc[0] for name in by}, group


def _differences(group: pd.DataFrame, metrics: Mapping[str, Column]) -> Iterator[dict[str, object]]:
    """The metrics of one point."""
    gaps = pd.DataFrame({name: group[name] - group[f"{name}_ref"] for name in metrics})
    gaps = gaps.dropna(axis="columns", how="all")  # what one of them does not report
    low, high = interval_of_means(gaps, group["image"])
    for i, name in enumerate(map(str, gaps)):
        yield _line(name, metrics[name].unit, gaps[name].mean(), (low[i], high[i]), group)


def _bd(
    group: pd.DataFrame, axis: str, metrics: Mapping[str, Column]
) -> Iterator[dict[str, object]]:
    """The gaps between two curves over an axis."""
    columns = ["cbr_realised", "cbr_realised_ref"] if axis == "cbr" else [axis, axis]
    x, x_ref = (group.groupby(axis)[column].mean().to_numpy(np.float64)[None] for column in columns)
    gaps: dict[tuple[str, str], Callable[..., Array]] = (
        {("bd_{}_over_cbr", "dB"): bd_quality, ("bd_cbr_at_{}", "%"): bd_cbr}
        if axis == "cbr"
        else {("bd_{}_over_snr", "dB"): mean_gap, ("bd_snr_at_{}", "dB"): _gap_along}
    )
    for metric in (m.name for m in metrics.values() if m.unit == "dB" and m.better == "higher"):
        columns = [metric, f"{metric}_ref"]
        if metric not in group or not np.isfinite(group[columns]).all(axis=None):
            continue
        curves = [_curve(group, axis, column) for column in columns]
        for (name, unit), gap in gaps.items():
            (value,), resampled = (
                gap(_like(x, y), y, _like(x_ref, y_ref), y_ref)
                for y, y_ref in zip(*curves, strict=True)
            )
            bounds = (np.nan, np.nan) if np.isnan(resampled).any() else interval(resampled)
            yield _line(name.format(metric), unit, value, bounds, group)


def _gap_along(x: Array, y: Array, x_ref: Array, y_ref: Array) -> Array:
    return mean_gap(y, x, y_ref, x_ref)


def _like(x: Array, y: Array) -> Array:
    return np.broadcast_to(x, y.shape)


def _curve(group: pd.DataFrame, axis: str, column: str) -> tuple[Array, Array]:
    """Means along an axis: [1, points], and as many [resamples, points]; none of one image."""
    by_image = group.groupby(["image", axis])[column]
    sums, counts = (
        table.unstack(axis, fill_value=0).to_numpy(np.float64)
        for table in (by_image.sum(), by_image.count())
    )
    mean = (sums.sum(axis=0) / counts.sum(axis=0))[None]
    return mean, resampled_means(sums, counts) if len(sums) > 1 else np.full_like(mean, np.nan)


def _line(
    quantity: str,
    unit: str,
    value: float,
    bounds: "tuple[float, float] | Array",
    group: pd.DataFrame,
) -> dict[str, object]:
    return {
        "quantity": quantity,
        "unit": unit,
        "difference": value,
        "difference_lo": bounds[0],
        "difference_hi": bounds[1],
        "images": group["image"].nunique(),
        "pairs": len(group[["image", "trial"]].drop_duplicates()),
    }
