"""The table of metrics, and metrics of a user's own from scenario to tables."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from linksim.errors import InputError
from linksim.files.tables import read_table
from linksim.metrics.meter import measure
from linksim.metrics.table import COLUMNS, MetricName, find_metric
from linksim.sweep.scenario import Scenario
from tests.helpers.sweeping import rows_of

OWN = """
from linksim.metrics.table import metric

@metric(label="Mean error", unit="levels", better="lower")
def mean_error(images, references):
    return 255 * (images - references).abs().mean((1, 2, 3))

def plain(images, references):
    return images.mean((1, 2, 3))

def scalar(images, references):
    return images.mean()

def meta(images, references):
    return images.mean((1, 2, 3)).to("meta")

def raises(images, references):
    return images @ 3

def psnr(images, references):
    return images.mean((1, 2, 3))

number = 3
"""


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)


def test_columns_say_what_axes_say() -> None:
    assert COLUMNS["psnr"].axis == "PSNR (dB)"
    assert COLUMNS["lpips"].axis == "LPIPS (lower is better)"
    assert COLUMNS["lpips"].missed(0.3) == "LPIPS above 0.3"
    assert COLUMNS["psnr"].missed(25) == "PSNR below 25 dB"


def test_an_own_metric_goes_from_the_scenario_to_every_table(tmp_path: Path) -> None:
    scenario = Scenario.model_validate(
        {
            "name": "own",
            "images": {"crop": 32, "limit": 2},
            "channel": {"type": "awgn"},
            "snr_db": [0, 10],
            "cbr": "1/2",
            "metrics": ["./own.py:mean_error", "psnr"],
            "outage": {"./own.py:mean_error": 8},
            "codecs": [{"codec": "bpg_capacity", "label": name} for name in ("a", "b")],
        }
    )
    rows = rows_of(scenario, tmp_path / "out")
    assert rows["mean_error"].gt(0).all()
    assert rows["mean_error"].lt(255).all()
    summary = read_table(tmp_path / "out" / "summary.csv")
    assert summary["mean_error"].tolist() == pytest.approx(
        rows.groupby(["label", "snr_db"])["mean_error"].mean().tolist()
    )
    lost = rows["mean_error"] > 8  # less is better
    assert summary["mean_error_outage"].tolist() == pytest.approx(
        lost.groupby([rows["label"], rows["snr_db"]]).mean().tolist()
    )
    compared = read_table(tmp_path / "out" / "compare.csv")
    assert set(compared.loc[compared["quantity"] == "mean_error", "unit"]) == {"levels"}


def test_a_plain_function_is_a_metric() -> None:
    images = torch.rand(2, 3, 8, 8)
    values = measure(["./own.py:plain"], images, images)["plain"]
    assert torch.allclose(values, images.mean((1, 2, 3)), atol=1 / 255)
    assert find_metric("./own.py:plain").column.label == "plain"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pnsr", "'pnsr' is none; allowed are psnr, ssim, ms_ssim, lpips and ./file.py:function"),
        ("./none.py:x", "metric file none.py does not exist"),
        ("./own.py:gone", "has no gone"),
        ("./own.py:number", "wanted is a function of images and references"),
        ("./own.py:psnr", "tables have a column psnr already; rename it"),
    ],
)
def test_what_is_no_metric_is_told(name: str, message: str) -> None:
    with pytest.raises(InputError) as told:
        find_metric(name)
    assert message in str(told.value)
    with pytest.raises(ValidationError):
        TypeAdapter(MetricName).validate_python(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("scalar", r"gave \[\] on cpu for one image; wanted is \[B\]"),
        ("meta", r"gave \[1\] on meta for one image; wanted is \[B\]"),
        ("raises", r"own\.py:\d+"),
    ],
)
def test_an_own_metric_that_breaks_its_contract(name: str, message: str) -> None:
    images = torch.rand(1, 3, 8, 8)
    with pytest.raises(InputError, match=message):
        measure([f"./own.py:{name}"], images, images)


def test_it_cannot_change_what_others_measure() -> None:
    Path("own.py").write_text(
        "import torch\n"
        "def spoils(images, references):\n"
        "    torch.set_default_device('meta')\n"
        "    images.zero_(); references.zero_()\n"
        "    return images.mean((1, 2, 3))\n"
    )
    images, references = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    both = measure(["./own.py:spoils", "psnr"], images, references)
    assert torch.equal(both["psnr"], measure(["psnr"], images, references)["psnr"])
    pd.testing.assert_series_equal(pd.Series(both["spoils"].tolist()), pd.Series([0.0]))
