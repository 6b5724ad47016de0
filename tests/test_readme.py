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

README = Path(__file__).parent.parent / "README.md"
KODAK = Path(__file__).parent.parent / "linksim" / "data" / "kodak"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)


def test_the_example_trains_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    assert len(code.splitlines()) <= 30
    Path("my_codec.py").write_text(code)
    recipe, codecs = blocks("yaml")
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
    import torch

    run_points(plan, store, device=torch.device("cpu"))
    summary: pd.DataFrame = collect(plan, store, tmp_path / "results")
    assert list(summary["label"]) == ["Mine", "bpg_ldpc"]


def test_it_names_what_is_there() -> None:
    text = README.read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (README.parent / target).exists(), target
