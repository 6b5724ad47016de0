"""A street from above: a metric at every position, a map a codec, and how two codecs differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from linksim.link.site_file import NO_PATH_DB, Site
from linksim.metrics.table import Column
from linksim.plot.look import GREY, TEXT_INCHES, Look, wrapped
from linksim.results.folder import channel_settings

if TYPE_CHECKING:  # matplotlib is imported only by what draws
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BUILDING_M = 2.0
"""What is higher is drawn as a building."""

_MAPS, _DIFFERENCES = "viridis", "PuOr"  # told apart without red and green
_COLUMNS = 3
_EDGE, _HOLLOW = "0.45", "0.5"
_DOT, _SMALL_DOT = 14, 7
_LEVELS_M = (BUILDING_M, 15.0, 25.0, 40.0)  # a step darker each
_SCALE_SHARE = 0.25  # of the map's width, that the scale bar takes at most


def street_figure(
    rows: pd.DataFrame,
    site: Site,
    column: Column,
    looks: Mapping[str, Look],
    title: str,
    target: float | None = None,
) -> "Figure":
    """Maps of a channel's rows: one a codec that is no bound, the first one's difference from the
    last one, and the distribution over positions of them all, with the target of outage.

    A position shows the mean over its images; one without a path is hollow, and one without a
    finite value is a cross.
    """
    from matplotlib.figure import Figure

    street = StreetValues.of(rows, column, looks)
    values, codecs = street.values, street.codecs
    columns = min(_COLUMNS, len(codecs))
    count = len(codecs) + (len(codecs) > 1)
    lines = count // columns + 1
    height, width = (side * site.pixel_m for side in site.heights.shape)
    size = (TEXT_INCHES, lines * (TEXT_INCHES / columns * height / width + 0.5) + 0.35)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=6.5, color=GREY)
    grid = figure.add_gridspec(lines, columns)
    panels = [figure.add_subplot(grid[divmod(place, columns)]) for place in range(count)]
    for axes, codec in zip(panels, codecs, strict=False):
        dots = _map(axes, site, street.places, values[codec], street.limits, _MAPS)
        axes.set_title(wrapped(codec, 34), loc="left", fontsize=8)
    _colour_bar(figure, dots, panels[: len(codecs)], column.axis)
    if len(codecs) > 1:
        name, gap, limits = street.difference()
        dots = _map(panels[-1], site, street.places, gap, limits, _DIFFERENCES)
        panels[-1].set_title(wrapped(name, 34), loc="left", fontsize=8)
        _colour_bar(figure, dots, panels[-1:], f"Difference in {column.axis}")
    _scale_bar(panels[0])
    _legend(figure, panels[0], len(values))
    line, first = divmod(count, columns)
    _distribution(figure.add_subplot(grid[line, first:]), values, column, looks, target)
    return figure


@dataclass(frozen=True, kw_only=True)
class StreetValues:
    """A metric over the positions of a street.

    values: its mean over images, a line a position and a column a label. places: a row of each
    position, in the order of ``values``. codecs: labels that have a map: all but bounds.
    limits: of the maps' colours.
    """

    values: pd.DataFrame
    places: pd.DataFrame
    codecs: list[str]
    limits: tuple[float, float]

    @classmethod
    def of(cls, rows: pd.DataFrame, column: Column, looks: Mapping[str, Look]) -> "StreetValues":
        """From the rows of one channel and CBR."""
        values = rows.pivot_table(
            index="position", columns="label", values=column.name, dropna=False
        )
        codecs = [codec for codec in looks if codec in values and not looks[codec].dashes]
        shown = values[codecs].to_numpy()
        finite = shown[np.isfinite(shown)]
        low, high = np.percentile(finite, [1, 99]) if len(finite) else (0.0, 1.0)
        return cls(
            values=values,
            places=rows.drop_duplicates("position").set_index("position").loc[values.index],
            codecs=codecs,
            limits=(float(low), float(high)),
        )

    def difference(self) -> tuple[str, "pd.Series[float]", tuple[float, float]]:
        """(name, values, limits) of the first codec's lead over the last one."""
        first, last = self.codecs[0], self.codecs[-1]
        gap = self.values[first] - self.values[last]
        most = float(np.nanpercentile(gap.abs(), 98)) or 1.0
        return f"{first} − {last}", gap, (-most, most)


def site_names_of(manifest: Mapping[str, Any], table: pd.DataFrame) -> dict[str, str]:
    """Of a result's channels that are over a site: its name or file, by the channel's label."""
    return {
        channel: str(settings["site"])
        for channel, settings in channel_settings(manifest, table).items()
        if settings.get("type") == "site"
    }


def without_path(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Of each row, whether its position is one that nothing arrives at."""
    return rows["position_snr_db"] <= NO_PATH_DB


def _map(
    axes: "Axes",
    site: Site,
    places: pd.DataFrame,
    values: "pd.Series[float]",
    limits: tuple[float, float],
    colours: str,
) -> Any:
    """Buildings, transmitter and positions; gives the dots, for a colour bar."""
    east, north = (
        corner + (np.arange(side) + 0.5) * site.pixel_m
        for corner, side in zip(site.corner, site.heights.shape[::-1], strict=True)
    )
    half = site.pixel_m / 2
    step = np.searchsorted(_LEVELS_M, site.heights)
    axes.imshow(
        np.where(step > 0, 0.96 - 0.06 * step, 1.0),
        extent=(east[0] - half, east[-1] + half, north[0] - half, north[-1] + half),
        origin="lower",
        cmap="gray",
        vmin=0,
        vmax=1,
        interpolation="nearest",
        zorder=1,
    )
    finite, dark = np.isfinite(values.to_numpy(np.float64)), without_path(places).to_numpy()
    x, y = places["x_m"], places["y_m"]
    axes.scatter(x[dark], y[dark], s=_SMALL_DOT, facecolors="white", edgecolors=_HOLLOW,
                 linewidths=0.5, zorder=3, label="no path")  # fmt: skip
    lost = ~finite & ~dark
    axes.scatter(x[lost], y[lost], marker="x", s=10, c="0.3", lw=0.6, zorder=3, label="no value")
    known = finite & ~dark
    dots = axes.scatter(
        x[known],
        y[known],
        c=values[known],
        s=_DOT,
        cmap=colours,
        vmin=limits[0],
        vmax=limits[1],
        edgecolors=_EDGE,
        linewidths=0.25,
        zorder=4,
    )
    axes.plot(
        *site.transmitter[:2],
        marker="^",
        markersize=7,
        color="white",
        markeredgecolor="black",
        markeredgewidth=0.9,
        linestyle="none",
        zorder=5,
        label="transmitter",
    )
    axes.set_aspect("equal")
    axes.set_xlim(east[0], east[-1])
    axes.set_ylim(north[0], north[-1])
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color("0.8")
    return dots


def _colour_bar(figure: "Figure", dots: Any, panels: Sequence["Axes"], label: str) -> None:
    """Below all panels that it holds for."""
    share = 0.9 if len(panels) == 1 else 0.6
    bar = figure.colorbar(dots, ax=list(panels), location="bottom", shrink=share, pad=0.02,
                          aspect=len(panels) * 18)  # fmt: skip
    bar.set_label(label, fontsize=7)
    bar.ax.tick_params(labelsize=6.5)
    bar.outline.set_visible(False)


def _scale_bar(axes: "Axes") -> None:
    """In the corner, under the dots."""
    (west, east), (south, north) = axes.get_xlim(), axes.get_ylim()
    round_lengths = [n * 10.0**k for k in range(5) for n in (1, 2, 5)]
    length = max((n for n in round_lengths if n <= _SCALE_SHARE * (east - west)), default=1.0)
    left, low = west + 0.03 * (east - west), south + 0.035 * (north - south)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6}
    axes.plot([left, left + length], [low, low], color="black", linewidth=1.6, zorder=2)
    axes.text(left + length + 0.02 * (east - west), low, f"{length:g} m", fontsize=6.5,
              va="center", bbox=box, zorder=2)  # fmt: skip


def _legend(figure: "Figure", axes: "Axes", positions: int) -> None:
    """What the marks of the maps are, over them: those that are there."""
    from matplotlib.collections import PathCollection

    handles, labels = axes.get_legend_handles_labels()
    shown = []
    for handle, label in zip(handles, labels, strict=True):
        dots = np.asarray(handle.get_offsets()) if isinstance(handle, PathCollection) else None
        if dots is None:
            shown.append((handle, label))
        elif len(dots):
            shown.append((handle, f"{label} ({len(dots)} of {positions} positions)"))
    figure.legend(
        *zip(*shown, strict=True), loc="upper right", ncols=len(shown), frameon=False, fontsize=6.5
    )


def _distribution(
    axes: "Axes",
    values: pd.DataFrame,
    column: Column,
    looks: Mapping[str, Look],
    target: float | None,
) -> None:
    """How much of the street is not better, a line a codec."""
    if target is not None:
        axes.axvline(target, color="0.6", linewidth=0.8)
        axes.annotate("target of outage", (target, 1), (2, -2), xycoords=("data", "axes fraction"),
                      textcoords="offset points", fontsize=6.5, color=GREY, va="top")  # fmt: skip
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
    axes.set_title("Share of all positions that are not better", loc="left", fontsize=8)
    axes.set_xlabel(column.axis)
    axes.grid(color="0.9", linewidth=0.5)
    axes.legend(frameon=False, fontsize=6, loc="upper left" if column.sign > 0 else "lower right")
