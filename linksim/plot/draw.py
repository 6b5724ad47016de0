"""Tables to figures: metric against SNR, CBR and pilots, and a grid of reconstructions.

Figures are made from ``summary.csv``, ``compare.csv``, ``pictures/index.csv`` and, distributions,
from ``rows.parquet`` alone, and go to ``figures/`` beside them as PDF, SVG and PNG. The same tables
give the same bytes.
"""

import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from linksim.errors import InputError
from linksim.files import write_atomically
from linksim.plot.complexity import against_complexity, draw_against_complexity
from linksim.plot.facets import (
    Facet,
    against_cbr,
    against_knowledge,
    against_pilots,
    against_snr,
    differences,
    distributions,
    pilots_vary,
)
from linksim.plot.look import COLUMN_INCHES, GREY, Look, codec_looks, interval, legend_below
from linksim.plot.outage import draw_distribution
from linksim.plot.pictures import picture_facets, picture_grid
from linksim.tables import read_table

if TYPE_CHECKING:  # matplotlib is imported only by what draws
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRIC_LABELS = {
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "ms_ssim_db": "MS-SSIM (dB)",
    "lpips": "LPIPS (lower is better)",
    "snr_db_estimate": "Estimated SNR (dB)",
    "snr_error_db": "SNR error (dB)",
    "accuracy": "Accuracy",
}

OUTAGE_LABELS = {
    "psnr": "PSNR below {:g} dB",
    "ssim": "SSIM below {:g}",
    "ms_ssim": "MS-SSIM below {:g}",
    "lpips": "LPIPS above {:g}",
}

_NEEDED = ("label", "is_bound", "channel", "snr_db", "cbr", "images", "cbr_realised")
_NEEDED_GAPS = ("label", "reference", "channel", "cbr", "snr_db", "quantity", "difference")
_NEEDED_COSTS = ("label", "side", "parameters", "macs", "scan_macs")
_NEEDED_PICTURES = ("label", "image", "snr_db", "cbr", "psnr", "file")
_STANDARD_MS_SSIM = "win11x5"
_MOST_TICKS, _MOST_LETTERS = 12, 60  # along the x axis
_LABEL_LETTERS = 30  # a line of the y axis

_STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,
    "svg.hashsalt": "linksim",
}
_METADATA: Mapping[str, dict[str, None]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}


def plot_results(folder: Path) -> list[Path]:
    """Draw the figures of every result folder at or below ``folder``; gives their paths.

    A metric against SNR: one figure a CBR. Against CBR and against what the two sides believe,
    where there are several: at the lowest, the middle and the highest SNR. Where channels differ in
    their pilots: against the pilots' share instead. Paired differences from the first codec
    likewise. With an outage target, its probability and the distribution. Raises InputError where
    there are no results or a table is broken.
    """
    tables = sorted(folder.rglob("summary.csv"))
    if not tables:
        raise InputError(
            f"{folder}: no results here; wanted is a folder that 'python -m linksim run' wrote, "
            "with summary.csv in it, or a folder of such folders"
        )
    with _style():
        return [path for table in tables for path in _plot_result(table.parent)]


def _plot_result(folder: Path) -> Iterator[Path]:
    summary = read_table(folder / "summary.csv", _NEEDED)
    metrics = [name for name in METRIC_LABELS if name in summary]
    if not metrics:
        raise InputError(
            f"{folder / 'summary.csv'}: no metric to plot; wanted are {', '.join(METRIC_LABELS)}"
        )
    looks = codec_looks(summary)
    for facet in _over_axes(summary):
        for metric in metrics:
            figure = _curves(facet, metric, looks)
            yield from _save(figure, folder / "figures" / f"{metric}_{facet.name}")
    yield from _plot_outage(folder, summary, looks)
    yield from _plot_differences(folder, summary, metrics[0], looks)
    yield from _plot_complexity(folder, summary, metrics[0], looks)
    index = folder / "pictures" / "index.csv"
    if index.is_file():
        pictures = read_table(index, _NEEDED_PICTURES)
        for name, title, chosen in picture_facets(pictures):
            figure = picture_grid(chosen, index.parent, title)
            yield from _save(figure, folder / "figures" / name)


def _over_axes(summary: pd.DataFrame) -> Iterator[Facet]:
    if pilots_vary(summary):
        yield from against_pilots(summary)
    else:
        yield from (*against_snr(summary), *against_cbr(summary), *against_knowledge(summary))


def _plot_outage(folder: Path, summary: pd.DataFrame, looks: Mapping[str, Look]) -> Iterator[Path]:
    """Outage probability over the axes, and distributions, of metrics that have a target."""
    for metric in (name for name in OUTAGE_LABELS if f"{name}_target" in summary):
        target = float(summary[f"{metric}_target"].iloc[0])
        column = f"{metric}_outage"
        seen = summary.assign(**{column: summary[column].replace(0, np.nan)})  # no log of zero
        for facet in _over_axes(seen):
            label = f"Outage ({OUTAGE_LABELS[metric].format(target)})"
            figure = _curves(facet, column, looks, label=label)
            figure.axes[0].set_yscale("log")
            figure.axes[0].set_ylim(0.5 / facet.lines["count"].max(), 1)
            yield from _save(figure, folder / "figures" / f"{metric}_outage_{facet.name}")
        rows = read_table(folder / "rows.parquet")
        for facet in distributions(summary):
            figure, axes = _empty(
                facet.title, METRIC_LABELS.get(metric, "MS-SSIM"), "Share of transmissions"
            )
            at = [
                name
                for name in ("channel", "cbr", "snr_db", "snr_knowledge")
                if name in facet.lines
            ]
            shown = rows.merge(facet.lines[at].drop_duplicates(), on=at)
            draw_distribution(axes, shown, metric, target, looks)
            legend_below(figure)
            yield from _save(figure, folder / "figures" / f"{metric}_{facet.name}")


def _plot_differences(
    folder: Path, summary: pd.DataFrame, metric: str, looks: Mapping[str, Look]
) -> Iterator[Path]:
    """The paired difference of each codec from the first, where there are several."""
    if not (folder / "compare.csv").is_file():
        return
    first = summary["label"].iloc[0]
    gaps = differences(summary, read_table(folder / "compare.csv", _NEEDED_GAPS), metric)
    for facet in _over_axes(gaps):
        figure = _curves(facet, metric, looks, label=f"{METRIC_LABELS[metric]} above {first}")
        figure.axes[0].axhline(0, color=GREY, linewidth=0.6)
        yield from _save(figure, folder / "figures" / f"{metric}_difference_{facet.name}")


def _plot_complexity(
    folder: Path, summary: pd.DataFrame, metric: str, looks: Mapping[str, Look]
) -> Iterator[Path]:
    """The first metric against what codecs cost, where the scenario had it counted."""
    if not (folder / "complexity.csv").is_file():
        return
    costs = read_table(folder / "complexity.csv", _NEEDED_COSTS)
    for facet in against_complexity(summary, costs):
        figure, axes = _empty(facet.title, facet.x_label, _metric_label(metric, facet.lines))
        draw_against_complexity(axes, facet.lines, metric, looks)
        legend_below(figure)
        yield from _save(figure, folder / "figures" / f"{metric}_{facet.name}")


def _empty(title: str, x_label: str, y_label: str) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(COLUMN_INCHES, 2.8), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=6.5, color=GREY)
    axes = figure.add_subplot()
    axes.grid(axis="y", color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel(x_label)
    axes.set_ylabel(textwrap.fill(y_label, _LABEL_LETTERS))
    return figure, axes


def _curves(
    facet: Facet, metric: str, looks: Mapping[str, Look], label: str | None = None
) -> "Figure":
    label = label or _metric_label(metric, facet.lines)
    figure, axes = _empty(facet.title, facet.x_label, label)
    known = facet.lines.dropna(subset=[metric, facet.x]).sort_values(facet.x)
    codecs = [codec for codec in looks if codec in set(known["label"])]
    if known[facet.x].nunique() == 1:
        _side_by_side(axes, known.set_index("label").loc[codecs], facet.x, metric, looks)
        return figure
    for codec in codecs:
        points = known[known["label"] == codec]
        if facet.x == "pilot_share":
            for level in points.loc[points[facet.x] == 0, metric]:
                axes.axhline(level, color=looks[codec].colour, linestyle=":", linewidth=0.8)
            points = points[points[facet.x] > 0]
        _curve(axes, points, facet.x, metric, looks[codec], looks[codec].label(codec))
    if facet.ticks is not None:
        turned = sum(map(len, facet.ticks[1])) > _MOST_LETTERS
        ha = "right" if turned else "center"
        axes.set_xticks(*facet.ticks, rotation=30 if turned else 0, ha=ha)
    elif facet.x == "snr_db" and known[facet.x].nunique() <= _MOST_TICKS:
        axes.set_xticks(known[facet.x].unique())
    if (metric, facet.x) == ("snr_db_estimate", "snr_db"):
        truth = [known[facet.x].min(), known[facet.x].max()]
        axes.plot(truth, truth, color=GREY, linestyle=":", linewidth=0.8, label="true SNR")
    if facet.x == "pilot_share":
        shares = sorted(set(known[facet.x]) - {0})
        axes.set_xscale("log")
        axes.set_xticks(shares, [f"{share:.2g}" for share in shares])
        axes.minorticks_off()
    legend_below(figure)
    return figure


def _curve(axes: "Axes", points: pd.DataFrame, x: str, metric: str, look: Look, label: str) -> None:
    """One codec: its line, and its interval as a band."""
    low, high = interval(points, metric)
    axes.fill_between(points[x], low, high, color=look.colour, alpha=0.13, linewidth=0)
    (line,) = axes.plot(
        points[x],
        points[metric],
        color=look.colour,
        marker=look.marker,
        markeredgecolor="white",
        markeredgewidth=0.4,
        label=label,
    )
    if look.dashes:
        line.set_dashes(look.dashes)


def _side_by_side(
    axes: "Axes", points: pd.DataFrame, x: str, metric: str, looks: Mapping[str, Look]
) -> None:
    """Codecs beside each other where there is a single x: a point and a bar each."""
    low, high = interval(points, metric)
    for place, codec in enumerate(points.index):
        look, value = looks[codec], points[metric].iloc[place]
        axes.vlines(place, low.iloc[place], high.iloc[place], color=look.colour, linewidth=1)
        axes.plot(place, value, color=look.colour, marker=look.marker or "_", markersize=5)
    labels = [textwrap.fill(looks[codec].label(codec), 14) for codec in points.index]
    axes.set_xticks(range(len(points)), labels)
    axes.set_xlim(-0.6, len(points) - 0.4)
    axes.set_xlabel(f"{axes.get_xlabel()} = {points[x].iloc[0]:.4g}")


def _metric_label(metric: str, lines: pd.DataFrame) -> str:
    """The axis label; it names the variant of MS-SSIM where that is not the standard one."""
    label = METRIC_LABELS[metric]
    if metric != "ms_ssim_db" or "ms_ssim_variant" not in lines:
        return label
    variant = str(lines["ms_ssim_variant"].iloc[0])
    return label if variant == _STANDARD_MS_SSIM else f"{label[:-1]}, {variant})"


def _save(figure: "Figure", stem: Path) -> Iterator[Path]:
    for kind, metadata in _METADATA.items():
        path = stem.with_name(f"{stem.name}.{kind}")
        write = partial(figure.savefig, format=kind, dpi=300, metadata=metadata)
        write_atomically(path, write)
        yield path


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        yield
