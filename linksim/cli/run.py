"""``linksim run`` and ``linksim scenarios``: plan, progress, tables, and what was found."""

import logging
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from linksim.cli.tables import result_tables, until_in_words
from linksim.entrance import PreparedRun, prepare_run
from linksim.progress import Counting, in_words
from linksim.sweep.estimate import estimates
from linksim.sweep.options import RunOptions
from linksim.sweep.plan import Point
from linksim.sweep.shipped import about_scenario, scenario_names, scenario_path


def run_scenario(
    scenario: str,
    *,
    out: Path,
    limit: int | None,
    options: RunOptions,
    overwrite: bool,
    dry: bool,
    console: Console,
) -> None:
    """Work off a scenario into ``out/<name>``, or say what that would be; raises InputError."""
    _log_to(console)
    run = prepare_run(scenario, out, limit=limit, numerics=options.numerics)
    if dry:
        _show_what_is_left(run, options, overwrite=overwrite, console=console)
        return
    plan, folder = run.plan, run.folder
    summary = _finish(run, options, overwrite=overwrite, console=console)
    for table in result_tables(summary, folder, plan.scenario, width=console.width):
        console.print(table)
    if plan.scenario.until is not None:
        console.print(until_in_words(summary, plan.scenario.until))
    computed = len(plan.points) if overwrite else len(run.missing)
    done = len(plan.points) - computed
    console.print(
        f"{computed} of {len(plan.points)} points computed, {done} were finished before."
        if computed
        else f"All {len(plan.points)} points were finished before: nothing to do."
    )
    console.print(f"Tables in {folder}; figures with: python -m linksim plot {folder}")


def list_scenarios(name: str | None, console: Console) -> None:
    """The shipped scenarios with their first words, or the text of one; raises InputError."""
    if name is not None:
        print(scenario_path(name).read_text(encoding="utf-8"), end="")
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for known in scenario_names():
        table.add_row(known, about_scenario(known))
    console.print(table)
    console.print("Run one by its name: linksim run quick. Its text: linksim scenarios quick")


def _show_what_is_left(
    run: PreparedRun, options: RunOptions, *, overwrite: bool, console: Console
) -> None:
    """A line a codec: its points, those that are there, and how long the others will take."""
    missing = run.plan.points if overwrite else run.missing
    table = Table(title=f"{run.plan.scenario.name}, into {run.folder}", title_justify="left")
    for heading in ("codec", "points", "there", "to compute", "time"):
        table.add_column(heading, justify="left" if heading == "codec" else "right")
    found = estimates(run.plan, missing, options)
    for one in found:
        there = one.points - one.missing
        cells = map(str, (one.points, there, one.missing))
        table.add_row(one.label, *cells, in_words(one.seconds) if one.missing else "-")
    console.print(table)
    points = len(run.plan.points)
    least = "at least " if run.plan.scenario.until else ""
    shared = f", shared by {options.workers} workers" if options.workers else ""
    total = in_words(sum(one.seconds for one in found))
    console.print(
        f"{len(missing)} of {points} points are to be computed: {least}{total}{shared}."
        if missing
        else f"All {points} points are there: nothing to compute."
    )


def _log_to(console: Console) -> None:
    """What takes long is told, such as a codec that measures its channel, and what is amiss."""
    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=console, show_time=False, show_path=False)],
    )
    for name in ("linksim", "baselines"):
        logging.getLogger(name).setLevel(logging.INFO)


def _finish(
    run: PreparedRun, options: RunOptions, *, overwrite: bool, console: Console
) -> pd.DataFrame:
    """Compute what is missing under a progress bar; returns the summary."""
    scenario, links = run.plan.scenario, run.plan.links
    missing = run.plan.points if overwrite else run.missing
    if not missing:
        return run.finish(options)
    transmissions = len(missing) * len(run.plan.items) * scenario.trials
    # with until nobody knows how many trials there will be
    total = None if scenario.until else transmissions
    with Counting(console, scenario.name, total) as progress:

        def on_start(point: Point) -> None:
            what = f"{point.codec.label}  cbr {point.cbr:.4f}  {point.snr_db:g} dB"
            what += f"  {point.knowledge.name}" if point.knowledge else ""
            what += f"  {point.link.shown_name}" if len(links) > 1 else ""
            progress.begin(what)

        return run.finish(
            options, overwrite=overwrite, on_start=on_start, on_image=progress.advance
        )
