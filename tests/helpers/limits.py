"""What a call may cost."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def limited(*, seconds: float | None = None, megabytes: float | None = None) -> Iterator[None]:
    """Fail where what is inside takes more processor time, or at its peak more memory, than this.

    The memory is measured on Linux only.
    """
    before, start = _memory("VmRSS", forget_peak=True), time.process_time()
    yield
    took, grew = time.process_time() - start, _memory("VmHWM") - before
    assert seconds is None or took <= seconds, f"{took:.2f} s"
    assert megabytes is None or grew <= megabytes, f"{grew:.0f} MB"


def _memory(key: str, *, forget_peak: bool = False) -> float:
    """A figure of proc(5) in megabytes; 0 where there is no such thing."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    if forget_peak:
        Path("/proc/self/clear_refs").write_text("5")
    figures = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(figures[key].split()[0]) / 1024
