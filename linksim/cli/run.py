"""``linksim run``: plan, progress, tables, and what was found."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler

from linksim.cli.tables import result_tables, until_in_words
from linksim.devices import pick_device
from linksim.errors import InputError
from linksim.progress import counting_progress
from linksim.results.collect import collect
from linksim.sweep.plan import Plan, Point, plan_sweep
from linksim.sweep.run import run_points
from linksim.sweep.scenario import Scenario, load_scenario
from linksim.sweep.store import Store


def run_scenario(
    path: Path,
    *,
    out: Path,
    device: str,
    limit: int | None,
    batch_size: int,
    overwrite: bool,
    workers: int | None,
    scheduler: str | None,
    console: Console,
) -> None:
    """Work off a scenario file into ``out/<name>``; raises InputError."""
    scenario = _limited(load_scenario(path), limit)
    run = _runner(device, batch_size, workers, scheduler)
    plan = plan_sweep(scenario)
    folder = out / scenario.name
    store = Store(folder)
    if overwrite:
        store.forget(point.key for point in plan.points)
    missing = [point for point in plan.points if point.key not in store]
    if missing:
        _compute(plan, missing, store, run, console)
    summary = collect(plan, store, folder)
    for table in result_tables(summary, folder, scenario):
        console.print(table)
    if scenario.until is not None:
        console.print(until_in_words(summary, scenario.until))
    done = len(plan.points) - len(missing)
    console.print(
        f"{len(missing)} of {len(plan.points)} points computed, {done} were finished before."
        if missing
        else f"All {len(plan.points)} points were finished before: nothing to do."
    )
    console.print(f"Tables in {folder}; figures with: python -m linksim plot {folder}")


def _runner(
    device: str, batch_size: int, workers: int | None, scheduler: str | None
) -> Callable[..., None]:
    """What computes the points: this process, or Dask."""
    if workers is None and scheduler is None:
        return partial(run_points, device=pick_device(device), batch_size=batch_size)
    if workers is not None and scheduler is not None:
        raise InputError("give --workers or --scheduler, not both: a scheduler has its workers")
    try:
        from linksim.sweep.cluster import run_points_on_dask
    except ModuleNotFoundError as error:
        raise InputError(
            f"--workers and --scheduler need {error.name}; install it: pip install "
            "'linksim[cluster]'"
        ) from None
    if scheduler is None:
        pick_device(device)  # a wrong one is told at once
    return partial(
        run_points_on_dask,
        workers=workers,
        scheduler=scheduler,
        device=device,
        batch_size=batch_size,
    )


def _limited(scenario: Scenario, limit: int | None) -> Scenario:
    if limit is None:
        return scenario
    images = scenario.images.model_copy(update={"limit": limit})
    return scenario.model_copy(update={"images": images})


def _compute(
    plan: Plan,
    missing: list[Point],
    store: Store,
    run: Callable[..., None],
    console: Console,
) -> None:
    until = plan.scenario.until  # then nobody knows how many trials there will be
    total = None if until else len(missing) * len(plan.items) * plan.scenario.trials
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
            what = f"{point.codec.label}  cbr {point.cbr:.4f}  {point.snr_db:g} dB"
            what += f"  {point.knowledge.name}" if point.knowledge else ""
            what += f"  {point.link.shown_name}" if len(plan.links) > 1 else ""
            progress.update(task, description=what)

        run(
            plan,
            store,
            on_start=on_start,
            on_image=lambda count: progress.advance(task, count),
        )
