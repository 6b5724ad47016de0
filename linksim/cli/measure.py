"""``linksim complexity`` and ``linksim bench``."""

import json
import math
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from linksim.cli.options import parse_options
from linksim.cli.tables import cost_cells
from linksim.codec_lookup import codec_from_settings, neural_codec_names
from linksim.errors import InputError
from linksim.files.tables import write_table
from linksim.settings import CodecSettings
from linksim.sweep.complexity import complexity


def show_complexity(
    codec: str | None,
    *,
    everything: bool,
    preset: str | None,
    settings: list[str],
    size: int,
    as_json: bool,
    console: Console,
) -> None:
    """Print parameters, MACs and latency of one codec, or of all neural ones."""
    if (codec is None) != everything:
        raise InputError("complexity: name one codec, or give --all")
    if codec is not None:
        wanted = [CodecSettings(codec=codec, preset=preset, options=parse_options(settings))]
    else:
        wanted = [CodecSettings(codec=n, preset=preset or "paper") for n in neural_codec_names()]
    records = [
        {
            "codec": one.codec,
            "preset": one.preset,
            "size": size,
            **asdict(complexity(codec_from_settings(one), size)),
        }
        for one in wanted
    ]
    if as_json:
        print(json.dumps(records[0] if codec is not None else records))
    else:
        console.print(_complexity_table(records))


def write_bench(table: pd.DataFrame, path: Path, console: Console) -> None:
    """Print a bench's table and write it as CSV. What all rows share stands above them."""
    shared = [name for name in table if table[name].nunique(dropna=False) == 1]
    columns = [name for name in table if name not in shared]
    console.print(", ".join(f"{name} {table[name].iloc[0]}" for name in shared))
    shown = Table()
    for name in columns:
        shown.add_column(str(name), justify="right" if table[name].dtype.kind in "if" else "left")
    for row in table[columns].itertuples(index=False):
        shown.add_row(*map(_cell, row))
    console.print(shown)
    write_table(path, table)
    console.print(f"Written to {path}")


def show_own_share(table: pd.DataFrame, console: Console) -> None:
    """Print what share of the time :func:`linksim.bench.codecs.bench_link` found in the codecs."""
    own = table[table["part"].isin(["encode", "decode"])]
    shares = own.groupby(["codec", "preset"], sort=False, as_index=False)["share"].sum()
    for codec, preset, share in shares.itertuples(index=False):
        console.print(f"{codec}:{preset} spends {share:.1%} in its own encode and decode")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.4g}"
    return str(value)


def parse_pairs(pairs: list[str]) -> list[tuple[str, str]]:
    """``name:preset`` strings as pairs; raises InputError."""
    for pair in pairs:
        if pair.count(":") != 1:
            raise InputError(f"bench codec {pair!r}: wanted name:preset, such as mambajscc:paper")
    return [(name, preset) for name, _, preset in (pair.partition(":") for pair in pairs)]


def _complexity_table(records: list[dict[str, object]]) -> Table:
    table = Table(title=f"{records[0]['size']}x{records[0]['size']}, encoder and decoder together")
    for heading in ("codec", "preset"):
        table.add_column(heading)
    for heading in ("parameters", "MACs", "scan MACs", "latency"):
        table.add_column(heading, justify="right")
    for record in records:
        table.add_row(
            str(record["codec"]),
            str(record["preset"] or "-"),
            *cost_cells(*(_number(record[key]) for key in ("parameters", "macs", "scan_macs"))),
            f"{_number(record['latency_ms']):.0f} ms",
        )
    return table


def _number(value: object) -> float:
    """A count; not a number (NaN) for None."""
    if value is None:
        return math.nan
    assert isinstance(value, int | float)
    return value
