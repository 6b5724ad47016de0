"""What of the tables each figure shows: a quality over the SNR, the CBR or the belief."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pandas as pd

from linksim.files import distinct_slugs
from linksim.progress import counted_images
from linksim.results.folder import channel_settings

_MOST = 3  # figures of one kind: at the lowest, the middle and the highest value


@dataclass(frozen=True, kw_only=True)
class Facet:
    """The lines of the summary that one figure shows: over ``x``, all else fixed.

    ticks: (values of x, what is written at them), where these are no numbers.
    """

    name: str
    title: str
    x: str
    x_label: str
    lines: pd.DataFrame
    ticks: tuple[list[float], list[str]] | None = None

    def rows_of(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Those of a result's rows that its lines are the means of."""
        names = ("channel", "cbr", "snr_db", "snr_knowledge")
        at = [name for name in names if name in self.lines]
        return rows.merge(self.lines[at].drop_duplicates(), on=at)


def against_snr(summary: pd.DataFrame) -> Iterator[Facet]:
    """One a channel, CBR and SNR knowledge."""
    if summary["snr_db"].nunique() == 1 and (
        _several(summary, "cbr") or _several(summary, "snr_knowledge")
    ):
        return
    if "snr_knowledge" in summary:
        summary = _few(summary, "snr_knowledge")
    for lines in _groups(summary, "channel", "cbr", "snr_knowledge"):
        yield _facet(summary, lines, "vs_snr", x="snr_db", x_label="SNR (dB)")


def against_cbr(summary: pd.DataFrame) -> Iterator[Facet]:
    """One a channel and SNR knowledge at the lowest, the middle and the highest SNR."""
    if not _several(summary, "cbr"):
        return
    if "snr_knowledge" in summary:
        summary = _few(summary, "snr_knowledge")
    label = "CBR, counted (channel uses per source value)"
    for lines in _groups(_few(summary, "snr_db", sort=True), "channel", "snr_db", "snr_knowledge"):
        yield _facet(summary, lines, "vs_cbr", x="cbr_realised", x_label=label)


def against_knowledge(summary: pd.DataFrame) -> Iterator[Facet]:
    """One a channel and CBR at the lowest, the middle and the highest SNR: over what both sides
    believe, in the order in which the scenario lists it."""
    if not _several(summary, "snr_knowledge"):
        return
    beliefs = list(summary["snr_knowledge"].unique())
    summary = summary.assign(belief=summary["snr_knowledge"].map(beliefs.index))
    ticks = ([float(place) for place in range(len(beliefs))], beliefs)
    for lines in _groups(_few(summary, "snr_db", sort=True), "channel", "cbr", "snr_db"):
        label = "what both sides believe of the SNR"
        yield _facet(summary, lines, "vs_snr_knowledge", x="belief", x_label=label, ticks=ticks)


def pilots_vary(summary: pd.DataFrame) -> bool:
    """Whether the channels differ in how much of their use is pilots."""
    return _several(summary, "pilot_share")


def with_estimators(summary: pd.DataFrame, manifest: Mapping[str, Any]) -> pd.DataFrame:
    """The summary with a column ``estimator``: how a channel's receiver knows it from its pilots,
    in words, empty where it knows it anyway."""
    names = {
        channel: _ESTIMATORS.get(str(settings.get("estimation")), "")
        for channel, settings in channel_settings(manifest, summary).items()
    }
    return summary.assign(estimator=[names.get(channel, "") for channel in summary["channel"]])


def against_pilots(summary: pd.DataFrame) -> Iterator[Facet]:
    """One a CBR, SNR and estimator, where the summary names it: over the pilots' share of the
    channel uses. Channels that are known anyway are in all of them."""
    if "estimator" not in summary:
        summary = summary.assign(estimator="")
    for estimator in [name for name in summary["estimator"].unique() if name] or [""]:
        lines_of = summary[summary["estimator"].isin([estimator, ""])]
        for lines in _groups(lines_of, "cbr", "snr_db", "snr_knowledge"):
            cbr, snr_db = float(lines["cbr"].iloc[0]), float(lines["snr_db"].iloc[0])
            told = f"SNR {snr_db:g} dB · CBR {ratio(cbr)}, pilots included"
            which = {"estimator": estimator} if estimator else {}
            parts = varying(summary[summary["estimator"] != ""], **which)
            yield Facet(
                name="_".join(["vs_pilots", *parts, *varying(summary, cbr=cbr, snr_db=snr_db)]),
                title=f"{' · '.join([*which.values(), told])}\n{_images(lines, intervals=True)}",
                x="pilot_share",
                x_label="Pilots per channel use (dotted: channel known)",
                lines=lines,
            )


_ESTIMATORS = {"ls": "LS", "lmmse": "LMMSE", "lmmse_robust": "robust LMMSE"}


def distributions(summary: pd.DataFrame) -> Iterator[Facet]:
    """One a channel, CBR and knowledge at the lowest, the middle and the highest SNR; no ``x``."""
    yield from at_few_snrs(summary, "distribution", x="", x_label="")


def at_few_snrs(summary: pd.DataFrame, name: str, *, x: str, x_label: str) -> Iterator[Facet]:
    """One a channel, CBR and knowledge at the lowest, middle and highest SNR, over ``x``."""
    if "snr_knowledge" in summary:
        summary = _few(summary, "snr_knowledge")
    for lines in _groups(
        _few(summary, "snr_db", sort=True), "channel", "cbr", "snr_db", "snr_knowledge"
    ):
        yield _facet(summary, lines, name, x=x, x_label=x_label)


def differences(summary: pd.DataFrame, table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The summary with each codec's paired difference from the first one in the metric's place."""
    at = [
        "label",
        "channel",
        "cbr",
        "snr_db",
        *(["snr_knowledge"] if "snr_knowledge" in summary else []),
    ]
    first = summary["label"].iloc[0]
    table = table[(table["reference"] == first) & (table["quantity"] == metric)]
    values = {
        "difference": metric,
        "difference_lo": f"{metric}_lo",
        "difference_hi": f"{metric}_hi",
    }
    kept = summary.drop(columns=list(values.values()), errors="ignore")
    return kept.merge(table[[*at, *values]].rename(columns=values), on=at)


def varying(table: pd.DataFrame, **values: str | float) -> list[str]:
    """Parts of a file name that tell figures apart: the keys that take several values."""
    return [
        f"{key.removesuffix('_db')}{value:.4g}"
        if isinstance(value, float)
        else distinct_slugs(table[key])[value]
        for key, value in values.items()
        if table[key].nunique() > 1
    ]


def ratio(cbr: float) -> str:
    """1/48 where that is what it is, else a decimal number."""
    simple = Fraction(cbr).limit_denominator(1000)
    return str(simple) if simple.numerator == 1 and abs(simple - cbr) < 1e-9 else f"{cbr:.4g}"


def _facet(
    summary: pd.DataFrame, lines: pd.DataFrame, name: str, *, x: str, x_label: str, **rest: Any
) -> Facet:
    """A facet whose title and name say what is fixed in its lines."""
    first = lines.iloc[0]
    fixed = {
        key: first[key] if isinstance(first[key], str) else float(first[key])
        for key in ("channel", "cbr", "snr_db", "snr_knowledge")
        if key in lines and lines[key].nunique() == 1 and not x.startswith(key)
    }
    says = {"cbr": lambda v: f"CBR {ratio(v)}", "snr_db": lambda v: f"SNR {v:g} dB"}
    words = [says.get(key, str)(value) for key, value in fixed.items() if key != "channel"]
    return Facet(
        name="_".join([name, *varying(summary, **fixed)]),
        title=f"{fixed['channel']}\n{' · '.join([*words, _images(lines, intervals=bool(x))])}",
        x=x,
        x_label=x_label,
        lines=lines,
        **rest,
    )


def _groups(summary: pd.DataFrame, *by: str) -> Iterator[pd.DataFrame]:
    for _, lines in summary.groupby([name for name in by if name in summary], sort=False):
        yield lines


def _several(summary: pd.DataFrame, column: str) -> bool:
    return column in summary and bool(summary[column].nunique() > 1)


def _few(summary: pd.DataFrame, column: str, *, sort: bool = False) -> pd.DataFrame:
    """The lines at the first, the middle and the last value of a column that has many."""
    values: Sequence[Any] = list(summary[column].unique())
    values = sorted(values) if sort else values
    if len(values) > _MOST:
        values = [values[0], values[len(values) // 2], values[-1]]
    return summary[summary[column].isin(values)]


def _images(lines: pd.DataFrame, *, intervals: bool) -> str:
    count = int(lines["images"].max())
    if not intervals:
        return f"{counted_images(count)}, {lines['count'].max()} transmissions"
    interval = "" if count == 1 else f" · 95 % intervals {interval_over(lines)}"
    return counted_images(count) + interval


def interval_over(lines: pd.DataFrame) -> str:
    """What intervals hold, in words: of one training, nothing of what another would bring."""
    several = "trainings" in lines and int(lines["trainings"].max()) > 1
    return "over images and trainings" if several else "over images alone"
