"""How long what is missing will take: a few transmissions of each codec, timed here."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from linksim.images.sets import ImageItem
from linksim.metrics.meter import Meter
from linksim.runtime.devices import pick_device
from linksim.sweep.options import RunOptions
from linksim.sweep.plan import Plan, Point
from linksim.sweep.prepare import prepare
from linksim.sweep.prepared import PreparedCodec


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
    """For each training of each codec, in order; raises InputError for one that cannot be built."""
    device = pick_device(options.device)
    until = plan.scenario.until
    trials = plan.scenario.trials if until is None else until.min_trials
    once = plan.scenario.model_copy(update={"trials": 1, "until": None})
    meter, found = Meter(plan.scenario.metrics), []
    for settings in plan.built:
        its = [point for point in missing if point.codec is settings]
        seconds = 0.0
        if its:
            start = time.perf_counter()
            few = replace(plan, scenario=once, items=plan.items[:1])
            prepared = prepare(few, settings, meter, device, options.batch_size)
            seconds = time.perf_counter() - start
            costs = [_costs(prepared, point, plan.items[-1:]) for point in (its[0], its[-1])]
            set_up, one = (sum(each) / len(costs) for each in zip(*costs, strict=True))
            seconds += len(its) * (set_up + one * len(plan.items) * trials)
        found.append(
            Estimate(
                label=settings.label,
                points=sum(point.codec is settings for point in plan.points),
                missing=len(its),
                seconds=seconds,
            )
        )
    return found


def _costs(
    prepared: PreparedCodec, point: Point, others: Sequence[ImageItem]
) -> tuple[float, float]:
    """Seconds that setting up a point takes, and one image of it: the first one's and another's."""
    first = _timed(prepared, point)
    one = _timed(prepared.over(others), point)
    return max(first - one, 0.0), one


def _timed(prepared: PreparedCodec, point: Point) -> float:
    start = time.perf_counter()
    prepared.rows(point, lambda name, image: None, lambda count: None)
    return time.perf_counter() - start
