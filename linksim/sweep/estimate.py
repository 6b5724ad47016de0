"""How long what is missing will take: a few transmissions of each codec, timed here."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from linksim.devices import pick_device
from linksim.metrics.meter import Meter
from linksim.sweep.options import RunOptions
from linksim.sweep.plan import Plan, Point
from linksim.sweep.prepare import prepare


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A codec's missing points and the seconds that they will take in one process.

    seconds counts the fewest trials where a scenario's ``until`` decides how many there will be.
    """

    label: str
    points: int
    missing: int
    seconds: float


def estimates(plan: Plan, missing: Sequence[Point], options: RunOptions) -> list[Estimate]:
    """For each codec of the plan, in its order; raises InputError for one that cannot be built."""
    device = pick_device(options.device)
    until = plan.scenario.until
    trials = plan.scenario.trials if until is None else until.min_trials
    once = plan.scenario.model_copy(update={"trials": 1, "until": None})
    few = replace(plan, scenario=once, items=plan.items[:1])
    meter, found = Meter(plan.scenario.metrics), []
    for settings in plan.scenario.codecs:
        its = [point for point in missing if point.codec is settings]
        seconds = 0.0
        if its:
            start = time.perf_counter()
            prepared = prepare(few, settings, meter, device, options.batch_size)
            prepared.rows(its[0], lambda name, image: None, lambda count: None)
            set_up = time.perf_counter() - start
            start = time.perf_counter()
            prepared.rows(its[-1], lambda name, image: None, lambda count: None)
            one = time.perf_counter() - start
            seconds = set_up + one * len(its) * len(plan.items) * trials
        found.append(
            Estimate(
                label=settings.label,
                points=sum(point.codec is settings for point in plan.points),
                missing=len(its),
                seconds=seconds,
            )
        )
    return found
