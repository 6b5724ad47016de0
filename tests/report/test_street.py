"""The map of the page: every position in its place with its mean, on the buildings of the site."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from PIL import Image

import linksim
from linksim.link.site_file import write_site
from linksim.report.write import write_report
from tests.helpers.html import data_of
from tests.helpers.sites import site_of


@pytest.fixture
def street(tmp_path: Path) -> Path:
    """A result over three positions, the last without a path, west of a house."""
    site = site_of([[1e-5], [1e-6], []], [[0.0], [0.0], []])
    site.heights[4:10, 30:36] = 12
    write_site(tmp_path / "own.npz", site)
    linksim.run(
        {
            "name": "street",
            "images": {"source": "kodak", "crop": 64, "limit": 2},
            "channel": {"type": "site", "site": str(tmp_path / "own.npz"), "subcarriers": 24,
                        "link_budget": {"tx_power_dbm": 0}},
            "cbr": "1/12",
            "trials": 3,
            "metrics": ["psnr"],
            "codecs": [{"codec": "bpg_ldpc", "label": "<b>BPG</b>", "options": {"mcs": "best"}},
                       {"codec": "bpg_capacity"}],
        },
        out=tmp_path / "results",
    )  # fmt: skip
    return tmp_path / "results" / "street"


def by_name(chart: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {trace["name"]: trace for trace in chart["data"]}


def test_positions_are_where_they_were_with_their_means(street: Path) -> None:
    [entry] = data_of(write_report(street))["street"]
    [(what, chart)] = entry["charts"].items()
    assert what == "<b>BPG</b>, PSNR (dB)"  # a bound has no map
    go.Figure(chart)  # raises for a property that Plotly does not have
    rows = pd.read_parquet(street / "rows.parquet")
    own = rows[rows["label"] == "<b>BPG</b>"].groupby("position")["psnr"].mean()
    marks = by_name(chart)
    assert marks["position"]["marker"]["color"] == pytest.approx(own[:2].tolist(), abs=1e-3)
    assert (marks["position"]["x"], marks["position"]["y"]) == ([0, 10], [5, 5])
    assert (marks["no path"]["x"], marks["no path"]["y"]) == ([20], [5])
    assert (marks["transmitter"]["x"], marks["transmitter"]["y"]) == ([0], [0])


def test_buildings_are_where_they_stand(street: Path) -> None:
    [entry] = data_of(write_report(street))["street"]
    [picture] = next(iter(entry["charts"].values()))["layout"]["images"]
    png = base64.b64decode(picture["source"].partition(",")[2])
    alpha = np.array(Image.open(io.BytesIO(png)))[..., 1]
    assert alpha.shape == (20, 40)  # from the north, metres of two
    assert (alpha[10:16, 30:36] > 0).all()
    assert np.count_nonzero(alpha) == 36
    assert (picture["x"], picture["y"], picture["sizex"], picture["sizey"]) == (-20, 20, 80, 40)


def test_a_site_that_is_gone_leaves_the_positions(street: Path) -> None:
    (street.parents[1] / "own.npz").unlink()
    [entry] = data_of(write_report(street))["street"]
    [chart] = entry["charts"].values()
    assert "images" not in chart["layout"]
    assert set(by_name(chart)) == {"position", "no path"}


def test_drawn_in_a_browser(street: Path, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(write_report(street).as_uri())
    plot = page.locator("#street .plot").first
    assert plot.locator(".scatterlayer .point").count() == 4
    assert plot.locator(".layer-below .imagelayer image, .imagelayer image").count() >= 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert said == []
