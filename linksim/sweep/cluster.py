"""Points of a sweep as tasks on Dask: some processes here, or the workers of a scheduler.

    plan ──► points ──► scheduler ──► workers: each prepares a codec once, then does point by point
                                                                │
    store ◄── rows and pictures, as each point is finished ◄────┘

Only this process writes to the store. Needs the extra ``linksim[cluster]``.
"""

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import dask
import pandas as pd
import torch
from distributed import Client, LocalCluster, Worker, WorkerPlugin, as_completed, get_worker
from torch import Tensor

from linksim.errors import InputError, one_line
from linksim.metrics.meter import Meter
from linksim.runtime import keep_freed_memory
from linksim.runtime.devices import pick_device
from linksim.sweep.failures import Cause, Failed
from linksim.sweep.options import RunOptions
from linksim.sweep.plan import Plan, Point, plan_sweep
from linksim.sweep.prepare import prepare
from linksim.sweep.prepared import PreparedCodec
from linksim.sweep.scenario import Scenario, as_data
from linksim.sweep.store import Store

CONNECT_SECONDS = 5

_LOGGERS = ("linksim", "baselines")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Done:
    """A finished point: its rows, and the reconstructions [3, H, W] to keep, by image."""

    rows: pd.DataFrame
    pictures: dict[str, Tensor]


def run_points_on_dask(
    plan: Plan,
    points: Sequence[Point],
    store: Store,
    options: RunOptions,
    *,
    on_start: Callable[[Point], None],
    on_image: Callable[[int], None],
) -> dict[str, Failed]:
    """Compute points, to the rows that a serial run gives; those that failed, by their keys.

    The workers of a scheduler must find the files that the scenario names. A point whose worker
    dies is done again by another. InputError for a scheduler that does not answer.
    """
    of_key = {point.key: point for point in points}
    run = f"linksim-{uuid4().hex}"
    session = _Session(run, plan, options)
    failed: dict[str, Failed] = {}
    with _client(options.workers, options.scheduler) as client, _joined(client, session, run):
        client.subscribe_topic(run, _Events(of_key, on_start, on_image))
        futures = client.map(_compute, list(of_key), run=run, pure=False)
        key_of = dict(zip((future.key for future in futures), of_key, strict=True))
        for future in as_completed(futures, raise_errors=False):
            outcome, key = _outcome(future), key_of[future.key]
            future.release()
            if isinstance(outcome, Failed):
                failed[key] = outcome
                continue
            store.write(key, outcome.rows, outcome.pictures)
    return failed


@contextmanager
def _client(workers: int | None, scheduler: str | None) -> Iterator[Client]:
    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=CONNECT_SECONDS)
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"--scheduler {scheduler}: no Dask scheduler answers there ({one_line(error)}); "
                "wanted an address such as tcp://host:8786"
            ) from None
        with client:
            yield client
        return
    settings = {"distributed.scheduler.worker-saturation": 1.0}  # no point waits at a worker
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=0,  # as in a serial run: no worker is paused or ended for its memory
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
            env={"OMP_WAIT_POLICY": "PASSIVE"},  # the workers' threads may outnumber the cores
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def _joined(client: Client, session: "_Session", run: str) -> Iterator[None]:
    """Every worker, and every one that joins later, has the session and tells what it logs."""
    client.register_plugin(session, name=run)
    for name in _LOGGERS:
        client.forward_logging(name, logging.INFO)
    try:
        yield
    finally:
        for name in _LOGGERS:
            client.unforward_logging(name)
        client.unregister_worker_plugin(run)


def _compute(key: str, *, run: str) -> Done | Failed:
    """The task, as a worker does it."""
    session = get_worker().plugins[run]
    assert isinstance(session, _Session)
    return session.compute(key)


class _Session(WorkerPlugin):
    """A sweep on one worker: its plan, made again from the scenario, and its prepared codecs."""

    def __init__(self, run: str, plan: Plan, options: RunOptions) -> None:
        self._run = run
        self._numerics = plan.numerics
        self._scenario = as_data(plan.scenario)  # a user's channel is found by name there, as here
        self._options = options
        self._threads = torch.get_num_threads()  # sums can depend on it in the last bit
        self._plan: Plan | None = None
        self._prepared: dict[tuple[str, int], PreparedCodec] = {}
        self._meter = Meter(plan.scenario.metrics)

    def setup(self, worker: Worker) -> None:
        """Called by Dask on the worker."""
        self._worker = worker
        self._one_at_a_time = threading.Lock()  # generators of random numbers are the process's
        if self._options.scheduler is None:  # a child: Ctrl-C reaches it too; the parent ends it
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        keep_freed_memory()
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.INFO)

    def compute(self, key: str) -> Done | Failed:
        """One point. An error is caught here, since Dask would send a class that may be unknown
        at the other end."""
        with self._one_at_a_time:
            try:
                return self._done(key)
            except Exception as error:
                return Failed.of(error)

    def _done(self, key: str) -> Done:
        torch.set_num_threads(self._threads)
        if self._plan is None:
            self._plan = plan_sweep(Scenario.model_validate(self._scenario), self._numerics)
        plan = self._plan
        point = next((point for point in plan.points if point.key == key), None)
        if point is None:
            raise InputError(
                f"the worker {self._worker.address} has other versions, images or weights than "
                "this process; start the workers from the same environment and files"
            )
        done = 0

        def tell(count: int) -> None:
            nonlocal done
            done += count
            self._worker.log_event(self._run, {"key": key, "done": done})

        tell(0)
        name = point.codec.label, point.seed
        if name not in self._prepared:
            device, batch_size = pick_device(self._options.device), self._options.batch_size
            self._prepared[name] = prepare(plan, point.codec, self._meter, device, batch_size)
        pictures: dict[str, Tensor] = {}

        def keep(image_name: str, image: Tensor) -> None:
            pictures[image_name] = image.cpu()

        return Done(rows=self._prepared[name].rows(point, keep, tell), pictures=pictures)


class _Events:
    """What workers say of their points, as calls of on_start and on_image."""

    def __init__(
        self,
        points: Mapping[str, Point],
        on_start: Callable[[Point], None],
        on_image: Callable[[int], None],
    ) -> None:
        self._points = points
        self._on_start = on_start
        self._on_image = on_image
        self._done: dict[str, int] = {}

    def __call__(self, event: tuple[float, Any]) -> None:
        key, done = event[1]["key"], event[1]["done"]
        point = self._points[key]
        if done == 0:
            if key in self._done:
                _log.warning("a worker died; its point is done again: %s", point.in_words)
            self._on_start(point)
        self._on_image(done - self._done.get(key, 0))
        self._done[key] = done


def _outcome(future: Any) -> Done | Failed:
    """What a task gave. Dask itself gives up a point that took several workers down with it."""
    if future.status == "finished":
        outcome: Done | Failed = future.result()
        return outcome
    error = future.exception()
    reason = str(error) if error is not None else f"the task was {future.status}"
    return Failed(reason=" ".join(reason.split()), cause=Cause.OTHER)
