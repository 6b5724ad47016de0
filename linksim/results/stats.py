"""Rows to a summary: means over images with intervals that respect what is independent."""

from collections.abc import Mapping, Sequence

import pandas as pd

from linksim.errors import InputError
from linksim.metrics.table import Column, all_columns, find_metric
from linksim.results.intervals import interval_of_means
from linksim.results.outage import outage_columns
from linksim.sweep.stopping import Until, trial_means

POINT_COLUMNS = ("label", "channel", "snr_db", "cbr")

_MEANS = {"failed": "failure_rate", "cbr_realised": "cbr_realised"}
_MEANS |= {"ebno_db": "ebno_db", "side_info_bits": "side_info_bits", "papr_db": "papr_db"}
_MEANS |= {"tx_snr_db": "tx_snr_db", "rx_snr_db": "rx_snr_db"}


def point_columns(rows: pd.DataFrame) -> list[str]:
    """The columns that tell points apart: label, channel, snr_db, cbr and, if set, snr_knowledge.

    Raises InputError where a needed column is missing.
    """
    missing = [name for name in (*POINT_COLUMNS, "image") if name not in rows]
    if missing:
        raise InputError(f"rows: no column {', '.join(missing)}; found {', '.join(rows.columns)}")
    return [*POINT_COLUMNS, *(["snr_knowledge"] if "snr_knowledge" in rows else [])]


def summarise(
    rows: pd.DataFrame,
    *,
    until: Until | None = None,
    outage: Mapping[str, float] | None = None,
    own: Sequence[Column] = (),
) -> pd.DataFrame:
    """One line per (label, channel, snr_knowledge, snr_db, cbr), names in the rows' order.

    Columns: label, codec, is_bound, channel, snr_db, cbr, snr_knowledge; ``images`` and ``count``
    (images times trials); failure_rate and the means of cbr_realised, ebno_db, side_info_bits,
    papr_db and of the SNRs believed in; pilot_share, of the channel uses, of OFDM channels; with
    hybrid ARQ the mean of transmissions and, as ``transmissions_2``, the share of images that took
    so many; then for every metric its mean and the bounds of a 95 % interval, as ``psnr``,
    ``psnr_lo``, ``psnr_hi``; ms_ssim_variant. Columns that the rows lack are left out. A failed
    image counts with the quality of the picture that was shown for it.

    until: adds ``psnr_halfwidth`` (for its metric): of the 95 % interval of the mean over the
    channel, these images given. outage: adds the columns of :mod:`linksim.results.outage`.

    Interval: percentile bootstrap over images, each drawn with all its trials, since trials of one
    image are not independent of each other; it holds what images and fades contribute. All codecs
    meet the same draws. One image gives none (NaN). own: columns of a user's own metrics. Raises
    InputError where a column is missing.
    """
    columns = point_columns(rows)
    groups = rows.groupby(columns, sort=False)
    lines = pd.DataFrame(
        [_line(group, until, outage or {}, all_columns(own)) for _, group in groups]
    )
    order = {
        name: list(rows[name].unique())
        for name in ("label", "channel", "snr_knowledge")
        if name in rows
    }
    return lines.sort_values(
        ["label", "channel", "cbr", "snr_db", *columns[4:]],
        key=lambda column: column.map(order[column.name].index) if column.name in order else column,
        ignore_index=True,
    )


def _line(
    group: pd.DataFrame,
    until: Until | None,
    outage: Mapping[str, float],
    columns: Mapping[str, Column],
) -> dict[str, object]:
    """One line of the summary from the rows of one point."""
    first = group.iloc[0]
    names = ("label", "codec", "is_bound", "channel", "snr_db", "cbr", "snr_knowledge")
    line: dict[str, object] = {name: first[name] for name in names if name in group}
    line |= {"images": group["image"].nunique(), "count": len(group)}
    line |= {new: group[old].mean() for old, new in _MEANS.items() if old in group}
    if "papr_db" in group and group["papr_db"].notna().any():  # OFDM
        line["pilot_share"] = group["pilot_symbols"].sum() / group["symbols"].sum()
    if "transmissions" in group and group["transmissions"].notna().any():  # hybrid ARQ
        line |= _transmissions(group["transmissions"])
    metrics = [name for name in columns if name in group]
    if metrics:
        line |= _means_with_intervals(group, metrics)
    if until is not None:
        values = trial_means(group, until.column)
        line[f"{until.column}_halfwidth"] = until.reached(values)
    for metric, target in outage.items():
        line |= outage_columns(group, columns[find_metric(metric).name], target)
    if "ms_ssim_variant" in group:
        line["ms_ssim_variant"] = "+".join(sorted(group["ms_ssim_variant"].dropna().unique()))
    return line


def _transmissions(counts: "pd.Series[float]") -> dict[str, object]:
    """Mean number of transmissions, and the share of each number."""
    of_each = {
        f"transmissions_{count}": (counts == count).mean()
        for count in sorted(counts.dropna().astype(int).unique())
    }
    return {"transmissions": counts.mean(), **of_each}


def _means_with_intervals(group: pd.DataFrame, metrics: Sequence[str]) -> dict[str, float]:
    low, high = interval_of_means(group[list(metrics)], group["image"])
    values: dict[str, float] = {}
    for i, name in enumerate(metrics):
        mean = group[name].mean()
        values |= {name: mean, f"{name}_lo": low[i], f"{name}_hi": high[i]}
    return values
