"""The tables that ``linksim run`` prints: means, and differences between codecs."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from rich.table import Table

from linksim.metrics.table import find_metric
from linksim.sweep.scenario import Scenario
from linksim.sweep.stopping import Until
from linksim.tables import read_table


def result_tables(summary: pd.DataFrame, folder: Path, scenario: Scenario) -> Iterator[Table]:
    """Means of the first metric, then the other codecs' paired differences from the first one."""
    metric, names = (
        find_metric(scenario.metrics[0]).name,
        [codec.label for codec in scenario.codecs],
    )
    images = int(summary["images"].iloc[0])
    means = summary.assign(text=summary[metric].map("{:.2f}".format))
    yield _table(f"{scenario.name}: mean {metric} of {images} images", means, names, scenario)
    for written, target in (scenario.outage or {}).items():
        name = find_metric(written).name
        rates = summary.assign(text=summary[f"{name}_outage"].map("{:.3f}".format))
        title = f"Outage probability, {name} against a target of {target:g}"
        yield _table(title, rates, names, scenario)
    if scenario.complexity is not None:
        yield _cost_table(read_table(folder / "complexity.csv"))
    if len(names) > 1:
        table = read_table(folder / "compare.csv")
        table = table[(table["reference"] == names[0]) & table["difference"].notna()]
        gaps = table.assign(text=[_with_interval(*v) for v in table[_VALUES].to_numpy()])
        title = f"Paired difference in {metric} from {names[0]}, 95 % interval"
        yield _table(title, gaps[gaps["quantity"] == metric], names[1:], scenario)
        curve = f"{metric}|{metric}_db"
        curves = gaps[gaps["quantity"].str.fullmatch(f"bd_({curve})_over_.*|bd_.*_at_({curve})")]
        if not curves.empty:
            yield _curve_table(f"Mean gap from {names[0]} over whole curves", curves)


def until_in_words(summary: pd.DataFrame, until: Until) -> str:
    """What half-width the points came to."""
    reached = summary[f"{until.column}_halfwidth"]
    wider = int((reached > until.halfwidth * (1 + 1e-9)).sum())
    return (
        f"95 % half-width of {until.column} over the channel: at most {reached.max():.3g}, "
        f"{until.halfwidth:g} asked; {wider} point(s) ended at max_trials ({until.max_trials})."
    )


def cost_cells(parameters: float, *macs: float) -> list[str]:
    """Millions of parameters and 10^9 of each count of multiply-accumulates; - for what is none."""
    counts = [(parameters, 1e6, "M"), *((count, 1e9, "G") for count in macs)]
    return ["-" if pd.isna(n) else f"{n / unit:.2f} {letter}" for n, unit, letter in counts]


_VALUES = ["difference", "difference_lo", "difference_hi"]


def _table(title: str, lines: pd.DataFrame, names: list[str], scenario: Scenario) -> Table:
    """A line a channel, knowledge, CBR and SNR, a column a codec, with ``text`` in the cells."""
    table = Table(title=title, title_justify="left")
    words = ["channel"] if len(scenario.channel) > 1 else []
    words += ["snr_knowledge"] if scenario.snr_knowledge else []
    for heading in (*words, "CBR", "SNR (dB)", *names):
        table.add_column(heading, justify="left" if heading in words else "right")
    at = [*words, "cbr", "snr_db"]
    cells = lines.set_index(["label", *at])["text"]
    for where in lines[at].drop_duplicates().itertuples(index=False, name=None):
        *said, cbr, snr_db = where
        row = [cells.get((name, *where), "-") for name in names]
        table.add_row(*said, f"{cbr:.4f}", f"{snr_db:g}", *row)
    return table


def _cost_table(costs: pd.DataFrame) -> Table:
    """A line a codec: parameters and multiply-accumulates."""
    side = costs["side"].iloc[0]
    title = f"{side}x{side}, encoder and decoder together"
    table = Table("codec", title=title, title_justify="left")
    for heading in ("parameters", "MACs", "scan MACs"):
        table.add_column(heading, justify="right")
    for codec, *counts in costs.drop(columns="side").itertuples(index=False, name=None):
        table.add_row(codec, *cost_cells(*counts))
    return table


def _curve_table(title: str, lines: pd.DataFrame) -> Table:
    """A line a gap between two curves."""
    table = Table(title=title, title_justify="left")
    for heading in ("codec", "at", "quantity", "unit", "gap, 95 % interval"):
        table.add_column(heading, justify="right" if heading.startswith("gap") else "left")
    for line in lines.to_dict("records"):
        where = f"SNR {line['snr_db']:g} dB" if pd.isna(line["cbr"]) else f"CBR {line['cbr']:.4f}"
        where += f", {line['snr_knowledge']}" if "snr_knowledge" in line else ""
        table.add_row(line["label"], where, line["quantity"], line["unit"], line["text"])
    return table


def _with_interval(value: float, low: float, high: float) -> str:
    bounds = "" if pd.isna(low) else f" [{low:.2f}, {high:.2f}]"
    return f"{value:+.2f}{bounds}"
