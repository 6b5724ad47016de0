"""Rows to a summary: means over images with intervals that respect what is independent."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from linksim.metrics.table import Column, all_columns, find_metric
from linksim.results.cells import Cells, point_columns
from linksim.results.intervals import Array, means, rates
from linksim.results.outage import outage_columns
from linksim.sweep.stopping import Until, trial_means

_MEANS = ("cbr_realised", "ebno_db", "side_info_bits", "papr_db", "tx_snr_db", "rx_snr_db")


def summarise(
    rows: pd.DataFrame,
    *,
    until: Until | None = None,
    outage: Mapping[str, float] | None = None,
    own: Sequence[Column] = (),
) -> pd.DataFrame:
    """One line per (label, channel, snr_knowledge, snr_db, cbr), names in the rows' order.

    Columns: label, codec, is_bound, channel, snr_db, cbr, snr_knowledge; ``images`` and ``count``
    (images times trials and trainings); ``trainings``, where rows have seeds; ``failure_rate`` with
    its interval; ``not_finite``, how many transmissions have a metric that is no finite number; the
    means of cbr_realised, ebno_db, side_info_bits, papr_db and of the SNRs believed in;
    pilot_share, of the channel uses, of OFDM channels; with hybrid ARQ the mean of transmissions
    and, as ``transmissions_2``, the share of images that took so many; then for every metric its
    mean and the bounds of a 95 % interval, as ``psnr``, ``psnr_lo``, ``psnr_hi``; ms_ssim_variant.
    Columns that the rows lack are left out.

    A failed image counts with the quality of the picture that was shown for it. One whose picture
    or metric is no finite number has failed too, and then there is no mean: it is NaN.

    until: adds ``psnr_halfwidth`` (for its metric): of the 95 % interval of the mean over the
    channel, these images given. outage: adds the columns of :mod:`linksim.results.outage`. own:
    columns of a user's own metrics. Intervals are over images, each with all its trials, and over
    trainings, where there are several (:mod:`linksim.results.intervals`); of one training they hold
    what images and fades contribute, and nothing of what another training would bring. One image
    gives none (NaN). Raises InputError where a column is missing.
    """
    cells = Cells.of(rows)
    columns = {name: column for name, column in all_columns(own).items() if name in rows}
    parts = [_identity(rows, cells), _failures(rows, cells, columns), _plain_means(rows, cells)]
    parts += [_quality(rows[name], column, cells) for name, column in columns.items()]
    parts.append(_by_point(rows, cells, until, outage or {}, all_columns(own)))
    if "ms_ssim_variant" in rows:
        variants = rows["ms_ssim_variant"].fillna("").groupby(cells.point).unique()
        parts.append(pd.DataFrame({"ms_ssim_variant": ["+".join(sorted(v)) for v in variants]}))
    return _ordered(pd.concat(parts, axis=1), rows)


def not_finite(rows: pd.DataFrame, columns: Mapping[str, Column]) -> Array:
    """Whether each row has a measured quality that is no finite number, as 0 and 1; [rows]."""
    measured = [name for name, column in columns.items() if not column.reported and name in rows]
    finite = np.isfinite(rows[measured].to_numpy(np.float64)).all(axis=1)
    lost: Array = (~finite).astype(np.float64)
    return lost


def _identity(rows: pd.DataFrame, cells: Cells) -> pd.DataFrame:
    names = ("label", "codec", "is_bound", "channel", "snr_db", "cbr", "snr_knowledge")
    first = rows.iloc[cells.first].reset_index(drop=True)
    counts = cells.counts()
    table = first[[name for name in names if name in rows]].assign(
        images=(counts > 0).sum(axis=0), count=counts.sum(axis=0).astype(np.int64)
    )
    if "seed" in rows:
        table["trainings"] = rows["seed"].groupby(cells.point).nunique().to_numpy()
    return table


def _failures(rows: pd.DataFrame, cells: Cells, columns: Mapping[str, Column]) -> pd.DataFrame:
    lost = not_finite(rows, columns)
    said = rows["failed"].to_numpy(np.float64) if "failed" in rows else np.zeros(len(rows))
    failed, counts = cells.sums(np.maximum(said, lost)), cells.counts()
    low, high = rates(failed, counts, cells.over_trainings(np.maximum(said, lost)))
    table = {
        "failure_rate": failed.sum(axis=0) / counts.sum(axis=0),
        "failure_rate_lo": low,
        "failure_rate_hi": high,
        "not_finite": cells.sums(lost).sum(axis=0).astype(np.int64),
    }
    kept = slice(None) if "failed" in rows else slice(3, None)
    return pd.DataFrame(dict(list(table.items())[kept]))


def _plain_means(rows: pd.DataFrame, cells: Cells) -> pd.DataFrame:
    """Means of what is there; nothing (NaN) where a point has none."""
    names = [name for name in _MEANS if name in rows]
    table = rows[names].groupby(cells.point).mean()
    if "papr_db" in rows and "pilot_symbols" in rows:  # OFDM
        sums = rows[["pilot_symbols", "symbols"]].groupby(cells.point).sum()
        share = sums["pilot_symbols"] / sums["symbols"]
        table["pilot_share"] = share.where(table["papr_db"].notna())
    if "transmissions" in rows:  # hybrid ARQ
        counts = rows["transmissions"]
        table["transmissions"] = counts.groupby(cells.point).mean()
        for count in sorted(counts.dropna().astype(int).unique()):
            share = (counts == count).groupby(cells.point).mean()
            table[f"transmissions_{count}"] = share.where(table["transmissions"].notna())
    return table


def _quality(values: "pd.Series[float]", column: Column, cells: Cells) -> pd.DataFrame:
    """Mean and interval of a column of every point, within what it can be."""
    sums, counts = cells.sums(values), cells.counts()
    others = cells.over_trainings(values)
    found = means(sums, counts, others).within(column.least, column.most)
    low, high = rates(sums, counts, others) if column.is_rate else (found.low, found.high)
    low, high = (np.where(np.isnan(found.value), np.nan, end) for end in (low, high))
    name = column.name
    return pd.DataFrame({name: found.value, f"{name}_lo": low, f"{name}_hi": high})


def _by_point(
    rows: pd.DataFrame,
    cells: Cells,
    until: Until | None,
    outage: Mapping[str, float],
    columns: Mapping[str, Column],
) -> pd.DataFrame:
    """What is worked out point by point, where the scenario asks for it."""
    if until is None and not outage:
        return pd.DataFrame(index=range(len(cells.first)))
    lines = []
    for _, group in rows.groupby(cells.point):
        line: dict[str, float] = {}
        if until is not None:
            reached = until.reached(trial_means(group, until.column))
            line[f"{until.column}_halfwidth"] = reached
        for metric, target in outage.items():
            line |= outage_columns(group, columns[find_metric(metric).name], target)
        lines.append(line)
    return pd.DataFrame(lines)


def _ordered(lines: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Labels, channels and knowledge as they first appear in the rows; CBRs and SNRs rising."""
    by = ["label", "channel", "cbr", "snr_db", *point_columns(rows)[4:]]
    keys = {
        name: pd.factorize(rows[name])[1].get_indexer(pd.Index(lines[name]))
        if name in ("label", "channel", "snr_knowledge")
        else lines[name].to_numpy()
        for name in by
    }
    order = np.lexsort([keys[name] for name in reversed(by)])
    return lines.iloc[order].reset_index(drop=True)
