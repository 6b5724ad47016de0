"""Adaptive stopping: the asked half-width is reached and the interval keeps its promise."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from linksim.sweep.plan import plan_sweep
from linksim.sweep.scenario import Scenario
from linksim.sweep.stopping import Until
from tests.helpers.places import HELPERS
from tests.helpers.sweeping import rows_of

THUMBNAIL = f"{HELPERS / 'thumbnail.py'}:Thumbnail"


def until(**changes: object) -> Until:
    settings = {"metric": "psnr", "halfwidth": 0.05, "max_trials": 2000, **changes}
    return Until.model_validate(settings)


@pytest.mark.parametrize("std", [0.02, 0.2, 0.6])
@pytest.mark.parametrize("min_trials", [3, 10])
def test_the_interval_covers_the_truth(std: float, min_trials: int) -> None:
    """95 % of 1,000 repetitions, whether one stage is enough (small std) or not."""
    rule = until(min_trials=min_trials, max_trials=100_000)
    generator = np.random.default_rng(7)
    covered = 0
    for _ in range(1000):
        first = generator.normal(30, std, size=min_trials)
        trials = rule.trials_needed(first)
        # the mean of the trials to come, in one draw
        more = generator.normal(30, std / np.sqrt(max(trials - min_trials, 1)))
        mean = (first.sum() + (trials - min_trials) * more) / trials
        halfwidth = rule.reached(np.concatenate([first, np.empty(trials - min_trials)]))
        assert halfwidth <= 0.05 * (1 + 1e-12)
        covered += abs(mean - 30) <= halfwidth
    assert 930 <= covered <= 970


def test_it_covers_the_truth_where_pictures_are_lost() -> None:
    """Far from Gaussian: of four images a trial, each is lost with one chance in five."""
    rule = until(halfwidth=0.3, max_trials=100_000)
    generator = np.random.default_rng(1)

    def psnr(trials: int) -> np.ndarray:
        return np.where(generator.uniform(size=(trials, 4)) < 0.2, 12.0, 30.0).mean(axis=1)

    covered = 0
    for _ in range(1000):
        first = psnr(10)
        values = np.concatenate([first, psnr(rule.trials_needed(first) - 10)])
        covered += abs(values.mean() - (30 - 0.2 * 18)) <= rule.reached(values) <= 0.3
    assert 930 <= covered <= 970


def test_trials_by_hand() -> None:
    first = np.array([30.0, 31.0, 29.0, 30.0])  # s = sqrt(2/3), t of 3 degrees of freedom: 3.1824
    rule = until(min_trials=4, halfwidth=0.2)
    assert rule.trials_needed(first) == 169  # (3.1824 * 0.81650 / 0.2)^2 = 168.8
    assert until(min_trials=4, halfwidth=0.2, max_trials=50).trials_needed(first) == 50
    assert until(min_trials=4, halfwidth=9).trials_needed(first) == 4
    assert rule.reached(np.concatenate([first, np.zeros(165)])) == pytest.approx(0.19988, abs=1e-5)


def test_bad_settings() -> None:
    for bad, message in (
        ({"halfwidth": 0}, "greater than 0"),
        ({"min_trials": 1}, "greater than or equal to 2"),
        ({"max_trials": 5}, r"max_trials \(5\) is below min_trials \(10\)"),
    ):
        with pytest.raises(ValidationError, match=message):
            until(**bad)


def scenario(**changes: object) -> Scenario:
    settings: dict[str, object] = {
        "name": "test",
        "images": {"source": "kodak", "crop": 64, "limit": 3},
        "channel": {"type": "rayleigh", "coherence": "frame"},
        "snr_db": [5, 25],
        "cbr": 0.02,
        "metrics": ["psnr"],
        "until": {"metric": "psnr", "halfwidth": 0.6, "min_trials": 5, "max_trials": 60},
        "codecs": [{"codec": THUMBNAIL, "label": "thumbnail"}],
    }
    return Scenario.model_validate({**settings, **changes})


def test_a_sweep_stops_by_itself(tmp_path: Path) -> None:
    rows = rows_of(scenario(), tmp_path / "a")
    summary = pd.read_csv(tmp_path / "a" / "summary.csv").set_index("snr_db")
    trials = summary["count"] / summary["images"]
    assert trials.between(5, 60).all()
    assert trials.nunique() > 1  # each point as many as it needs
    assert (summary["psnr_halfwidth"] <= 0.6)[trials < 60].all()
    # whatever the batch
    order = ["snr_db", "image", "trial"]
    three = rows_of(scenario(), tmp_path / "b", batch_size=3)
    sorted_rows = [table.sort_values(order, ignore_index=True) for table in (rows, three)]
    pd.testing.assert_frame_equal(*sorted_rows, check_exact=True)
    # and each trial is the one that a fixed number of trials would meet
    fixed = rows_of(scenario(until=None, trials=5), tmp_path / "c")
    first = rows[rows["trial"] < 5].sort_values(order, ignore_index=True)
    pd.testing.assert_frame_equal(
        first, fixed.sort_values(order, ignore_index=True), check_exact=True
    )


def test_until_belongs_to_the_point() -> None:
    keys = [
        {point.key for point in plan_sweep(scenario(until=value)).points}
        for value in (
            None,
            {"metric": "psnr", "halfwidth": 0.6, "max_trials": 60},
            {"metric": "psnr", "halfwidth": 0.5, "max_trials": 60},
        )
    ]
    assert not keys[0] & keys[1]
    assert not keys[1] & keys[2]
