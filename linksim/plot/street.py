"""A street from above: a metric at every position, a map a codec, and how two codecs differ."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from linksim.link.site_file import Site
from linksim.metrics.table import Column
from linksim.plot.look import GREY, TEXT_INCHES, Look, wrapped

if TYPE_CHECKING:  # matplotlib is imported only by what draws
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MAPS, _DIFFERENCES = "viridis", "PuOr"  # told apart without red and green
_COLUMNS = 3
_BUILDING_M = 2.0
_EDGE = "0.45"
_SCALE_SHARE = 0.25  # of the map's width, that the scale bar takes at most


def street_figure(
    rows: pd.DataFrame, site: Site, column: Column, looks: Mapping[str, Look], title: str
) -> "Figure":
    """Maps of a channel's rows: one a codec that is no bound, the first one's difference from the
    last one, and the distribution over positions of them all.

    A position shows the mean over its images; one without a finite value is a cross.
    """
    from matplotlib.figure import Figure

    values = rows.pivot_table(index="position", columns="label", values=column.name, dropna=False)
    places = rows.drop_duplicates("position").set_index("position").loc[values.index]
    codecs = [codec for codec in looks if codec in values and not looks[codec].dashes]
    count = len(codecs) + (len(codecs) > 1) + 1
    lines = -(-count // _COLUMNS)
    height, width = (side * site.pixel_m for side in site.heights.shape)
    panel = TEXT_INCHES / _COLUMNS
    size = (TEXT_INCHES, lines * (panel * height / width + 0.45) + 0.35)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=6.5, color=GREY)
    panels = list(figure.subplots(lines, _COLUMNS, squeeze=False).flat)
    for unused in panels[count:]:
        unused.set_visible(False)
    shown = values[codecs].to_numpy()
    low, high = np.nanpercentile(shown[np.isfinite(shown)], [1, 99]) if len(shown) else (0, 1)
    for axes, codec in zip(panels, codecs, strict=False):
        dots = _map(axes, site, places, values[codec], (low, high), _MAPS)
        axes.set_title(wrapped(codec, 34), loc="left", fontsize=8)
    _legend(panels[0], site)
    figure.colorbar(dots, ax=panels[: len(codecs)], shrink=0.85, pad=0.01, label=column.axis)
    if len(codecs) > 1:
        gap = values[codecs[0]] - values[codecs[-1]]
        most = float(np.nanpercentile(gap.abs(), 98)) or 1.0
        axes = panels[len(codecs)]
        dots = _map(axes, site, places, gap, (-most, most), _DIFFERENCES)
        axes.set_title(wrapped(f"{codecs[0]} − {codecs[-1]}", 34), loc="left", fontsize=8)
        figure.colorbar(dots, ax=axes, shrink=0.85, pad=0.02)
    _distribution(panels[count - 1], values, column, looks)
    return figure


def _map(
    axes: "Axes",
    site: Site,
    places: pd.DataFrame,
    values: "pd.Series[float]",
    limits: tuple[float, float],
    colours: str,
) -> Any:
    """Buildings, transmitter and positions; gives the dots, for a colour bar."""
    rows, columns = site.heights.shape
    x = site.corner[0] + (np.arange(columns) + 0.5) * site.pixel_m
    y = site.corner[1] + (np.arange(rows) + 0.5) * site.pixel_m
    top = float(site.heights.max())
    if top > _BUILDING_M:
        levels = [_BUILDING_M, *(level for level in (15, 25, 40) if level < top), top + 1]
        greys = [str(0.90 - 0.06 * step) for step in range(len(levels) - 1)]
        axes.contourf(x, y, site.heights, levels=levels, colors=greys, zorder=1)
        axes.contour(
            x, y, site.heights, levels=[_BUILDING_M], colors="0.7", linewidths=0.3, zorder=1
        )
    known = np.isfinite(values.to_numpy(np.float64))
    dots = axes.scatter(
        places["x_m"][known],
        places["y_m"][known],
        c=values[known],
        s=13,
        cmap=colours,
        vmin=limits[0],
        vmax=limits[1],
        edgecolors=_EDGE,
        linewidths=0.25,
        zorder=3,
    )
    axes.scatter(places["x_m"][~known], places["y_m"][~known], marker="x", s=10, c="0.3", lw=0.6)
    axes.plot(
        *site.transmitter[:2],
        marker="^",
        markersize=7,
        color="white",
        markeredgecolor="black",
        markeredgewidth=0.9,
        zorder=4,
    )
    axes.set_aspect("equal")
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(y[0], y[-1])
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color("0.8")
    return dots


def _legend(axes: "Axes", site: Site) -> None:
    """A scale bar, and which mark is the transmitter."""
    (west, east), (south, north) = axes.get_xlim(), axes.get_ylim()
    round_lengths = [n * 10.0**k for k in range(5) for n in (1, 2, 5)]
    length = max((n for n in round_lengths if n <= _SCALE_SHARE * (east - west)), default=1.0)
    left, low = west + 0.04 * (east - west), south + 0.05 * (north - south)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8}
    axes.plot([left, left + length], [low, low], color="black", linewidth=1.6, zorder=5)
    axes.text(left, low + 0.02 * (north - south), f"{length:g} m", fontsize=6.5, va="bottom",
              bbox=box, zorder=5)  # fmt: skip
    x, y = site.transmitter[:2]
    axes.annotate("transmitter", (x, y), (0, 6), textcoords="offset points", fontsize=6.5,
                  ha="center", va="bottom", bbox=box, zorder=5)  # fmt: skip


def _distribution(
    axes: "Axes", values: pd.DataFrame, column: Column, looks: Mapping[str, Look]
) -> None:
    """How much of the street is not better, a line a codec."""
    for codec, look in looks.items():
        if codec not in values:
            continue
        found = values[codec].to_numpy(np.float64)
        finite = np.isfinite(found)
        worst_first = column.sign * np.sort(column.sign * found[finite])
        share = ((~finite).sum() + np.arange(1, finite.sum() + 1)) / len(found)
        (line,) = axes.step(
            worst_first, share, where="post", color=look.colour, label=look.label(codec)
        )
        if look.dashes:
            line.set_dashes(look.dashes)
    axes.set_ylim(0, 1)
    axes.set_title("Share of the street that is not better", loc="left", fontsize=8)
    axes.set_xlabel(column.axis)
    axes.grid(color="0.9", linewidth=0.5)
    axes.legend(frameon=False, fontsize=6, loc="upper left" if column.sign > 0 else "lower right")
