import numpy as np
import pandas as pd

from linksim.metrics.table import all_columns
from linksim.plot.look import Look
from linksim.plot.street import street_figure
from tests.helpers.sites import site_of

LOOKS = {
    "A": Look(colour="#0072B2", marker="o"),
    "B": Look(colour="#D55E00", marker="s"),
    "bound": Look(colour="0.5", marker="", dashes=(4, 2)),
}


def test_maps_show_means_of_positions_and_the_difference() -> None:
    site = site_of([[1.0], [1.0], [1.0], []], [[0.0], [0.0], [0.0], []])
    psnr = {"A": [[20, 22], [30, 32], [25, 27], [6, 6]],
            "B": [[19, 19], [33, 35], [24, np.nan], [5, 5]],
            "bound": [[30, 30]] * 4}  # fmt: skip
    rows = pd.DataFrame(
        [
            {"label": label, "position": place, "image": str(image), "psnr": value,
             "x_m": site.positions[place, 0], "y_m": site.positions[place, 1],
             "position_snr_db": -100.0 if place == 3 else 10.0}
            for label, places in psnr.items()
            for place, values in enumerate(places)
            for image, value in enumerate(values)
        ]
    )  # fmt: skip
    figure = street_figure(rows, site, all_columns()["psnr"], LOOKS, "a street", target=21)
    figure.canvas.draw()
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    titles = [axes.get_title(loc="left") for axes in panels]
    assert titles == ["A", "B", "A − B", "Share of all positions that are not better"]
    for axes, shown in zip(panels, [[21, 31, 26], [19, 34, 24], [2, -3, 2]], strict=False):
        dark, lost, dots = axes.collections[-3:]
        assert dots.get_array().tolist() == shown
        assert dots.get_offsets().tolist() == site.positions[:3, :2].tolist()
        assert dark.get_offsets().tolist() == site.positions[3:, :2].tolist()
        assert len(lost.get_offsets()) == 0
    marks = [text.get_text() for text in figure.legends[0].get_texts()]
    assert marks == ["no path (1 of 4 positions)", "transmitter"]
    assert [text.get_text() for text in panels[0].texts] == ["10 m"]
    curves = panels[3].get_lines()
    assert len(curves) == 4  # the target, and a distribution a label, the bound's too
    assert curves[1].get_xydata().tolist() == [[6, 0.25], [21, 0.5], [26, 0.75], [31, 1]]


def test_no_row_is_half_empty() -> None:
    site = site_of([[1.0]] * 2, [[0.0]] * 2)
    for count in range(1, 6):
        labels = [chr(ord("A") + place) for place in range(count)]
        rows = pd.DataFrame(
            [
                {"label": label, "position": place, "psnr": 20.0 + place, "x_m": place,
                 "y_m": 0.0, "position_snr_db": 3.0}
                for label in labels
                for place in (0, 1)
            ]
        )  # fmt: skip
        looks = dict.fromkeys(labels, LOOKS["A"])
        figure = street_figure(rows, site, all_columns()["psnr"], looks, "a street")
        panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
        spans = [axes.get_subplotspec() for axes in panels]
        cells = sum(len(span.rowspan) * len(span.colspan) for span in spans)
        grid = spans[0].get_gridspec()
        assert cells == grid.nrows * grid.ncols
