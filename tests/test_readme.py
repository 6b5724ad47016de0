"""The README's example of a codec of one's own, run as it stands."""

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from linksim.results.collect import collect
from linksim.sweep.plan import plan_sweep
from linksim.sweep.run import run_points
from linksim.sweep.scenario import Scenario
from linksim.sweep.store import Store
from linksim.training.recipe import load_recipe
from linksim.training.train import train
from tests.helpers.sweeping import rows_of

README = Path(__file__).parent.parent / "README.md"
KODAK = Path(__file__).parent.parent / "linksim" / "data" / "kodak"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)


def test_the_example_trains_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = blocks("python")[0]
    assert len(code.splitlines()) <= 30
    Path("my_codec.py").write_text(code)
    recipe, codecs, _ = blocks("yaml")
    # Any photographs do for a check that the example works; nothing is measured on these weights.
    Path("photographs").symlink_to(KODAK)
    short = {"steps": 2, "batch_size": 2, "validation": {"every": 2, "snr_db": [7]}}
    Path("my_recipe.yaml").write_text(yaml.safe_dump({**yaml.safe_load(recipe), **short}))
    path = train(load_recipe(Path("my_recipe.yaml")), Path("runs/my_recipe"))

    listed = yaml.safe_load(codecs)["codecs"]
    assert listed[0]["weights"] == str(path)
    scenario = Scenario.model_validate(
        {
            "name": "mine",
            "images": {"crop": 64, "limit": 1},
            "channel": {"type": "rayleigh"},
            "snr_db": [10],
            "cbr": "1/12",
            "metrics": ["psnr"],
            "codecs": listed,
        }
    )
    plan, store = plan_sweep(scenario), Store(tmp_path / "results")
    run_points(plan, store)
    summary: pd.DataFrame = collect(plan, store, tmp_path / "results")
    assert list(summary["label"]) == ["Mine", "bpg_ldpc"]


def test_the_channel_and_the_metric_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _, channel, metric = blocks("python")
    assert max(len(code.splitlines()) for code in (channel, metric)) <= 15
    Path("my_channel.py").write_text(channel)
    Path("my_metric.py").write_text(metric)
    scenario = Scenario.model_validate(
        {
            "name": "mine",
            "images": {"crop": 64, "limit": 1},
            "snr_db": [10],
            "cbr": "1/12",
            "codecs": ["bpg_capacity"],
            **yaml.safe_load(blocks("yaml")[-1]),
        }
    )
    [row] = rows_of(scenario, tmp_path / "results").to_dict("records")
    assert row["channel"].startswith("Nakagami(m=2)")
    assert 0 < row["mean_error"] < 255 * 10 ** (-row["psnr"] / 20)  # below the root mean square


def test_it_names_what_is_there() -> None:
    text = README.read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (README.parent / target).exists(), target
