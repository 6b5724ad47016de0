"""A scenario run as users run it, for the tests of what sweeps give."""

from pathlib import Path

import pandas as pd

from linksim.results.collect import collect
from linksim.sweep.options import RunOptions
from linksim.sweep.plan import Plan, plan_sweep
from linksim.sweep.run import run_points
from linksim.sweep.scenario import Scenario
from linksim.sweep.store import Store


def rows_of(scenario: Scenario, folder: Path, batch_size: int = 1) -> pd.DataFrame:
    """The rows that a run into ``folder`` leaves."""
    return rows_of_plan(plan_sweep(scenario), folder, batch_size)


def rows_of_plan(plan: Plan, folder: Path, batch_size: int = 1) -> pd.DataFrame:
    """The same for a scenario that is planned already."""
    store = Store(folder)
    run_points(plan, store, RunOptions(device="cpu", batch_size=batch_size))
    collect(plan, store, folder)
    return pd.read_parquet(folder / "rows.parquet")
