"""A sweep worked off: codec by codec and point by point here, or shared out by Dask."""

from collections.abc import Callable

import torch

from linksim.errors import InputError
from linksim.metrics.meter import Meter
from linksim.runtime.devices import pick_device
from linksim.sweep.failures import Failed, failure_of
from linksim.sweep.options import RunOptions
from linksim.sweep.plan import Plan, Point
from linksim.sweep.prepare import prepare
from linksim.sweep.store import Store


def run_points(
    plan: Plan,
    store: Store,
    options: RunOptions | None = None,
    *,
    on_start: Callable[[Point], None] = lambda point: None,
    on_image: Callable[[int], None] = lambda count: None,
) -> None:
    """Compute the points that the store does not hold.

    on_start is told each point as it begins, on_image how many transmissions were finished; the
    count is negative where a point begins anew.

    A point that fails does not stop the others: at the end each reason is logged and the first
    raised, as InputError where the user can mend them all, else as PointsFailedError. A disk that
    takes nothing more stops the run at once, with an InputError.
    """
    options = options or RunOptions()
    device = pick_device(options.device)  # a wrong one is told at once
    points = store.unfinished(plan.points)
    if options.distributed and points:
        try:
            from linksim.sweep.cluster import run_points_on_dask
        except ModuleNotFoundError as error:
            raise InputError(
                f"--workers and --scheduler need {error.name}; install it: pip install "
                "'linksim[cluster]'"
            ) from None
        failed = run_points_on_dask(
            plan, points, store, options, on_start=on_start, on_image=on_image
        )
    else:
        failed = _run_here(plan, points, store, device, options.batch_size, on_start, on_image)
    if failed:
        raise failure_of(failed, points, [p for p in plan.points if p.key in store])


def _run_here(
    plan: Plan,
    points: list[Point],
    store: Store,
    device: torch.device,
    batch_size: int,
    on_start: Callable[[Point], None],
    on_image: Callable[[int], None],
) -> dict[str, Failed]:
    """Points in this process; those that failed, by their keys."""
    meter = Meter(plan.scenario.metrics)
    failed: dict[str, Failed] = {}
    for settings in plan.built:
        its_points = [point for point in points if point.codec is settings]
        if not its_points:
            continue
        try:
            prepared = prepare(plan, settings, meter, device, batch_size)
        except Exception as error:
            failed |= dict.fromkeys((point.key for point in its_points), Failed.of(error))
            continue
        for point in its_points:
            on_start(point)
            pictures: dict[str, torch.Tensor] = {}
            done = _Count(on_image)
            try:
                rows = prepared.rows(point, pictures.__setitem__, done.add)
            except Exception as error:
                failed[point.key] = Failed.of(error)
                done.take_back()
                continue
            store.write(point.key, rows, pictures)
    return failed


class _Count:
    """Transmissions of one point, which are taken back where it fails."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell = tell
        self._count = 0

    def add(self, count: int) -> None:
        self._count += count
        self._tell(count)

    def take_back(self) -> None:
        self._tell(-self._count)
