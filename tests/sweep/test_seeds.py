"""Several trainings of one recipe under one label."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import linksim
from linksim.codec_lookup import build_codec, resolved_options
from linksim.errors import InputError
from linksim.files.tables import read_table
from linksim.settings import CodecSettings
from linksim.sweep.plan import plan_sweep
from linksim.sweep.scenario import Scenario
from tests.helpers.small import settings

CODEC = {"codec": "deepjscc", "preset": "small"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two files of weights, of two seeds."""
    folder, files = tmp_path_factory.mktemp("weights"), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        codec = build_codec("deepjscc", preset="small")
        path = folder / f"{seed}.safetensors"
        options = resolved_options(CodecSettings.model_validate(CODEC))
        codec.save(path, options=options, card={"seed": seed})  # type: ignore[attr-defined]
        files.append(str(path))
    return files


def run(folder: Path, *codecs: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    linksim.run(settings(*codecs, snr_db=5), folder)
    place = folder / "small"
    return read_table(place / "rows.parquet"), read_table(place / "summary.csv")


def test_they_stand_as_repetitions_under_one_label(tmp_path: Path, trained: list[str]) -> None:
    """As rows of two codecs, and a mean over both; nothing is computed twice."""
    one, two = ({**CODEC, "label": name, "weights": trained[i]} for i, name in enumerate("ab"))
    apart, _ = run(tmp_path, one, two)
    stored = sorted(path.name for path in (tmp_path / "small").rglob("*.parquet"))
    rows, summary = run(tmp_path, {**CODEC, "label": "both", "seeds": trained})
    assert sorted(path.name for path in (tmp_path / "small").rglob("*.parquet")) == stored
    assert rows["label"].unique() == ["both"]
    assert rows["seed"].tolist() == [0, 0, 1, 1]
    assert rows["psnr"].tolist() == apart["psnr"].tolist()
    assert summary["psnr"].item() == pytest.approx(apart["psnr"].mean())
    assert summary[["images", "count", "trainings"]].to_numpy().tolist() == [[2, 4, 2]]
    means = rows.groupby("seed")["psnr"].mean()
    assert summary["psnr_hi"].item() - summary["psnr"].item() > np.ptp(means) / 2


def test_pairs_of_seeds_are_compared_as_such(tmp_path: Path, trained: list[str]) -> None:
    """Two labels of the same trainings do not differ at all, pair by pair."""
    codecs = [
        {**CODEC, "label": "a", "seeds": trained},
        {**CODEC, "label": "b", "seeds": trained},
    ]
    widths = []
    for paired in (False, True):
        linksim.run(settings(*codecs, snr_db=5, paired_seeds=paired), tmp_path)
        line = read_table(tmp_path / "small" / "compare.csv").set_index("quantity").loc["psnr"]
        widths.append(line["difference_hi"] - line["difference_lo"])
    assert widths[0] > 0.1
    assert widths[1] == 0


def test_a_codec_of_one_training_stands_beside_them(tmp_path: Path, trained: list[str]) -> None:
    rows, summary = run(tmp_path, {**CODEC, "label": "both", "seeds": trained}, "bpg_capacity")
    assert rows.groupby("label", sort=False)["seed"].nunique().tolist() == [2, 1]
    assert summary["trainings"].tolist() == [2, 1]
    gaps = read_table(tmp_path / "small" / "compare.csv")
    assert gaps["pairs"].tolist() == [2]


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        (["1"], "at least 2"),
        (["1", "1"], "'1' stands twice"),
    ],
)
def test_mistakes_are_told(seeds: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Scenario.model_validate(settings({**CODEC, "seeds": seeds}))


def test_weights_and_seeds_do_not_go_together(trained: list[str]) -> None:
    with pytest.raises(ValueError, match="only one of them"):
        Scenario.model_validate(settings({**CODEC, "seeds": trained, "weights": trained[0]}))


def test_trainings_of_different_codecs_are_refused(trained: list[str]) -> None:
    other = [trained[0], "zoo:deepjscc-small-awgn-1db-muon"]
    codec = {"codec": "deepjscc", "seeds": other}
    scenario = Scenario.model_validate(settings(codec))
    assert plan_sweep(scenario).points  # both are of the preset small
    torch.manual_seed(3)
    wider = build_codec("deepjscc", options={})
    path = Path(trained[0]).with_name("wide.safetensors")
    wider.save(path, options=resolved_options(CodecSettings(codec="deepjscc")), card={})  # type: ignore[attr-defined]
    different = Scenario.model_validate(settings({**codec, "seeds": [trained[0], str(path)]}))
    with pytest.raises(InputError, match="trainings of one recipe"):
        plan_sweep(different)
