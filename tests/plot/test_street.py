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
    site = site_of([[1.0]] * 3, [[0.0]] * 3)
    psnr = {"A": [[20, 22], [30, 32], [25, 27]], "B": [[19, 19], [33, 35], [24, np.nan]],
            "bound": [[30, 30]] * 3}  # fmt: skip
    rows = pd.DataFrame(
        [
            {"label": label, "position": place, "image": str(image), "psnr": value,
             "x_m": site.positions[place, 0], "y_m": site.positions[place, 1]}
            for label, places in psnr.items()
            for place, values in enumerate(places)
            for image, value in enumerate(values)
        ]
    )  # fmt: skip
    figure = street_figure(rows, site, all_columns()["psnr"], LOOKS, "a street")
    figure.canvas.draw()
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:4] == ["A", "B", "A − B", "Share of the street that is not better"]
    dots = [axes.collections[-2] for axes in figure.axes[:3]]
    assert dots[0].get_array().tolist() == [21, 31, 26]
    assert dots[2].get_array().tolist() == [2, -3, 2]
    assert dots[0].get_offsets().tolist() == site.positions[:, :2].tolist()
    assert len(figure.axes[3].get_lines()) == 3  # of the distribution, the bound's too
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["10 m", "transmitter"]
