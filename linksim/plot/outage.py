"""The distribution of a metric over images and fades: one figure an SNR."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from linksim.metrics.table import Column
from linksim.plot.look import GREY, Look

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes


def draw_distribution(
    axes: "Axes", rows: pd.DataFrame, column: Column, target: float, looks: Mapping[str, Look]
) -> "list[Artist]":
    """Empirical distribution of one point's rows, a line a codec: how often it is not better.

    A transmission without a finite value is worse than any: the line starts above zero.
    """
    artists: list[Artist] = []
    for codec, look in looks.items():
        values = rows.loc[rows["label"] == codec, column.name].to_numpy(np.float64)
        if not len(values):
            continue
        lost = len(values) - np.isfinite(values).sum()
        worst_first = column.sign * np.sort(column.sign * values[np.isfinite(values)])
        share = (lost + np.arange(1, len(worst_first) + 1)) / len(values)
        name = look.label(codec) + (f" ({lost} of {len(values)} failed)" if lost else "")
        (line,) = axes.step(worst_first, share, where="post", color=look.colour, label=name)
        if look.dashes:
            line.set_dashes(look.dashes)
        artists.append(line)
    axes.axvline(target, color=GREY, linewidth=0.8, linestyle=":")
    axes.annotate(f" target {target:g}", (target, 0.02), fontsize=6.5, color=GREY)
    axes.set_ylim(0, 1)
    return artists
