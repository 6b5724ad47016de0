"""Points on disk: damaged ones are named and computed again, and so are pictures that are gone."""

import logging
from pathlib import Path

import pandas as pd
import pytest
import torch

import linksim
from linksim.errors import InputError
from linksim.sweep.plan import Plan, plan_sweep
from linksim.sweep.run import run_points
from linksim.sweep.scenario import Scenario
from linksim.sweep.store import Store
from tests.helpers.small import settings, write_codec


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    path = write_codec(tmp_path / "c.py", "")
    pictures = {"images": ["kodim01", "kodim02"], "snr_db": 5}
    return plan_sweep(Scenario.model_validate(settings(f"{path}:Flat", pictures=pictures)))


def computed(plan: Plan, folder: Path) -> int:
    started: list[object] = []
    run_points(plan, Store(folder), on_start=started.append)
    return len(started)


def test_damaged_points_are_named_and_computed_again(
    plan: Plan, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert computed(plan, tmp_path) == 2
    assert computed(plan, tmp_path) == 0
    path, other = sorted((tmp_path / "points").glob("*.parquet"))
    good = path.read_bytes()
    for damage in (b"", good[:100], good[:-1], good[:500] + b"\0" + good[501:], other.read_bytes()):
        path.write_bytes(damage)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert computed(plan, tmp_path) == 1, len(damage)
        assert [record.getMessage() for record in caplog.records] == [
            f"{path} is damaged; it is computed again"
        ]
        assert path.read_bytes() == good
    assert computed(plan, tmp_path) == 0


def test_what_is_damaged_later_is_not_read(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path)
    run_points(plan, store)
    (path,) = (tmp_path / "points").glob(f"{plan.points[0].key}*.parquet")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="is not there; run again"):
        store.read([plan.points[0].key])


def test_pictures_that_vanished_or_were_damaged(plan: Plan, tmp_path: Path) -> None:
    computed(plan, tmp_path)
    pictures = sorted((tmp_path / "points").glob("*/*.png"))
    assert len(pictures) == 2
    pictures[0].unlink()
    assert computed(plan, tmp_path) == 1
    pictures[1].write_bytes(b"no picture")
    assert computed(plan, tmp_path) == 1
    assert sorted((tmp_path / "points").glob("*/*.png")) == pictures
    assert computed(plan, tmp_path) == 0


def test_leftovers_of_a_kill_are_swept_away(tmp_path: Path) -> None:
    path = write_codec(tmp_path / "c.py", "")
    points = tmp_path / "small" / "points"
    points.mkdir(parents=True)
    (points / ".abc.parquet.0123.tmp").write_bytes(b"half")
    linksim.run(settings(f"{path}:Flat"), tmp_path)
    assert not list(points.rglob("*.tmp"))


def test_images_whose_names_differ_by_little_have_their_own_pictures(tmp_path: Path) -> None:
    store, names = Store(tmp_path), ["a/b", "a_b", "a b", "A_b", "x" * 500]
    for name in names:
        store.write("key", pd.DataFrame({"psnr": [1.0]}), {name: torch.zeros(3, 4, 4)})
    assert len({store.picture_path("key", name) for name in names}) == len(names)
    with pytest.raises(InputError, match="no picture of 'c'"):
        store.picture_path("key", "c")
