"""What tables cost, counted and not timed: calls, by how many codecs and points there are."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from linksim.results import compare as comparing
from linksim.results.compare import compare
from linksim.results.stats import summarise
from linksim.sweep import store as storing
from linksim.sweep.store import Store
from tests.helpers.rows import row


def rows_of(*, codecs: int, points: int) -> pd.DataFrame:
    """Three images over curves of four CBRs, at so many SNRs."""
    return pd.DataFrame(
        row(
            f"c{codec}",
            image=f"i{image}",
            snr_db=float(snr_db),
            cbr=cbr,
            psnr=20 + codec + snr_db + 50 * cbr + image**0.5,
        )
        for codec in range(codecs)
        for snr_db in range(points // 4)
        for cbr in (1 / 48, 1 / 24, 1 / 12, 1 / 6)
        for image in range(3)
    )


def calls(function: Callable[[], object]) -> int:
    """How many functions are called, those written in C included."""
    count = 0

    def seen(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(seen)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def test_intervals_of_all_pairs_are_computed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[str] = []
    for name in ("means", "jackknife"):
        whole = getattr(comparing, name)

        def counted(*values: Any, name: str = name, whole: Any = whole) -> Any:
            counts.append(name)
            return whole(*values)

        monkeypatch.setattr(comparing, name, counted)
    found = {}
    for codecs in (3, 12):
        counts.clear()
        table = compare(rows_of(codecs=codecs, points=16))
        assert len(table[["label", "reference"]].drop_duplicates()) == codecs * (codecs - 1) // 2
        found[codecs] = sorted(counts)
    assert "means" in found[3]
    assert "jackknife" in found[3]
    assert found[12] == found[3]


def test_a_pair_costs_few_calls() -> None:
    few, many = (
        calls(lambda n=codecs: compare(rows_of(codecs=n, points=16)))  # type: ignore[misc]
        - calls(lambda n=codecs: rows_of(codecs=n, points=16))  # type: ignore[misc]
        for codecs in (4, 12)
    )
    pairs = 12 * 11 // 2 - 4 * 3 // 2
    assert (many - few) / (pairs * 16) < 100  # at each of 16 points; each alone took thousands


@pytest.mark.parametrize("function", [summarise, compare])
def test_points_cost_in_proportion(function: Callable[[pd.DataFrame], object]) -> None:
    few, many = (rows_of(codecs=2, points=points) for points in (40, 160))
    function(few)  # what is imported and remembered once
    assert calls(lambda: function(many)) < 4.4 * calls(lambda: function(few))


def test_points_are_read_in_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, asked = rows_of(codecs=1, points=4), []
    store = Store(tmp_path)
    for number in range(20):
        store.write(f"key{number:02}", rows)
    read = storing.read_parquets
    monkeypatch.setattr(storing, "read_parquets", lambda paths: asked.append(paths) or read(paths))
    assert len(Store(tmp_path).read([f"key{number:02}" for number in range(20)])) == 20 * len(rows)
    assert [len(paths) for paths in asked] == [20]
