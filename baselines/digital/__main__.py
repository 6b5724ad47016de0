r"""The block error rates that ``mcs: best`` rests on, of all schemes over a channel, as a table.

    python -m baselines.digital --channel "{type: rayleigh}" --symbols 8192 \
        --snr-db $(seq 0 0.5 20) --out table.csv
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError
from rich.console import Console

from baselines.digital.bler import BlerTables
from baselines.digital.mcs import MCS_TABLE, plans_by_payload
from linksim.errors import InputError, one_line, printable
from linksim.files import write_atomically
from linksim.files.strict_yaml import read_value
from linksim.link.link import Link, LinkProbe
from linksim.link.lookup import Channel
from linksim.progress import counting_progress
from linksim.settings import Db, Settings, first_error

MAX_SYMBOLS = 1_000_000


class Asked(Settings):
    """What the table is of. symbols: channel uses of an image, pilots among them."""

    channel: Channel
    equalizer: Literal["mmse", "zf"] | None
    symbols: int = Field(ge=1, le=MAX_SYMBOLS)
    snr_db: Annotated[tuple[Db, ...], Field(min_length=1)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the table; a user's mistake is one line on stderr and exit status 2."""
    parser = argparse.ArgumentParser(
        prog="python -m baselines.digital",
        description="Write the block error rates of all schemes over a channel as CSV.",
    )
    parser.add_argument("--channel", required=True, help='as in a scenario: "{type: awgn}"')
    parser.add_argument("--equalizer", choices=["mmse", "zf"], help="by default the channel's")
    parser.add_argument("--symbols", type=int, required=True, help="channel uses of an image")
    parser.add_argument("--snr-db", type=float, nargs="+", required=True)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--out", type=Path, required=True, help="the table")
    options = parser.parse_args(arguments)
    try:
        asked = _asked(options)
        lines = _lines(asked, options.device)
        write_atomically(options.out, lambda place: _write_csv(place, lines))
    except InputError as error:
        print(f"{parser.prog}: {printable(one_line(error))}", file=sys.stderr)
        sys.exit(2)


def _asked(options: argparse.Namespace) -> Asked:
    keys = {key: getattr(options, key) for key in ("equalizer", "symbols", "snr_db")}
    try:
        return Asked(channel=read_value(options.channel, "--channel"), **keys)
    except ValidationError as error:
        raise InputError(f"--{first_error(error)}") from None


def _lines(asked: Asked, device: str) -> list[tuple[Any, ...]]:
    link = Link(asked.channel, asked.equalizer)
    tables = BlerTables(LinkProbe(link), device=device)
    plans = plans_by_payload(link.data_symbols(asked.symbols))
    lines: list[tuple[Any, ...]] = [
        ("snr_db", "mcs_index", "bits_per_symbol", "code_rate", "payload_bits", "bler")
    ]
    with counting_progress(Console(stderr=True), "SNRs") as progress:
        for snr_db in progress.track(asked.snr_db):
            for index, plan in plans:
                mcs, rate = MCS_TABLE[index], tables.bler(plan, snr_db)
                scheme = index, mcs.bits_per_symbol, mcs.code_rate, plan.payload_bits
                lines.append((snr_db, *scheme, round(rate, 4)))
    return lines


def _write_csv(place: Path, lines: Sequence[Sequence[object]]) -> None:
    with place.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)


if __name__ == "__main__":
    main()
