"""What all figures share: sizes, how codecs are drawn, intervals and the legend."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN_INCHES, TEXT_INCHES = 3.5, 7.16  # one and two columns of an IEEE page
GREY = "0.35"

# Okabe and Ito's colours that white paper carries; safe for the colour-blind
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8C510A")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_BOUND_DASHES = ((4.0, 2.0), (1.5, 1.5), (6.0, 1.5, 1.5, 1.5))


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a codec is drawn, the same in all figures of a result; no marker for a bound."""

    colour: str
    marker: str
    dashes: tuple[float, ...] = ()

    def label(self, codec: str) -> str:
        """How the legend calls a codec that looks so."""
        return f"{codec} (bound)" if self.dashes else codec


def codec_looks(summary: pd.DataFrame) -> dict[str, Look]:
    """Colours and markers of codecs in the table's order; bounds are grey and dashed."""
    looks: dict[str, Look] = {}
    codecs = summary.drop_duplicates("label")
    for i, codec in enumerate(codecs.loc[~codecs["is_bound"], "label"]):
        colour, marker = _COLOURS[i % len(_COLOURS)], _MARKERS[i % len(_MARKERS)]
        looks[codec] = Look(colour=colour, marker=marker)
    for i, codec in enumerate(codecs.loc[codecs["is_bound"], "label"]):
        dashes = _BOUND_DASHES[i % len(_BOUND_DASHES)]
        looks[codec] = Look(colour=GREY, marker="", dashes=dashes)
    return looks


def interval(points: pd.DataFrame, metric: str) -> tuple[pd.Series, pd.Series]:
    """Bounds of the interval; the mean itself where the table has none."""
    low, high = (points.get(f"{metric}_{end}", points[metric]) for end in ("lo", "hi"))
    return low, high


def legend_below(figure: "Figure") -> None:
    """The legend under the axes, where it covers no curve."""
    figure.legend(loc="outside lower center", ncols=2, frameon=False, labelspacing=0.3)
