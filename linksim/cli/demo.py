"""``linksim demo``."""

from pathlib import Path

from rich.console import Console

from linksim.progress import Counting
from linksim.report.demo import SNRS_DB, write_demo


def show_demo(photo: Path | None, *, out: Path, scenario: str, console: Console) -> None:
    """Write the page and say where it is; raises InputError."""
    with Counting(console, "demo", None) as counting:

        def begin(label: str, codecs: int) -> None:
            counting.begin(f"{label}, one of {codecs} codecs at {len(SNRS_DB)} SNRs")

        path = write_demo(
            out,
            photo,
            scenario=scenario,
            on_start=begin,
            on_done=lambda: counting.advance(1),
        )
    console.print(f"{path}: open it in a browser", soft_wrap=True, highlight=False, markup=False)
