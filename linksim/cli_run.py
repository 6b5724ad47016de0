"""``linksim run``: plan, progress, tables, and what was found."""

import logging
from itertools import product
from pathlib import Path

import pandas as pd
import torch
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from linksim.devices import pick_device
from linksim.progress import counting_progress
from linksim.results import collect
from linksim.scenario import Scenario, load_scenario
from linksim.store import Store
from linksim.sweep import Plan, Point, plan_sweep, run_points


def run_scenario(
    path: Path,
    *,
    out: Path,
    device: str,
    limit: int | None,
    batch_size: int,
    overwrite: bool,
    console: Console,
) -> None:
    """Work off a scenario file into ``out/<name>``; raises InputError."""
    scenario = _limited(load_scenario(path), limit)
    where = pick_device(device)
    plan = plan_sweep(scenario)
    folder = out / scenario.name
    store = Store(folder)
    if overwrite:
        store.forget(point.key for point in plan.points)
    missing = [point for point in plan.points if point.key not in store]
    if missing:
        _compute(plan, missing, store, where, batch_size, console)
    summary = collect(plan, store, folder)
    console.print(_table(summary, scenario))
    done = len(plan.points) - len(missing)
    console.print(
        f"{len(missing)} of {len(plan.points)} points computed, {done} were finished before."
        if missing
        else f"All {len(plan.points)} points were finished before: nothing to do."
    )
    console.print(f"Tables in {folder}; figures with: python -m linksim plot {folder}")


def _limited(scenario: Scenario, limit: int | None) -> Scenario:
    if limit is None:
        return scenario
    images = scenario.images.model_copy(update={"limit": limit})
    return scenario.model_copy(update={"images": images})


def _compute(
    plan: Plan,
    missing: list[Point],
    store: Store,
    device: torch.device,
    batch_size: int,
    console: Console,
) -> None:
    total = len(missing) * len(plan.items) * plan.scenario.trials
    with counting_progress(console, "{task.description}") as progress:
        task = progress.add_task(plan.scenario.name, total=total)

        # What takes long is told: a codec that measures its channel logs it.
        logging.basicConfig(
            level=logging.WARNING,
            format="%(message)s",
            handlers=[RichHandler(console=console, show_time=False, show_path=False)],
        )
        for name in ("linksim", "baselines"):
            logging.getLogger(name).setLevel(logging.INFO)

        def on_start(point: Point) -> None:
            what = f"{point.codec.name}  cbr {point.cbr:.4f}  {point.snr_db:g} dB"
            if len(plan.links) > 1:
                what += f"  {point.link.shown_name}"
            progress.update(task, description=what)

        run_points(
            plan,
            store,
            device=device,
            batch_size=batch_size,
            on_start=on_start,
            on_image=lambda count: progress.advance(task, count),
        )


def _table(summary: pd.DataFrame, scenario: Scenario) -> Table:
    """Mean of the first metric: a line a channel, CBR and SNR, a column a codec."""
    metric = scenario.metrics[0]
    title = f"{scenario.name}: mean {metric} of {int(summary['images'].iloc[0])} images"
    table = Table(title=title, title_justify="left")
    channels = list(summary["channel"].unique())
    if len(channels) > 1:
        table.add_column("channel")
    for heading in ("CBR", "SNR (dB)", *(codec.name for codec in scenario.codecs)):
        table.add_column(heading, justify="right")
    means = summary.set_index(["codec", "channel", "cbr", "snr_db"])[metric]
    for channel, cbr, snr_db in product(channels, scenario.cbr, scenario.snr_db):
        cells = [f"{means[codec.name, channel, cbr, snr_db]:.2f}" for codec in scenario.codecs]
        where = [channel] if len(channels) > 1 else []
        table.add_row(*where, f"{cbr:.4f}", f"{snr_db:g}", *cells)
    return table
