"""Streets from above, for the page: a quality at every position, on the buildings of the site."""

import base64
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from linksim.errors import InputError
from linksim.link.site_file import Site, load_site
from linksim.metrics.table import Column
from linksim.plot.facets import ratio
from linksim.plot.look import Look
from linksim.plot.street import BUILDING_M, StreetValues, without_path
from linksim.report.charts import Chart, ChartSet

_DIFFERENCES = [[0, "#7f3b08"], [0.25, "#fdb863"], [0.5, "#f7f7f7"], [0.75, "#b2abd2"],
                [1, "#2d004b"]]  # fmt: skip
_GREY = "#707070"
_FINEST_M = 2.0
_DOT = 8


def streets(
    sites: Mapping[str, str],
    rows: pd.DataFrame,
    columns: Sequence[Column],
    looks: Mapping[str, Look],
) -> Iterator[ChartSet]:
    """A map a codec and quality, and of the first one's difference from the last one, for each site
    and CBR; without buildings where the site's file is gone.

    sites: name or file, by the channel's label.
    """
    for channel, name in sites.items():
        site = _site_if_there(name)
        own = rows[rows["channel"] == channel]
        for cbr in own["cbr"].unique().tolist():
            group = own[own["cbr"] == cbr]
            charts: dict[str, Chart] = {}
            for column in columns:
                charts |= _maps(group, site, column, looks)
            yield ChartSet(title=f"{channel}, CBR {ratio(cbr)}", charts=charts)


def _site_if_there(name: str) -> Site | None:
    try:
        return load_site(name)
    except InputError:
        return None


def _maps(
    rows: pd.DataFrame, site: Site | None, column: Column, looks: Mapping[str, Look]
) -> dict[str, Chart]:
    street = StreetValues.of(rows, column, looks)
    maps = {
        f"{codec}, {column.axis}": _map(
            street.places, street.values[codec], site, column.axis, street.limits, "Viridis"
        )
        for codec in street.codecs
    }
    if len(street.codecs) > 1:
        name, gap, limits = street.difference()
        maps[f"{name}, {column.axis}"] = _map(
            street.places, gap, site, column.axis, limits, _DIFFERENCES
        )
    return maps


def _map(
    places: pd.DataFrame,
    values: "pd.Series[float]",
    site: Site | None,
    axis: str,
    limits: tuple[float, float],
    colours: Any,
) -> Chart:
    dark = without_path(places)
    shown = ~dark & np.isfinite(values)
    heat = {
        "color": [round(float(value), 3) for value in values[shown]],
        "size": _DOT,
        "colorscale": colours,
        "cmin": round(limits[0], 3),
        "cmax": round(limits[1], 3),
        "colorbar": {"title": {"text": html.escape(axis), "side": "right"}, "thickness": 12},
        "line": {"width": 0.5, "color": _GREY},
    }
    hollow = {"symbol": "circle-open", "size": _DOT - 2, "color": _GREY}
    lost = {"symbol": "x-thin-open", "size": _DOT - 1, "color": _GREY}
    traces = [
        _dots(places[shown], "position", heat, "%{marker.color:.4g}<br>"),
        _dots(places[dark], "no path", hollow),
        _dots(places[~dark & ~shown], "no value", lost),
    ]
    layout: Chart = {
        "xaxis": {"title": {"text": "x (m)"}, "automargin": True, "showgrid": False},
        "yaxis": {
            "title": {"text": "y (m)"},
            "automargin": True,
            "showgrid": False,
            "scaleanchor": "x",
        },
    }
    if site is not None:
        x, y = (float(value) for value in site.transmitter[:2])
        mark = {"symbol": "triangle-up", "size": 13, "color": "#D55E00"}
        traces.append(
            {"type": "scatter", "mode": "markers", "name": "transmitter", "x": [x], "y": [y],
             "marker": mark, "hovertemplate": "transmitter<extra></extra>"}
        )  # fmt: skip
        layout["images"] = [_buildings(site)]
    return {"data": [trace for trace in traces if trace["x"]], "layout": layout}


def _dots(places: pd.DataFrame, name: str, marker: Chart, value: str = "") -> Chart:
    """value: what hovering tells first."""
    snr = [f"{one:.1f} dB" for one in places["position_snr_db"]]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": places["x_m"].round(1).tolist(),
        "y": places["y_m"].round(1).tolist(),
        "marker": marker,
        "customdata": [list(one) for one in zip(places.index.tolist(), snr, strict=True)],
        "hovertemplate": f"{value}position %{{customdata[0]}}"
        + (", SNR %{customdata[1]}" if value else ", no path")
        + "<extra></extra>",
    }


def _buildings(site: Site) -> Chart:
    """What stands there as a picture in grey, the darker the higher, that any page shines through;
    transparent where nothing stands."""
    from PIL import Image

    step = max(1, round(_FINEST_M / site.pixel_m))
    heights = site.heights[::step, ::step][::-1].astype(np.float64)
    alpha = np.where(heights > BUILDING_M, np.clip(50 + 2 * heights, 0, 150), 0)
    pixels = np.stack([np.full_like(alpha, 128), alpha], axis=-1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels, "LA").save(file, "PNG", optimize=True)
    rows, columns = site.heights.shape
    west, south = (float(value) for value in site.corner)
    return {
        "source": "data:image/png;base64," + base64.b64encode(file.getvalue()).decode(),
        "xref": "x",
        "yref": "y",
        "x": west,
        "y": south + rows * site.pixel_m,
        "sizex": columns * site.pixel_m,
        "sizey": rows * site.pixel_m,
        "sizing": "stretch",
        "layer": "below",
    }
