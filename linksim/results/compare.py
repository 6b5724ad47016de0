"""Codecs against each other, paired: every codec meets the same images, fades and noise.

What an image or a fade does to both cancels in the difference, so its interval is narrower than
those of the two means suggest. Everything is computed for all pairs or all points at once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linksim.metrics.table import Column, all_columns
from linksim.results.bjontegaard import FEWEST_POINTS, bd_log_cbr, bd_quality, mean_gap, per_cent
from linksim.results.cells import codes, point_columns, trainings
from linksim.results.intervals import (
    Array,
    Estimate,
    Spread,
    holm,
    jackknife,
    jackknife_spread,
    means,
)
from linksim.results.stats import not_finite

_COLUMNS = (
    *("label", "reference", "channel", "snr_knowledge", "cbr", "snr_db", "quantity", "unit"),
    *("difference", "difference_lo", "difference_hi", "p_value", "holm"),
    *("images", "pairs", "failed_pairs"),
)
_AT_ONCE = 4_000_000

_Pair = tuple[int, int]  # of codecs, by number: the reference and what is compared with it


def compare(
    rows: pd.DataFrame, own: Sequence[Column] = (), *, paired_seeds: bool = False
) -> pd.DataFrame:
    """Differences ``codec`` - ``reference``, each codec against each one that stands before it.

    quantity: a metric, at each point; and over each curve of four points or more, for PSNR and
    likewise for MS-SSIM and LPIPS in dB (:mod:`linksim.results.bjontegaard`):

    - ``bd_psnr_over_cbr`` (dB) and ``bd_cbr_at_psnr`` (%), the mean gap between curves over CBR;
    - ``bd_psnr_over_snr`` (dB) and ``bd_snr_at_psnr`` (dB), the same over the SNR.

    What a curve runs over is left empty, and so is a gap between curves that share no range or do
    not rise. difference_lo, difference_hi: 95 % over images, each with all that belongs to it, by
    Student's t of means and the jackknife of curves, and over trainings where a codec has several,
    whose mean is compared (:mod:`linksim.results.intervals`); p_value: of
    no difference; holm: whether it survives Holm's correction for all that the table tests. images,
    pairs: images, and images times the trials that both codecs have; failed_pairs: those of them
    where one of the two has no finite quality, in which case there is no difference (NaN). own:
    columns of a user's own metrics. paired_seeds: codecs that have several trainings each were
    trained alike in the order of their seeds, so that what a seed does to both cancels, too: their
    difference varies over pairs of trainings, not over the trainings of either.
    """
    columns = {name: column for name, column in all_columns(own).items() if name in rows}
    table = _Table.of(rows, columns, paired_seeds)
    pairs = list(combinations(range(len(table.labels)), 2))
    parts = [part for batch in _batches(table, pairs) for part in _points(table, batch)]
    parts += [_curves(table, axis, pairs) for axis in ("cbr", "snr_db")]
    lines = pd.concat([part for part in parts if not part.empty] or [pd.DataFrame()])
    if lines.empty:
        return pd.DataFrame(columns=table.shown)
    lines = lines.sort_values(["pair", "place"], kind="stable", ignore_index=True)
    lines["holm"] = holm(lines["p_value"].to_numpy(np.float64))
    return lines[table.shown]


@dataclass(frozen=True)
class _Table:
    """All rows, arranged by codec, place (what else tells points apart), image and trial.

    at: the places, one line each. values: of each column, NaN where no finite number or no row is;
    of several trainings the mean. without: the same without each of the trainings, of codecs that
    have several; paired_seeds: whether those of two codecs belong together. present: where rows
    are; lost: where one has no finite quality.
    """

    columns: Mapping[str, Column]
    labels: "pd.Index[str]"
    at: pd.DataFrame
    values: Mapping[str, Array]
    without: Mapping[int, Sequence[Mapping[str, Array]]]
    paired_seeds: bool
    present: NDArray[np.bool_]
    lost: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: pd.DataFrame, columns: Mapping[str, Column], paired_seeds: bool) -> "_Table":
        names = [name for name in point_columns(rows) if name != "label"]
        label, labels = pd.factorize(rows["label"])
        place, first = codes(rows, names)
        image, images = pd.factorize(rows["image"])
        trial, trials = pd.factorize(rows["trial"])
        shape = (len(labels), len(first), len(images), len(trials))
        cell = np.ravel_multi_index((label, place, image, trial), shape)
        training, every = trainings(rows), np.ones(len(rows), dtype=bool)

        def arranged(values: Array, kept: NDArray[np.bool_], shape: tuple[int, ...]) -> Array:
            """The mean over trainings of the rows that are kept."""
            size = int(np.prod(shape))
            finite = np.where(np.isfinite(values), values, np.nan)[kept]
            at = cell[kept] % size
            with np.errstate(all="ignore"):
                mean = np.bincount(at, finite, size) / np.bincount(at, minlength=size)
            return mean.reshape(shape)

        values = {name: rows[name].to_numpy(np.float64) for name in (*columns, "cbr_realised")}
        without = {
            int(codec): [
                {
                    name: arranged(value, (label == codec) & (training != one), shape[1:])
                    for name, value in values.items()
                }
                for one in range(int(training[label == codec].max()) + 1)
            ]
            for codec in np.unique(label[training > 0])
        }
        present = np.bincount(cell, minlength=int(np.prod(shape))) > 0
        return cls(
            columns=columns,
            labels=labels,
            at=rows.iloc[first][names].reset_index(drop=True),
            values={name: arranged(value, every, shape) for name, value in values.items()},
            without=without,
            paired_seeds=paired_seeds,
            present=present.reshape(shape),
            lost=np.nan_to_num(arranged(not_finite(rows, columns), every, shape)) > 0,
        )

    @property
    def shown(self) -> list[str]:
        """The columns of the comparison."""
        return [name for name in _COLUMNS if name != "snr_knowledge" or name in self.at]

    def reports(self, codec: int, name: str) -> NDArray[np.bool_]:
        """At which places a codec has such a column at all, [places]."""
        found = self.present[codec]
        if self.columns[name].reported:
            found = np.isfinite(self.values[name][codec])
        anywhere: NDArray[np.bool_] = found.any(axis=(1, 2))
        return anywhere

    def both(self, codec: int, reference: int) -> NDArray[np.bool_]:
        """What both sent, [places, images, trials]."""
        shared: NDArray[np.bool_] = self.present[codec] & self.present[reference]
        return shared

    def named(self, codec: int, reference: int) -> dict[str, Any]:
        """The pair: its place in the table, and what it is called."""
        pair = reference * len(self.labels) + codec
        return {"pair": pair, "label": self.labels[codec], "reference": self.labels[reference]}

    def counted(self, codec: int, reference: int) -> dict[str, Array]:
        """images, pairs and failed_pairs of each place."""
        both = self.both(codec, reference)
        lost = np.maximum(self.lost[codec], self.lost[reference]) * both
        return {
            "images": both.any(axis=2).sum(axis=1),
            "pairs": both.sum(axis=(1, 2)),
            "failed_pairs": lost.sum(axis=(1, 2)).astype(np.int64),
        }


def _batches(table: _Table, pairs: list[_Pair]) -> Iterator[list[_Pair]]:
    """The pairs, so many at a time that the memory they take does not matter."""
    size = max(1, _AT_ONCE // max(1, table.present[0].size))
    for start in range(0, len(pairs), size):
        yield pairs[start : start + size]


def _points(table: _Table, pairs: Sequence[_Pair]) -> Iterator[pd.DataFrame]:
    """Of each metric, the differences of some pairs at every place where both are."""
    codec, reference = (np.array([pair[i] for pair in pairs]) for i in (1, 0))
    both = table.present[codec] & table.present[reference]  # [pairs, places, images, trials]
    number = both.sum(axis=3)
    lost = np.maximum(table.lost[codec], table.lost[reference]) * both
    counted = {
        "images": (number > 0).sum(axis=2),
        "pairs": number.sum(axis=2),
        "failed_pairs": lost.sum(axis=(2, 3)).astype(np.int64),
    }
    for name, column in table.columns.items():
        reports = np.stack([table.reports(i, name) for i in range(len(table.labels))])
        shown = reports[codec] & reports[reference] & (counted["pairs"] > 0)
        if not shown.any():
            continue
        gaps = table.values[name][codec] - table.values[name][reference]
        sums = np.where(both, gaps, 0).sum(axis=3)[shown]
        others = [spread.of(shown) for spread in _point_spreads(table, name, pairs, both)]
        found = means(sums.T, number[shown].T.astype(np.float64), others)
        pair, place = np.nonzero(shown)
        yield pd.DataFrame(
            {
                "pair": reference[pair] * len(table.labels) + codec[pair],
                "place": place,
                "label": table.labels.take(codec[pair]),
                "reference": table.labels.take(reference[pair]),
                **{str(key): values.array.take(place) for key, values in table.at.items()},
                "quantity": name,
                "unit": column.unit,
                **_numbers(found),
                **{key: values[shown] for key, values in counted.items()},
            }
        )


def _point_spreads(
    table: _Table, name: str, pairs: Sequence[_Pair], both: NDArray[np.bool_]
) -> list[Spread]:
    """How much differences [pairs, places] rest on trainings."""

    def gap(pair: int, values: Array, reference: Array) -> Array:
        shared = both[pair]
        with np.errstate(all="ignore"):
            total = np.where(shared, values - reference, 0).sum(axis=(1, 2))
            mean: Array = total / shared.sum(axis=(1, 2))
        return mean

    return _spreads(table, name, pairs, both.shape[:2], gap)


def _spreads(
    table: _Table,
    name: str,
    pairs: Sequence[_Pair],
    shape: tuple[int, ...],
    gap: Callable[[int, Array, Array], Array],
) -> list[Spread]:
    """How much gaps [pairs, …] rest on trainings, the jackknife over them: over those of the codec
    and over those of the reference, or at once over both, where they are pairs.

    gap: of one pair, given the values of the codec and those of the reference.
    """
    variance, degrees = np.zeros((2, *shape)), np.ones((2, *shape))
    for pair, (reference, codec) in enumerate(pairs):
        whole = [table.values[name][i] for i in (codec, reference)]
        parts = [[part[name] for part in table.without.get(i, ())] for i in (codec, reference)]
        if table.paired_seeds and len(parts[0]) == len(parts[1]):
            gaps = [[gap(pair, *both) for both in zip(*parts, strict=True)], []]
        else:
            gaps = [
                [gap(pair, part, whole[1]) for part in parts[0]],
                [gap(pair, whole[0], part) for part in parts[1]],
            ]
        for side, without in enumerate(gaps):
            if without:
                found = jackknife_spread(np.stack(without))
                variance[side, pair], degrees[side, pair] = found.variance, found.degrees
    return [Spread(variance=variance[i], degrees=degrees[i]) for i in (0, 1)]


def _curves(table: _Table, axis: str, pairs: Sequence[_Pair]) -> pd.DataFrame:
    """The gaps between curves over an axis, of all pairs."""
    fixed = [str(name) for name in table.at if name != axis]
    group, _ = codes(table.at, fixed)
    parts = []
    for number in range(int(group.max(initial=-1)) + 1):
        places = np.flatnonzero(group == number)
        places = places[np.argsort(table.at[axis].to_numpy()[places], kind="stable")]
        for chosen, shared in _with_shared_places(table, pairs, places):
            if len(shared) < FEWEST_POINTS:
                continue
            where = {name: table.at[name].iloc[shared[0]] for name in fixed}
            parts += [part.assign(**where) for part in _gaps(table, axis, chosen, shared)]
    return pd.concat(parts) if parts else pd.DataFrame()


def _with_shared_places(
    table: _Table, pairs: Sequence[_Pair], places: NDArray[np.int64]
) -> Iterator[tuple[list[_Pair], NDArray[np.int64]]]:
    """Pairs, together with all others that share the same of the places."""
    batches: dict[bytes, list[_Pair]] = {}
    for pair in pairs:
        shared = table.both(*pair)[places].any(axis=(1, 2))
        batches.setdefault(shared.tobytes(), []).append(pair)
    for key, batch in batches.items():
        yield batch, places[np.frombuffer(key, dtype=bool)]


def _gaps(
    table: _Table, axis: str, pairs: Sequence[_Pair], places: NDArray[np.int64]
) -> Iterator[pd.DataFrame]:
    """The gaps of some pairs over the curve through some places."""
    known = [
        (name, column)
        for name, column in table.columns.items()
        if column.unit == "dB" and column.better == "higher"
    ]
    codec, reference = (np.array([pair[i] for pair in pairs]) for i in (1, 0))
    both = table.present[codec][:, places] & table.present[reference][:, places]
    sides = (codec, reference)
    if axis == "cbr":
        x = [_curve(table.values["cbr_realised"][side][:, places], both)[0] for side in sides]
    else:
        x = [np.tile(table.at[axis].to_numpy(np.float64)[places], (len(pairs), 1))] * 2
    counted = [table.counted(*pair) for pair in zip(codec, reference, strict=True)]
    lines = pd.DataFrame(
        [
            table.named(one, other)
            | {"place": len(table.at)}
            | {key: values[places].sum() for key, values in counts.items()}
            | {"images": counts["images"][places].max()}
            for one, other, counts in zip(codec, reference, counted, strict=True)
        ]
    )
    for name, _ in known:
        (y, y_without), (y_ref, y_ref_without) = (
            _curve(table.values[name][side][:, places], both) for side in sides
        )
        for quantity, unit, gap, shown in _KINDS[axis]:
            whole = gap(x[0], y, x[1], y_ref)
            without = np.stack(
                [gap(x[0], y_without[i], x[1], y_ref_without[i]) for i in range(len(y_without))]
            )
            others = _curve_spreads(table, name, gap, pairs, x, both, places)
            found = jackknife(whole, without, others)
            yield lines.assign(quantity=quantity.format(name), unit=unit, **_numbers(found, shown))


def _curve_spreads(
    table: _Table,
    name: str,
    gap: Callable[..., Array],
    pairs: Sequence[_Pair],
    x: Sequence[Array],
    both: NDArray[np.bool_],
    places: NDArray[np.int64],
) -> list[Spread]:
    """How much gaps [pairs] between curves rest on trainings."""

    def between(pair: int, values: Array, reference: Array) -> Array:
        at = [pair]
        y, y_ref = (_curve(side[None, places], both[at])[0] for side in (values, reference))
        found: Array = gap(x[0][at], y, x[1][at], y_ref)[0]
        return found

    return _spreads(table, name, pairs, (len(pairs),), between)


def _curve(values: Array, both: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Means [pairs, places] over images and trials, and without each of the images that any has,
    [images, pairs, places]."""
    sums = np.where(both, values, 0).sum(axis=3)  # [pairs, places, images]
    counts = both.sum(axis=3).astype(np.float64)
    total, number = sums.sum(axis=2), counts.sum(axis=2)
    used = np.flatnonzero(counts.any(axis=(0, 1)))
    with np.errstate(all="ignore"):
        without = (total[..., None] - sums[..., used]) / (number[..., None] - counts[..., used])
        return total / number, np.moveaxis(without, 2, 0)


def _gap_along(x: Array, y: Array, x_ref: Array, y_ref: Array) -> Array:
    return mean_gap(y, x, y_ref, x_ref)


def _as_it_is(gap: Array) -> Array:
    return gap


_Kind = tuple[str, str, Callable[..., Array], Callable[[Array], Array]]
_KINDS: Mapping[str, tuple[_Kind, ...]] = {
    "cbr": (
        ("bd_{}_over_cbr", "dB", bd_quality, _as_it_is),
        ("bd_cbr_at_{}", "%", bd_log_cbr, per_cent),
    ),
    "snr_db": (
        ("bd_{}_over_snr", "dB", mean_gap, _as_it_is),
        ("bd_snr_at_{}", "dB", _gap_along, _as_it_is),
    ),
}
"""Of each axis: quantity, unit, the gap as it is estimated, and what is shown of it."""


def _numbers(found: Estimate, shown: Callable[[Array], Array] = _as_it_is) -> dict[str, Array]:
    return {
        "difference": shown(found.value),
        "difference_lo": shown(found.low),
        "difference_hi": shown(found.high),
        "p_value": found.p_value,
    }
