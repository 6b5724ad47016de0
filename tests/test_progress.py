"""What long work says of itself: a bar on a terminal, lines in a file."""

import io
import time

import pytest

from linksim.cli.console import PlainConsole
from linksim.progress import Counting, Pace, in_words


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_file_gets_a_line_every_half_minute(clock: list[float]) -> None:
    console = PlainConsole(file=io.StringIO(), width=80)
    with Counting(console, "sweep", 100) as counting:
        counting.begin("[red]Ours[/x]  7 dB")
        for _ in range(40):
            clock[0] += 4.0
            counting.advance(1)
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 5  # 160 s
    assert lines[0] == "8 of 100 done, 6 min left; [red]Ours[/x]  7 dB"
    assert lines[-1].startswith("40 of 100 done, 4 min left")


def test_nobody_knows_how_many(clock: list[float]) -> None:
    console = PlainConsole(file=io.StringIO(), width=80)
    with Counting(console, "sweep", None) as counting:
        clock[0] += 31
        counting.advance(3)
    assert console.file.getvalue() == "3 done; sweep\n"


def test_a_terminal_has_a_bar() -> None:
    console = PlainConsole(file=io.StringIO(), width=80, force_terminal=True)
    with Counting(console, "sweep", 4) as counting:
        counting.begin("[red]Ours")
        counting.advance(4)
    assert "[red]Ours" in console.file.getvalue()
    assert "4/4" in console.file.getvalue()


def test_what_was_done_before_does_not_count_for_the_rate(clock: list[float]) -> None:
    pace = Pace(done=900)
    clock[0] += 10
    assert pace.rate(1000) == pytest.approx(10)
    assert pace.left(1000, 2000) == "2 min"
    assert Pace(done=5).left(5, 10) == "an unknown time"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (89, "89 s"), (120, "2 min"), (5400, "1 h 30 min")]
)
def test_durations(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
