"""A result's curves as Plotly figures: plain JSON, drawn in the page by Plotly's own script.

Every text that a user wrote is escaped, since Plotly reads a few HTML tags in its labels.
"""

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from linksim.metrics.table import Column
from linksim.plot.facets import (
    Facet,
    against_cbr,
    against_knowledge,
    against_pilots,
    against_snr,
    distributions,
    pilots_vary,
)
from linksim.plot.look import Look, interval, published_looks
from linksim.plot.published import points_over

_SYMBOLS = {
    "o": "circle", "s": "square", "^": "triangle-up", "v": "triangle-down", "D": "diamond",
    "P": "cross", "X": "x", "*": "star", "p": "pentagon", "h": "hexagon", "<": "triangle-left",
    ">": "triangle-right", "d": "diamond-tall",
}  # fmt: skip
_BOUND_COLOUR = "#707070"
_MOST_STEPS = 200  # of a distribution
_BAND_OPACITY = 0.13

Chart = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ChartSet:
    """One place of the page: what is fixed in it, and a figure for each choice of ``what``."""

    title: str
    charts: Mapping[str, Chart]


def curves(
    summary: pd.DataFrame,
    columns: Sequence[Column],
    looks: Mapping[str, Look],
    published: pd.DataFrame,
) -> Iterator[ChartSet]:
    """Every column of quality over the SNR, the CBR, the belief or the pilots.

    published: points of others, drawn as points of their own.
    """
    for facet in _facets(summary):
        charts = {
            column.axis: _chart(
                [
                    *(
                        trace
                        for label, look in looks.items()
                        for trace in _curve(facet, column.name, label, look)
                    ),
                    *_published(points_over(published, facet, column), facet.x, looks),
                ],
                x=facet.x_label,
                y=column.axis,
                ticks=facet.ticks,
            )
            for column in columns
        }
        yield ChartSet(title=facet.title.replace("\n", " · "), charts=charts)


def outage_distributions(
    rows: pd.DataFrame,
    summary: pd.DataFrame,
    columns: Sequence[Column],
    looks: Mapping[str, Look],
) -> Iterator[ChartSet]:
    """Of every column with a target: the share of transmissions at or below each value."""
    targets = [column for column in columns if f"{column.name}_target" in summary]
    if not targets:
        return
    for facet in distributions(summary):
        shown = facet.rows_of(rows)
        charts = {}
        for column in targets:
            traces = [
                _distribution(shown.loc[shown["label"] == label, column.name], label, look)
                for label, look in looks.items()
                if (shown["label"] == label).any()
            ]
            charts[column.axis] = _chart(
                traces, x=column.axis, y="Share of transmissions at or below"
            )
        yield ChartSet(title=facet.title.replace("\n", " · "), charts=charts)


def quality_against_cost(
    summary: pd.DataFrame,
    costs: pd.DataFrame,
    columns: Sequence[Column],
    looks: Mapping[str, Look],
) -> Iterator[ChartSet]:
    """Every column of quality over multiply-accumulates, at the lowest, middle and highest SNR."""
    if costs["macs"].isna().all():
        return
    total = costs["macs"] + costs["scan_macs"].fillna(0)
    costs = costs.assign(gmacs=total / 1e9)[["label", "gmacs", "parameters"]]
    merged = summary.merge(costs[costs["gmacs"].notna()], on="label")
    merged = merged.astype({"gmacs": float, "parameters": float})
    levels = sorted(summary["snr_db"].unique())
    for snr_db in dict.fromkeys([levels[0], levels[len(levels) // 2], levels[-1]]):
        lines = merged[merged["snr_db"] == snr_db].drop_duplicates("label")
        charts = {
            column.axis: _chart(
                [
                    _point(line, column.name, looks[str(line["label"])])
                    for _, line in lines[lines[column.name].notna()].iterrows()
                ],
                x="Multiply-accumulates, encoder and decoder (10⁹)",
                y=column.axis,
                log_x=True,
            )
            for column in columns
        }
        if len(lines):
            yield ChartSet(title=f"SNR {snr_db:g} dB", charts=charts)


def _facets(summary: pd.DataFrame) -> Iterator[Facet]:
    if pilots_vary(summary):
        yield from against_pilots(summary)
    yield from (*against_snr(summary), *against_cbr(summary), *against_knowledge(summary))


def _curve(facet: Facet, metric: str, label: str, look: Look) -> Iterator[Chart]:
    """The band of the interval, and the line with what hovering tells."""
    points = facet.lines[facet.lines["label"] == label]
    points = points[points[metric].notna()].sort_values(facet.x)
    if points.empty:
        return
    low, high = interval(points, metric)
    x, colour = _numbers(points[facet.x]), _colour(look)
    if low.notna().any():
        yield {
            "type": "scatter",
            "x": [*x, *x[::-1]],
            "y": [*_numbers(high), *_numbers(low)[::-1]],
            "fill": "toself",
            "fillcolor": colour,
            "opacity": _BAND_OPACITY,
            "line": {"width": 0},
            "mode": "lines",
            "hoverinfo": "skip",
            "showlegend": False,
            "legendgroup": html.escape(label),
            "meta": label,
        }
    told = [
        f"{value:.4g} [{a:.4g}, {b:.4g}]" if a == a else f"{value:.4g}"
        for value, a, b in zip(points[metric], low, high, strict=True)
    ]
    cbr = [f"{value:.5f}" for value in points["cbr_realised"]]
    count = [f"{images:g}" for images in points["images"]]
    yield {
        "type": "scatter",
        "x": x,
        "y": _numbers(points[metric]),
        "mode": "lines+markers" if look.marker else "lines",
        "name": html.escape(look.label(label)),
        "legendgroup": html.escape(label),
        "meta": label,
        "line": {"color": colour, "dash": "dash" if look.dashes else "solid", "width": 2},
        "marker": {"symbol": _SYMBOLS.get(look.marker, "circle"), "size": 8, "color": colour},
        "customdata": [list(entry) for entry in zip(told, cbr, count, strict=True)],
        "hovertemplate": "%{fullData.name}<br>%{customdata[0]} (95 %)<br>"
        "CBR counted %{customdata[1]} · %{customdata[2]} images<extra></extra>",
    }


def _published(points: pd.DataFrame, x: str, ours: Mapping[str, Look]) -> Iterator[Chart]:
    """Hollow points, a curve a source."""
    looks = published_looks(points["label"], ours)
    for (label, source), curve in points.groupby(["label", "source"], sort=False):
        name, look = f"{label} (published)", looks[str(label)]
        yield {
            "type": "scatter",
            "x": _numbers(curve[x]),
            "y": _numbers(curve["value"]),
            "mode": "markers",
            "name": html.escape(name),
            "meta": name,
            "marker": {
                "symbol": f"{_SYMBOLS.get(look.marker, 'circle')}-open",
                "size": 11,  # round the point that it is compared with
                "color": _colour(look),
                "line": {"width": 2},
            },
            "hovertemplate": f"%{{fullData.name}}<br>%{{y:.4g}}<br>{html.escape(str(source))}"
            "<extra></extra>",
        }


def _distribution(values: pd.Series, label: str, look: Look) -> Chart:
    ordered = np.sort(values.dropna().to_numpy(np.float64))
    share = np.arange(1, len(ordered) + 1) / max(len(values), 1)
    kept = np.unique(np.linspace(0, len(ordered) - 1, _MOST_STEPS).round().astype(int))
    kept = kept[kept < len(ordered)]
    return {
        "type": "scatter",
        "x": ordered[kept].round(4).tolist(),
        "y": share[kept].round(5).tolist(),
        "mode": "lines",
        "name": html.escape(look.label(label)),
        "meta": label,
        "line": {
            "color": _colour(look),
            "shape": "hv",
            "width": 2,
            "dash": "dash" if look.dashes else "solid",
        },
    }


def _point(line: "pd.Series[Any]", metric: str, look: Look) -> Chart:
    label = str(line["label"])
    return {
        "type": "scatter",
        "x": [float(line["gmacs"])],
        "y": [float(line[metric])],
        "mode": "markers",
        "name": html.escape(look.label(label)),
        "meta": label,
        "marker": {
            "symbol": _SYMBOLS.get(look.marker, "circle"),
            "size": 12,
            "color": _colour(look),
        },
        "hovertemplate": f"%{{fullData.name}}<br>%{{y:.4g}} at %{{x:.3g}} GMAC · "
        f"{float(line['parameters']) / 1e6:.2f} M parameters<extra></extra>",
    }


def _chart(
    traces: Sequence[Chart],
    *,
    x: str,
    y: str,
    ticks: tuple[list[float], list[str]] | None = None,
    log_x: bool = False,
) -> Chart:
    x_axis: Chart = {"title": {"text": html.escape(x)}, "automargin": True}
    if ticks is not None:
        x_axis |= {"tickvals": ticks[0], "ticktext": [html.escape(text) for text in ticks[1]]}
    if log_x:
        x_axis |= {"type": "log"}
    return {
        "data": list(traces),
        "layout": {
            "xaxis": x_axis,
            "yaxis": {"title": {"text": html.escape(y)}, "automargin": True},
        },
    }


def _colour(look: Look) -> str:
    return look.colour if look.colour.startswith("#") else _BOUND_COLOUR


def _numbers(values: "pd.Series[Any]") -> list[float | None]:
    """Rounded for the page; None, which Plotly leaves out, for what is no number."""
    return [None if value != value else float(f"{value:.6g}") for value in values]
