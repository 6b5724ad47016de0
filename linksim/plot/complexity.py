"""Quality against cost: what a codec reaches at one SNR for its multiply-accumulates."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from linksim.plot.facets import Facet, at_few_snrs
from linksim.plot.look import Look, interval

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes


def against_complexity(summary: pd.DataFrame, costs: pd.DataFrame) -> Iterator[Facet]:
    """One a channel, CBR and SNR knowledge at the lowest, the middle and the highest SNR.

    Lines have ``gmacs``, the 10^9 multiply-accumulates of both sides, layers and scans together,
    empty for classical codecs, and ``parameters``, which the legend tells.
    """
    side = int(costs["side"].iloc[0])
    total = (costs["macs"] + costs["scan_macs"]) / 1e9
    priced = summary.merge(costs.assign(gmacs=total)[["label", "gmacs", "parameters"]], on="label")
    label = f"10⁹ multiply-accumulates for {side}x{side} pixels"
    yield from at_few_snrs(priced, "vs_complexity", x="gmacs", x_label=label)


def draw_against_complexity(
    axes: "Axes", lines: pd.DataFrame, metric: str, looks: Mapping[str, Look]
) -> "list[Artist]":
    """A point and its interval for each neural codec, a level for each other one; a codec without
    a finite value is named as failed."""
    artists: list[Artist] = []
    for codec, look in looks.items():
        points = lines[lines["label"] == codec]
        if points.empty:
            continue
        point = points.iloc[0]
        value = point[metric]
        style: dict[str, Any] = {"color": look.colour}
        if not np.isfinite(value):
            style |= {"marker": "x", "linestyle": "", "label": f"{look.label(codec)} (failed)"}
            artists += axes.plot([], [], **style)
            continue
        if pd.isna(point["gmacs"]):
            style |= {"linestyle": "--", "linewidth": 0.8, "label": look.label(codec)}
            artists.append(axes.axhline(value, **style))
            continue
        place = float(point["gmacs"])
        axes.vlines(place, *interval(points, metric), color=look.colour, linewidth=1)
        label = f"{look.label(codec)}, {point['parameters'] / 1e6:.2f} M"
        style |= {"marker": look.marker, "linestyle": "", "markersize": 5, "label": label}
        artists += axes.plot(place, value, **style)
    axes.set_xscale("log", subs=[2, 3, 5])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    return artists
