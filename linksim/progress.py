"""How far long commands are: a bar on a terminal, else lines."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from linksim.errors import printable

LINE_EVERY = 30.0
"""Seconds between two lines where there is no terminal."""


class Pace:
    """When a line is due, and how long the rest takes. done: what was finished before."""

    def __init__(self, done: int = 0) -> None:
        self._first = done
        self._began = self._told = time.monotonic()

    def due(self) -> bool:
        """Whether half a minute has gone since this last was true."""
        now = time.monotonic()
        if now - self._told < LINE_EVERY:
            return False
        self._told = now
        return True

    def rate(self, done: int) -> float:
        """How many a second, since the start."""
        return (done - self._first) / max(time.monotonic() - self._began, 1e-9)

    def left(self, done: int, total: int) -> str:
        """How long the rest takes at this rate, in words."""
        rate = self.rate(done)
        return in_words((total - done) / rate) if rate > 0 else "an unknown time"


class Counting:
    """What a sweep counts, told while it is open: a bar on a terminal, else a line when a point
    begins, if half a minute has gone, with what is done, of how many, and the time left.

    total: how many there will be; None where nobody knows.
    """

    def __init__(self, console: Console, name: str, total: int | None) -> None:
        self._console, self._name, self._total = console, name, total
        self._done, self._pace = 0, Pace()
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar = counting_progress(self._console, "{task.description}")
            self._task = self._bar.add_task(escape(printable(self._name)), total=self._total)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, what: str) -> None:
        """Say what begins now."""
        self._name = what
        if self._bar is not None:
            self._bar.update(self._task, description=escape(printable(what)))

    def advance(self, count: int) -> None:
        """Count so many as done; a negative number for what is done again."""
        self._done += count
        if self._bar is not None:
            self._bar.advance(self._task, count)
        elif self._pace.due():
            self._console.print(self._line(), soft_wrap=True, highlight=False, markup=False)

    def _line(self) -> str:
        if self._total is None:
            return f"{self._done} done; {self._name}"
        left = self._pace.left(self._done, self._total)
        return f"{self._done} of {self._total} done, {left} left; {self._name}"


def counted_images(count: int) -> str:
    """1 image, 2 images."""
    return f"{count} image" + ("" if count == 1 else "s")


def in_words(seconds: float) -> str:
    """A duration: seconds up to 90 of them, then minutes, then hours."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def counting_progress(console: Console, first: str, last: str = "") -> Progress:
    """A bar with what is done of how many, the time gone and the time left.

    first, last: what stands before and after it, in rich's format, such as
    ``{task.description}``.
    """
    return Progress(
        TextColumn(first),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        *([TextColumn(last)] if last else []),
        console=console,
    )
