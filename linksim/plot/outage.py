"""The distribution of a metric over images and fades: one figure an SNR."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from linksim.plot.look import GREY, Look
from linksim.results.outage import LOWER_IS_BETTER

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_distribution(
    axes: "Axes", rows: pd.DataFrame, metric: str, target: float, looks: Mapping[str, Look]
) -> None:
    """Empirical distribution of one point's rows, a line a codec: how often it is not better."""
    for codec, look in looks.items():
        values = np.sort(rows.loc[rows["label"] == codec, metric].dropna())
        if not len(values):
            continue
        worse = np.arange(1, len(values) + 1) / len(values)
        if metric in LOWER_IS_BETTER:
            values = values[::-1]
        (line,) = axes.step(values, worse, where="post", color=look.colour, label=look.label(codec))
        if look.dashes:
            line.set_dashes(look.dashes)
    axes.axvline(target, color=GREY, linewidth=0.8, linestyle=":")
    axes.annotate(f" target {target:g}", (target, 0.02), fontsize=6.5, color=GREY)
    axes.set_ylim(0, 1)
