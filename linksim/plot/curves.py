"""A quality over the SNR, the CBR, the belief or the pilots: one figure a facet and metric."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from linksim.metrics.table import Column
from linksim.plot.facets import Facet
from linksim.plot.look import (
    COLUMN_INCHES,
    GREY,
    Look,
    interval,
    legend_below,
    published_looks,
    wrapped,
)

if TYPE_CHECKING:  # matplotlib is imported only by what draws
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FAILED = "no finite value: some transmissions failed"

_STANDARD_MS_SSIM = "win11x5"
_MOST_TICKS, _MOST_LETTERS = 12, 60  # along the x axis
_LABEL_LETTERS, _TITLE_LETTERS = 30, 70  # a line of the y axis, and above the axes


def empty_figure(title: str, x_label: str, y_label: str) -> "tuple[Figure, Axes]":
    """A figure one column wide, with a title that says what is fixed in it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(COLUMN_INCHES, 2.8), layout="constrained")
    shown = "\n".join(wrapped(line, _TITLE_LETTERS) for line in title.split("\n"))
    figure.suptitle(shown, x=0.01, ha="left", fontsize=6.5, color=GREY)
    axes = figure.add_subplot()
    axes.grid(axis="y", color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel(x_label)
    axes.set_ylabel(wrapped(y_label, _LABEL_LETTERS))
    return figure, axes


def curve_figure(
    facet: Facet,
    column: Column,
    looks: Mapping[str, Look],
    *,
    label: str | None = None,
    mark_failed: bool = True,
    published: pd.DataFrame | None = None,
) -> "Figure":
    """A column of the facet's lines, a curve a codec with its interval as a band.

    Points whose value is no finite number are crosses on the lower edge, and the legend says so,
    unless mark_failed is False: they are left out then. label: of the y axis, where it is not the
    column's. published: points of others
    (:func:`linksim.plot.published.points_over`), drawn as such, with their source in the legend.
    """
    figure, axes = empty_figure(facet.title, facet.x_label, label or axis_label(column, facet))
    known = facet.lines.dropna(subset=[facet.x]).sort_values(facet.x, kind="stable")
    codecs = [codec for codec in looks if codec in set(known["label"])]
    others = known.iloc[:0].assign(source="") if published is None else published
    if known[facet.x].nunique() == 1 and others.empty:
        known = known.set_index("label").loc[codecs]
        _side_by_side(axes, known, column.name, looks)
        if mark_failed:
            places = pd.Series(range(len(known)), known.index)
            _mark_failed(axes, known, places, column, looks)
        _name_places(axes, known, facet.x, looks)
        return figure
    artists: list[Artist] = []
    for codec in codecs:
        points = known[known["label"] == codec]
        if facet.x == "pilot_share":
            for level in points.loc[points[facet.x] == 0, column.name]:
                axes.axhline(level, color=looks[codec].colour, linestyle=":", linewidth=0.8)
            points = points[points[facet.x] > 0]
        finite = np.isfinite(points[column.name])
        lost = mark_failed and not points.empty and not finite.any()
        name = looks[codec].label(codec) + (" (all failed)" if lost else "")
        artists.append(_curve(axes, points[finite], facet.x, column.name, looks[codec], name))
    artists += _published(axes, others, facet.x, looks)
    _set_ticks(axes, facet, known)
    if (column.name, facet.x) == ("snr_db_estimate", "snr_db"):
        truth = [known[facet.x].min(), known[facet.x].max()]
        artists += axes.plot(
            truth, truth, color=GREY, linestyle=":", linewidth=0.8, label="true SNR"
        )
    if mark_failed:
        named = known.set_index("label")
        artists += _mark_failed(axes, named, named[facet.x], column, looks)
    legend_below(figure, artists)
    return figure


def axis_label(column: Column, facet: Facet) -> str:
    """The axis label; it names the variant of MS-SSIM where that is not the standard one."""
    if column.name != "ms_ssim_db" or "ms_ssim_variant" not in facet.lines:
        return column.axis
    variant = str(facet.lines["ms_ssim_variant"].iloc[0])
    return column.axis if variant == _STANDARD_MS_SSIM else f"{column.axis[:-1]}, {variant})"


def _curve(
    axes: "Axes", points: pd.DataFrame, x: str, metric: str, look: Look, label: str
) -> "Artist":
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
    return line


def _published(
    axes: "Axes", points: pd.DataFrame, x: str, ours: Mapping[str, Look]
) -> "list[Artist]":
    """Somebody else's points: hollow, without a line, since nothing of them was measured here."""
    artists: list[Artist] = []
    looks = published_looks(points["label"], ours)
    for label, source in points[["label", "source"]].drop_duplicates().to_numpy():
        curve = points[(points["label"] == label) & (points["source"] == source)]
        look = looks[label]
        artists += axes.plot(
            curve[x],
            curve["value"],
            color=look.colour,
            marker=look.marker or "o",
            markerfacecolor="none",
            markeredgewidth=0.8,
            markersize=4.5,
            linestyle="",
            label=f"{label} (published: {source})",
        )
    return artists


def _mark_failed(
    axes: "Axes", lines: pd.DataFrame, places: pd.Series, column: Column, looks: Mapping[str, Look]
) -> "list[Artist]":
    """A cross on the lower edge for every point of the lines [by label] without a finite value.

    places: where along the x axis. A codec that does not report such a column has not failed.
    """
    failed = ~np.isfinite(lines[column.name])
    if column.reported:
        failed &= lines.groupby(level=0)[column.name].transform(lambda v: np.isfinite(v).any())
    crosses = [
        axes.plot(
            place,
            0.02,
            color=looks[str(label)].colour,
            marker="x",
            linestyle="",
            transform=axes.get_xaxis_transform(),
            clip_on=False,
            label=FAILED,
        )[0]
        for label, place in places[failed].items()
    ]
    return list(crosses[:1])


def _set_ticks(axes: "Axes", facet: Facet, known: pd.DataFrame) -> None:
    if facet.ticks is not None:
        places, texts = facet.ticks
        turned = sum(map(len, texts)) > _MOST_LETTERS
        ha = "right" if turned else "center"
        axes.set_xticks(
            places, [wrapped(t, 30) for t in texts], rotation=30 if turned else 0, ha=ha
        )
    elif facet.x == "snr_db" and known[facet.x].nunique() <= _MOST_TICKS:
        axes.set_xticks(known[facet.x].unique())
    if facet.x == "pilot_share":
        shares = sorted(set(known[facet.x]) - {0})
        axes.set_xscale("log")
        axes.set_xticks(shares, [f"{share:.2g}" for share in shares])
        axes.minorticks_off()


def _side_by_side(
    axes: "Axes", points: pd.DataFrame, metric: str, looks: Mapping[str, Look]
) -> None:
    """Codecs beside each other where there is a single x: a point and a bar each."""
    low, high = interval(points, metric)
    for place, codec in enumerate(points.index):
        look, value = looks[codec], points[metric].iloc[place]
        if not np.isfinite(value):
            continue
        axes.vlines(place, low.iloc[place], high.iloc[place], color=look.colour, linewidth=1)
        axes.plot(place, value, color=look.colour, marker=look.marker or "_", markersize=5)


def _name_places(axes: "Axes", points: pd.DataFrame, x: str, looks: Mapping[str, Look]) -> None:
    labels = [wrapped(looks[codec].label(codec), 14) for codec in points.index]
    axes.set_xticks(range(len(points)), labels)
    axes.set_xlim(-0.6, len(points) - 0.4)
    axes.set_xlabel(f"{axes.get_xlabel()} = {points[x].iloc[0]:.4g}")
