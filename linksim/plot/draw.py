"""Tables to figures: metric against SNR, CBR and pilots, and a grid of reconstructions.

Figures are made from ``summary.csv``, ``compare.csv``, ``published.csv``, ``pictures/index.csv``
and, distributions, from ``rows.parquet`` alone, and go to ``figures/`` beside them as PDF, SVG and
PNG. The same tables give the same bytes.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from linksim.errors import InputError
from linksim.files import write_atomically
from linksim.files.tables import read_table
from linksim.link.site_file import load_site
from linksim.metrics.table import AXIS_LABELS, Column
from linksim.plot.complexity import against_complexity, draw_against_complexity
from linksim.plot.curves import axis_label, curve_figure, empty_figure
from linksim.plot.facets import (
    Facet,
    against_cbr,
    against_knowledge,
    against_pilots,
    against_snr,
    differences,
    distributions,
    pilots_vary,
    ratio,
    with_estimators,
)
from linksim.plot.fonts import BASE, families_for
from linksim.plot.look import GREY, Look, codec_looks, legend_below, wrapped
from linksim.plot.outage import draw_distribution
from linksim.plot.pictures import picture_facets, picture_grid
from linksim.plot.published import points_over, read_published
from linksim.plot.street import site_names_of, street_figure
from linksim.results.folder import columns_of, read_manifest, result_folders

if TYPE_CHECKING:  # matplotlib is imported only by what draws
    from matplotlib.figure import Figure

_SUFFIXES = (".pdf", ".svg", ".png")
_NEEDED = ("label", "is_bound", "channel", "snr_db", "cbr", "images", "cbr_realised")
_NEEDED_GAPS = ("label", "reference", "channel", "cbr", "snr_db", "quantity", "difference")
_NEEDED_COSTS = ("label", "side", "parameters", "macs", "scan_macs")
_NEEDED_PICTURES = ("label", "image", "snr_db", "cbr", "psnr", "file")

_STYLE: Any = {
    "font.family": [BASE],
    "font.size": 8,
    "text.parse_math": False,  # a label with dollar signs is no formula
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
    likewise. With an outage target, its probability and the distribution. Figures that an earlier
    call left and that the tables no longer give are removed. Raises InputError where there are no
    results or a table is broken.
    """
    return [path for found in result_folders(folder) for path in _plot_folder(found)]


@contextmanager
def figure_style(texts: Sequence[str]) -> Iterator[None]:
    """How all figures are set, in fonts that have the letters of these texts."""
    import matplotlib as mpl

    with mpl.rc_context({**_STYLE, "font.family": families_for(texts)}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # told in one line already
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        yield


@dataclass(frozen=True, kw_only=True)
class _Result:
    """A result folder, read: its summary, the columns of it that have figures, how codecs look."""

    folder: Path
    manifest: Mapping[str, Any]
    summary: pd.DataFrame
    columns: tuple[Column, ...]
    all_columns: Mapping[str, Column]
    looks: Mapping[str, Look]
    published: pd.DataFrame

    @classmethod
    def read(cls, folder: Path) -> "_Result":
        is_there = (folder / "manifest.json").is_file()
        manifest = read_manifest(folder) if is_there else {}
        summary = with_estimators(read_table(folder / "summary.csv", _NEEDED), manifest)
        known = columns_of(folder)
        columns = tuple(
            column for column in known.values() if column.drawn and column.name in summary
        )
        if not columns:
            raise InputError(
                f"{folder / 'summary.csv'}: no metric to plot; wanted are {', '.join(AXIS_LABELS)}"
            )
        return cls(
            folder=folder,
            manifest=manifest,
            summary=summary,
            columns=columns,
            all_columns=known,
            looks=codec_looks(summary),
            published=read_published(folder),
        )

    @property
    def texts(self) -> list[str]:
        """Everything in the tables that figures show as text."""
        names = ("label", "channel", "snr_knowledge")
        found = [self.summary[name] for name in names if name in self.summary]
        found += [self.published[name] for name in ("label", "source") if len(self.published)]
        return [str(text) for column in found for text in column.unique()]


def _plot_folder(folder: Path) -> list[Path]:
    result = _Result.read(folder)
    index_path = folder / "pictures" / "index.csv"
    index = read_table(index_path, _NEEDED_PICTURES) if index_path.is_file() else None
    images = [] if index is None else list(index["image"].unique())
    with figure_style([*result.texts, *images]):
        paths = list(_figures(result))
        for name, title, chosen in picture_facets(index) if index is not None else ():
            figure = picture_grid(chosen, index_path.parent, title)
            paths += save_figure(figure, folder / "figures" / name)
    for path in (folder / "figures").glob("*"):  # what other tables gave
        if path.suffix in _SUFFIXES and path not in paths:
            path.unlink()
    return paths


def _figures(result: _Result) -> Iterator[Path]:
    for facet in _over_axes(result.summary):
        for column in result.columns:
            others = points_over(result.published, facet, column)
            figure = curve_figure(facet, column, result.looks, published=others)
            yield from save_figure(
                figure, result.folder / "figures" / f"{column.name}_{facet.name}"
            )
    yield from _plot_outage(result)
    yield from _plot_differences(result)
    yield from _plot_complexity(result)
    yield from _plot_streets(result)


def _over_axes(summary: pd.DataFrame) -> Iterator[Facet]:
    if pilots_vary(summary):
        yield from against_pilots(summary)
    else:
        yield from (*against_snr(summary), *against_cbr(summary), *against_knowledge(summary))


def _plot_outage(result: _Result) -> Iterator[Path]:
    """Outage probability over the axes, and distributions, of metrics that have a target."""
    summary, figures = result.summary, result.folder / "figures"
    for column in result.all_columns.values():
        if f"{column.name}_target" not in summary:
            continue
        target = float(summary[f"{column.name}_target"].iloc[0])
        rate = Column(name=f"{column.name}_outage", label="Outage", better="lower", reported=True)
        lost = summary.assign(**{rate.name: summary[rate.name].replace(0, np.nan)})  # no log of 0
        for facet in _over_axes(lost):
            label = f"Outage ({column.missed(target)})"
            figure = curve_figure(facet, rate, result.looks, label=label, mark_failed=False)
            axes = figure.axes[0]
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.set_ylim(0.5 / facet.lines["count"].max(), 1)
            yield from save_figure(figure, figures / f"{rate.name}_{facet.name}")
        rows = read_table(result.folder / "rows.parquet")
        for facet in distributions(summary):
            figure, axes = empty_figure(facet.title, column.axis, "Share of transmissions")
            artists = draw_distribution(axes, facet.rows_of(rows), column, target, result.looks)
            legend_below(figure, artists)
            yield from save_figure(figure, figures / f"{column.name}_{facet.name}")


def _plot_differences(result: _Result) -> Iterator[Path]:
    """The paired difference of each codec from the first, where there are several."""
    path = result.folder / "compare.csv"
    if not path.is_file():
        return
    first, column = result.summary["label"].iloc[0], result.columns[0]
    gaps = differences(result.summary, read_table(path, _NEEDED_GAPS), column.name)
    for facet in _over_axes(gaps):
        label = f"{column.axis} above {wrapped(first, 60)}"
        figure = curve_figure(facet, column, result.looks, label=label)
        figure.axes[0].axhline(0, color=GREY, linewidth=0.6)
        stem = f"{column.name}_difference_{facet.name}"
        yield from save_figure(figure, result.folder / "figures" / stem)


def _plot_complexity(result: _Result) -> Iterator[Path]:
    """The first metric against what codecs cost, where the scenario had it counted."""
    path, column = result.folder / "complexity.csv", result.columns[0]
    if not path.is_file():
        return
    for facet in against_complexity(result.summary, read_table(path, _NEEDED_COSTS)):
        figure, axes = empty_figure(facet.title, facet.x_label, axis_label(column, facet))
        artists = draw_against_complexity(axes, facet.lines, column.name, result.looks)
        legend_below(figure, artists)
        yield from save_figure(figure, result.folder / "figures" / f"{column.name}_{facet.name}")


def _plot_streets(result: _Result) -> Iterator[Path]:
    """The first metric on the map of each site, at each CBR."""
    column = result.columns[0]
    sites = {
        channel: load_site(name)
        for channel, name in site_names_of(result.manifest, result.summary).items()
    }
    if not sites:
        return
    rows = read_table(result.folder / "rows.parquet")
    by = ["channel", "cbr"]
    for number, (_, group) in enumerate(rows.groupby(by, sort=False), 1):
        channel, cbr = str(group["channel"].iloc[0]), float(group["cbr"].iloc[0])
        if channel in sites:
            images = group["image"].nunique()
            mean = f", mean of {images} images" if images > 1 else ""
            title = wrapped(f"{channel}, CBR {ratio(cbr)}{mean}", 90)
            targets = result.summary.get(f"{column.name}_target")
            target = None if targets is None else float(targets.iloc[0])
            figure = street_figure(group, sites[channel], column, result.looks, title, target)
            stem = f"{column.name}_street" + (f"_{number}" if number > 1 else "")
            yield from save_figure(figure, result.folder / "figures" / stem)


def save_figure(figure: "Figure", stem: Path) -> Iterator[Path]:
    """Write a figure as PDF, SVG and PNG, without dates: the same figure has the same bytes."""
    for kind, metadata in _METADATA.items():
        path = stem.with_name(f"{stem.name}.{kind}")
        write = partial(figure.savefig, format=kind, dpi=300, metadata=metadata)
        write_atomically(path, write)
        yield path
