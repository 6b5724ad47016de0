"""``linksim benchmark``: run a codec, check a results file, make the page of a folder."""

from pathlib import Path

from rich.console import Console

from linksim.benchmark.check import check_result
from linksim.benchmark.page import in_lines, write_page
from linksim.benchmark.protocols import NAME, load_entrant
from linksim.benchmark.result import QUALITIES, in_words, read_result
from linksim.benchmark.run import run_benchmark
from linksim.errors import InputError
from linksim.progress import Counting
from linksim.sweep.options import RunOptions
from linksim.sweep.plan import Point


def benchmark(
    *, codec: Path | None, check: Path | None, out: Path, options: RunOptions, console: Console
) -> None:
    """Do what was asked for; raises InputError."""
    if codec is not None and check is not None:
        raise InputError("give --codec or --check, not both")
    if check is not None:
        _print(console, check_result(check, device=options.device))
        return
    if codec is not None:
        _run(codec, out, options, console)
    _print(console, [f"{write_page(out)}: {NAME}, all results of {out}"])


def _run(codec: Path, out: Path, options: RunOptions, console: Console) -> None:
    entrant = load_entrant(codec)
    with Counting(console, NAME, None) as counting:

        def begin(protocol: str, point: Point) -> None:
            counting.begin(f"{protocol}, {point.in_words}")

        path = run_benchmark(entrant, out, options, on_start=begin, on_image=counting.advance)
    result = read_result(path)
    names = ", ".join(in_words(name) for name in QUALITIES)
    _print(console, [f"{entrant.label}: {names}, with 95 % intervals over images"])
    _print(console, in_lines(result))
    _print(console, [f"{path}: the results file, to send with what repeats it (CONTRIBUTING.md)"])


def _print(console: Console, lines: list[str]) -> None:
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
