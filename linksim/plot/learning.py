"""Quality over the pixels that a training has seen, on a logarithmic axis."""

from pathlib import Path
from typing import Any

import pandas as pd

from linksim.plot.curves import empty_figure
from linksim.plot.draw import figure_style, save_figure
from linksim.plot.look import GREY, codec_looks, legend_below

_TITLE = "Photographs held out of training; marks: released weights"


def draw_learning(curves: pd.DataFrame, stem: Path, *, paper: float) -> list[Path]:
    """Draw learning curves as ``stem`` .pdf, .svg and .png; gives their paths.

    curves: ``label``, ``codec``, ``gigapixels``, ``psnr``, ``released``, see
    :func:`linksim.training.learning.learning_curves`. paper: gigapixels that published trainings
    have seen, a vertical line.
    """
    looks = codec_looks(curves.assign(is_bound=False))
    with figure_style([*looks, _TITLE]):
        figure, axes = empty_figure(_TITLE, "Gigapixels seen in training", "PSNR (dB)")
        artists = []
        for label, look in looks.items():
            points = curves[curves["label"] == label].sort_values("gigapixels")
            axes.plot(points["gigapixels"], points["psnr"], color=look.colour, linewidth=0.9)
            released = points[points["released"]]
            style: dict[str, Any] = {
                "color": look.colour,
                "marker": look.marker,
                "markersize": 4,
                "label": label,
            }
            places = released["gigapixels"], released["psnr"]
            artists += axes.plot(*places, linestyle="", **style)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.axvline(paper, color=GREY, linestyle=":", linewidth=0.8)
        axes.annotate(
            f"papers: {paper:g}",
            (paper, 0.02),
            xycoords=("data", "axes fraction"),
            xytext=(-3, 0),
            textcoords="offset points",
            ha="right",
            color=GREY,
            fontsize=6.5,
        )
        legend_below(figure, artists)
        return list(save_figure(figure, stem))
