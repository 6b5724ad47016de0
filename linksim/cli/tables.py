"""The tables that ``linksim run`` prints: means, and differences between codecs.

A line a codec and a column an SNR, in as many blocks as the width asks for, so that every number
can be read on 80 columns and in a log file.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from rich import box
from rich.table import Table

from linksim.files.tables import read_table
from linksim.metrics.table import Column, all_columns, find_metric, own_columns
from linksim.plot.facets import interval_over, ratio
from linksim.progress import counted_images
from linksim.results.failures import failed_in_words
from linksim.sweep.scenario import Scenario
from linksim.sweep.stopping import Until

WIDTH = 80

_LABEL_LETTERS = 26
_BETWEEN = 3  # letters between two columns


def result_tables(
    summary: pd.DataFrame, folder: Path, scenario: Scenario, *, width: int = WIDTH
) -> Iterator[Table | str]:
    """Means of the first metric, then the other codecs' paired differences from the first one.

    Each has a line before it that says what it holds. width: letters a line. What has failed is
    told in words in the place of its number.
    """
    columns = all_columns(own_columns(scenario.metrics))
    column = columns[find_metric(scenario.metrics[0]).name]
    images = counted_images(int(summary["images"].iloc[0]))
    means = summary.assign(text=[_mean(line, column) for line in summary.to_dict("records")])
    yield from _tables(f"{scenario.name}: mean {column.axis} of {images}", means, width)
    for written, target in (scenario.outage or {}).items():
        missed = columns[find_metric(written).name]
        rates = summary.assign(text=summary[f"{missed.name}_outage"].map("{:.3f}".format))
        yield from _tables(f"Outage probability: {missed.missed(target)}", rates, width)
    if scenario.complexity is not None:
        costs = read_table(folder / "complexity.csv")
        side = costs["side"].iloc[0]
        yield f"{side}x{side}, encoder and decoder together"
        yield _cost_table(costs)
    if len(scenario.codecs) > 1:
        table = read_table(folder / "compare.csv")
        yield from _gap_tables(
            table, column, scenario.codecs[0].label, width, interval_over(summary)
        )


def _gap_tables(
    table: pd.DataFrame, column: Column, first: str, width: int, over: str
) -> Iterator[Table | str]:
    """The differences from the first codec: at every point, and over whole curves."""
    table = table[table["reference"] == first]
    table = table.assign(text=[_gap(line) for line in table.to_dict("records")])
    table = table[table["text"] != ""]
    title = f"Paired difference in {column.axis} from {first}, 95 % interval {over}"
    yield from _tables(title, table[table["quantity"] == column.name], width)
    name = re.escape(column.name)
    curve = f"bd_{name}(_db)?_over_.*|bd_.*_at_{name}(_db)?"
    curves = table[table["quantity"].str.fullmatch(curve)]
    if not curves.empty:
        yield f"Mean gap from {first} over whole curves"
        yield _curve_table(curves)


def until_in_words(summary: pd.DataFrame, until: Until) -> str:
    """What half-width the points came to."""
    reached = summary[f"{until.column}_halfwidth"]
    wider = int((reached > until.halfwidth * (1 + 1e-9)).sum())
    unknown = int(reached.isna().sum())
    if unknown == len(reached):
        return f"No point has a finite {until.column} in every transmission: no half-width."
    return (
        f"95 % half-width of {until.column} over the channel: at most {reached.max():.3g}, "
        f"{until.halfwidth:g} asked; {wider} point(s) ended at max_trials ({until.max_trials})."
        + (f" {unknown} point(s) have transmissions that failed: no half-width." if unknown else "")
    )


def cost_cells(parameters: float, *macs: float) -> list[str]:
    """Millions of parameters and 10^9 of each count of multiply-accumulates; - for what is none."""
    counts = [(parameters, 1e6, "M"), *((count, 1e9, "G") for count in macs)]
    return ["-" if pd.isna(n) else f"{n / unit:.2f} {letter}" for n, unit, letter in counts]


def _tables(title: str, lines: pd.DataFrame, width: int) -> Iterator[Table | str]:
    """A line a codec, a column an SNR (or a CBR, where there is one SNR), ``text`` in the cells.

    lines: of a summary or a comparison. What else tells points apart stands above its codecs.
    """
    if lines.empty:
        return
    axis = "cbr" if lines["snr_db"].nunique() == 1 and lines["cbr"].nunique() > 1 else "snr_db"
    heads = sorted(lines[axis].unique())
    fixed = [
        name
        for name in ("channel", "snr_knowledge", "cbr", "snr_db")
        if name in lines and name != axis and (lines[name].nunique() > 1 or name in _NUMBERS)
    ]
    texts = {head: _heading(axis, head) for head in heads}
    cell = max(map(len, [*lines["text"], *texts.values()]))
    labels = min(_LABEL_LETTERS, max(map(len, lines["label"])))
    at_once = max(1, (width - labels - _BETWEEN) // (cell + _BETWEEN))
    yield title
    for start in range(0, len(heads), at_once):
        block = heads[start : start + at_once]
        yield _block(lines, axis, fixed, block, labels)


def _block(
    lines: pd.DataFrame,
    axis: str,
    fixed: list[str],
    heads: Sequence[float],
    labels: int,
) -> Table:
    """One table of some of the columns, a section for each of what is fixed."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", min_width=labels, max_width=_LABEL_LETTERS, overflow="fold")
    for head in heads:
        table.add_column(_heading(axis, head), justify="right", no_wrap=True)
    for at, section in lines.groupby(fixed, sort=False):
        words = dict(zip(fixed, at, strict=True))
        table.add_row(", ".join(_words(name, value) for name, value in words.items()))
        cells = section.set_index(["label", axis])["text"]
        for label in section["label"].unique():
            table.add_row(label, *(str(cells.get((label, head), "-")) for head in heads))
        table.add_section()
    return table


_NUMBERS = ("cbr", "snr_db")


def _heading(axis: str, value: float) -> str:
    return f"{value:g} dB" if axis == "snr_db" else ratio(value)


def _words(name: str, value: object) -> str:
    if name not in _NUMBERS:
        return str(value)
    assert isinstance(value, float)
    return f"CBR {ratio(value)}" if name == "cbr" else f"SNR {value:g} dB"


def _mean(line: dict[Any, Any], column: Column) -> str:
    value = line[column.name]
    if np.isfinite(value):
        return f"{value:.2f}" if column.unit else f"{value:.3f}"
    return failed_in_words(int(line["not_finite"]), int(line["count"]))


def _gap(line: dict[Any, Any]) -> str:
    """A difference with its interval; nothing for curves that cannot be compared."""
    value, low, high = (line[f"difference{end}"] for end in ("", "_lo", "_hi"))
    if not np.isfinite(value):
        failed = int(line["failed_pairs"])
        return failed_in_words(failed, int(line["pairs"])) if failed else ""
    return f"{value:+.2f}" + ("" if np.isnan(low) else f" [{low:.2f}, {high:.2f}]")


def _cost_table(costs: pd.DataFrame) -> Table:
    """A line a codec: parameters and multiply-accumulates."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("codec", overflow="fold")
    for heading in ("parameters", "MACs", "scan MACs"):
        table.add_column(heading, justify="right", no_wrap=True)
    for codec, *counts in costs.drop(columns="side").itertuples(index=False, name=None):
        table.add_row(codec, *cost_cells(*counts))
    return table


def _curve_table(lines: pd.DataFrame) -> Table:
    """A line a gap between two curves."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("codec", "at", "quantity", "gap, 95 % interval"):
        ours = heading.startswith(("quantity", "gap"))
        justify: Literal["left", "right"] = "right" if heading.startswith("gap") else "left"
        table.add_column(heading, justify=justify, no_wrap=ours, overflow="fold")
    for line in lines.to_dict("records"):
        where = (
            f"SNR {line['snr_db']:g} dB" if pd.isna(line["cbr"]) else f"CBR {ratio(line['cbr'])}"
        )
        where += f", {line['snr_knowledge']}" if "snr_knowledge" in line else ""
        quantity = f"{line['quantity']} ({line['unit']})"
        table.add_row(line["label"], where, quantity, line["text"])
    return table
