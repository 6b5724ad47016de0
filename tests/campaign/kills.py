"""A sweep and a training killed at random file operations, and begun again."""

import os
import random
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.campaign.work import Work, import_what_it_needs, run_forked

_OPERATIONS = frozenset(("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"))


def kill_often(work: Work, place: Path, kills: int, seed: int) -> tuple[str, list[str]]:
    """Kill the work so many times, beginning again after each, and compare what it ends in.

    Every folder is begun anew once it has been finished; each is run until it is.
    """
    work.prepare(place)
    import_what_it_needs(work, place)
    draw = random.Random(seed)
    operations = _count_operations(work, place)
    wanted = work.outcome(place / "undisturbed")
    faults: list[str] = []
    killed = finished = 0
    while killed < kills:
        out, first = place / f"run{finished}", killed
        for _ in range(draw.randint(1, 4)):
            at = draw.randint(1, operations)
            status, said = run_forked(work, place, out, before=partial(_kill_at, at, out))
            if status == 0:
                break
            if status != -signal.SIGKILL:
                faults.append(f"{work.name} killed {killed - first} times: {status}: {said[-300:]}")
                break
            killed += 1
        status, said = run_forked(work, place, out)
        name = f"{work.name} after {killed - first} kills (seed {seed}, run {finished})"
        if status:
            faults.append(f"{name}: {status}: {said[-300:]}")
        elif work.outcome(out) != wanted:
            faults.append(f"{name}: another outcome")
        elif left := [path.name for path in out.rglob("*.tmp")]:
            faults.append(f"{name}: leftovers {left}")
        finished += 1
    return f"{killed} kills in {finished} runs, among {operations} file operations", faults


def _count_operations(work: Work, place: Path) -> int:
    """File operations of an undisturbed run, which is left in ``undisturbed``."""
    out, counted = place / "undisturbed", place / "counted.txt"

    def count() -> None:
        _on_operation(out, lambda number: counted.write_text(str(number)))

    status, said = run_forked(work, place, out, before=count)
    if status:
        raise RuntimeError(f"{work.name} does not run: {said}")
    return int(counted.read_text())


def _kill_at(number: int, out: Path) -> None:
    def kill(now: int) -> None:
        if now == number:
            os.kill(os.getpid(), signal.SIGKILL)

    _on_operation(out, kill)


def _on_operation(out: Path, act: Callable[[int], object]) -> None:
    """Call ``act`` with 1, 2, … before each operation on a file below ``out`` that changes it."""
    done = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal done
        if event not in _OPERATIONS or not str(arguments[0]).startswith(str(out)):
            return
        if event == "open" and not _writes(arguments[2]):
            return
        done += 1
        act(done)

    sys.addaudithook(hook)


def _writes(flags: object) -> bool:
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))
