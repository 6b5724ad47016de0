"""Outage probability and quantiles: by hand, and against Rayleigh fading's closed form."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from linksim.metrics.table import COLUMNS
from linksim.results.outage import outage_columns
from linksim.results.stats import summarise
from tests.helpers.places import ROOT

PSNR = COLUMNS["psnr"]


def _rows(values: np.ndarray, metric: str = "psnr") -> pd.DataFrame:
    images, trials = values.shape
    return pd.DataFrame(
        {
            "label": "a",
            "channel": "awgn",
            "snr_db": 4.0,
            "cbr": 1 / 12,
            "image": np.repeat([f"i{i}" for i in range(images)], trials),
            "trial": np.tile(np.arange(trials), images),
            metric: values.flatten(),
        }
    )


def test_by_hand() -> None:
    values = np.arange(40.0).reshape(2, 20)
    columns = outage_columns(_rows(values), PSNR, 10)
    assert columns["psnr_target"] == 10
    assert columns["psnr_outage"] == 0.25  # 0 to 9 of 40; 10 is reached
    assert columns["psnr_q05"] == 1.0  # two of 40 do not pass it
    # all that is lost is of one image of two, which tells next to nothing of all images
    assert columns["psnr_outage_lo"] == pytest.approx(0, abs=0.01)
    assert columns["psnr_outage_hi"] > 0.9
    assert columns["psnr_q05_lo"] == -np.inf


def test_less_is_better_for_lpips() -> None:
    values = np.arange(40.0).reshape(2, 20)
    columns = outage_columns(_rows(values, "lpips"), COLUMNS["lpips"], 35)
    assert columns["lpips_outage"] == 0.1  # 36 to 39
    assert columns["lpips_q95"] == 38.0
    assert columns["lpips_q95_lo"] < 38
    assert columns["lpips_q95_hi"] == np.inf


@pytest.mark.parametrize("lost", [0, 2, 24])
def test_outage_of_independent_images_has_the_exact_interval(lost: int) -> None:
    columns = outage_columns(_rows(np.where(np.arange(24) < lost, 12.0, 30.0)[:, None]), PSNR, 25)
    theirs = scipy_stats.binomtest(lost, 24).proportion_ci(method="exact")
    assert [columns["psnr_outage_lo"], columns["psnr_outage_hi"]] == pytest.approx(list(theirs))


def test_fades_that_are_independent_narrow_the_interval_and_others_do_not() -> None:
    generator = np.random.default_rng(0)
    alike = np.repeat(generator.permutation(24)[:, None] < 6, 20, axis=1)
    apart = generator.permutation(24 * 20).reshape(24, 20) < 6 * 20
    (one, other) = (
        outage_columns(_rows(np.where(lost, 12.0, 30.0)), PSNR, 25) for lost in (alike, apart)
    )
    exact = scipy_stats.binomtest(6, 24).proportion_ci(method="exact")
    assert [one["psnr_outage_lo"], one["psnr_outage_hi"]] == pytest.approx(list(exact), abs=0.03)
    assert other["psnr_outage_hi"] - other["psnr_outage_lo"] < 0.1


def test_what_is_not_finite_is_lost() -> None:
    """Three of eight pictures are no numbers, and four of the others are below the target."""
    values = np.array([np.nan, np.inf, -np.inf, 10, 12, 15, 19, 25])[:, None]
    columns = outage_columns(_rows(values), PSNR, 20)
    assert columns["psnr_outage"] == 7 / 8
    assert columns["psnr_q05"] == -np.inf


def test_rayleigh_fading_against_its_closed_form() -> None:
    """A picture that is lost where |h|^2 SNR < 1: P = 1 - exp(-1/SNR)."""
    snr = 10 ** (6 / 10)
    power = np.random.default_rng(3).exponential(size=(24, 200))
    columns = outage_columns(_rows(np.where(power * snr < 1, 12.0, 30.0)), PSNR, 25)
    truth = 1 - np.exp(-1 / snr)
    assert columns["psnr_outage"] == pytest.approx(truth, abs=0.02)
    assert columns["psnr_outage_lo"] < truth < columns["psnr_outage_hi"]


def test_in_the_summary() -> None:
    values = np.random.default_rng(0).normal(30, 3, size=(6, 4))
    (line,) = summarise(_rows(values), outage={"psnr": 28}).to_dict("records")
    assert line["psnr_outage"] == (values < 28).mean()
    assert line["psnr_q05"] == np.sort(values.ravel())[1]
    (line,) = summarise(_rows(values[:1]), outage={"psnr": 28}).to_dict("records")
    assert np.isnan([line["psnr_outage_lo"], line["psnr_q05_hi"]]).all()
    assert "psnr_outage" not in summarise(_rows(values))


@pytest.mark.parametrize(("label", "bits"), [("QPSK 1/2", 1), ("16-QAM 1/2", 2)])
def test_committed_rows_against_rayleigh_fading(label: str, bits: int) -> None:
    """A fixed scheme fails where log2(1 + |h|^2 SNR) < bits a symbol, P = 1 - exp(-(2^bits-1)/SNR);
    a real code needs up to 1.5 dB more. Within three standard errors."""
    rows = pd.read_parquet(ROOT / "results" / "outage" / "rows.parquet")
    rows = rows[rows["label"].str.endswith(label)]
    for snr_db, failed in rows.groupby("snr_db")["failed"]:
        threshold = (2**bits - 1) / 10 ** (float(snr_db) / 10)
        best, worst = (1 - np.exp(-threshold * 10 ** (loss / 10)) for loss in (0, 1.5))
        margin = 3 * (worst * (1 - worst) / len(failed)) ** 0.5
        assert best - margin <= failed.mean() <= worst + margin
