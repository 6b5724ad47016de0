"""Summaries against hand-worked means, scipy's bootstrap and the normal interval."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from linksim.errors import InputError
from linksim.results.intervals import cluster_interval
from linksim.results.stats import summarise


def _rows(values: np.ndarray, **point: object) -> pd.DataFrame:
    """Rows of one point from psnr values [images, trials]."""
    images, trials = values.shape
    return pd.DataFrame(
        {
            "label": "a",
            "codec": "codecs.a",
            "is_bound": False,
            "channel": "awgn",
            "snr_db": 4.0,
            "cbr": 1 / 12,
            "image": np.repeat([f"i{i}" for i in range(images)], trials),
            "trial": np.tile(np.arange(trials), images),
            "psnr": values.flatten(),
            "failed": False,
            "cbr_realised": 0.08,
        }
        | point
    )


def _quality(images: int, trials: int = 1, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (
        30 + 3 * generator.normal(size=(images, 1)) + 0.1 * generator.normal(size=(images, trials))
    )


def test_means_counts_and_rates_by_hand() -> None:
    rows = _rows(np.array([[20.0, 22.0], [30.0, 36.0]]))
    rows["failed"] = [True, False, False, False]
    rows["ms_ssim_variant"] = ["win11x5", "win11x5", "win11x4", "win11x4"]
    (line,) = summarise(rows).to_dict("records")
    assert line["psnr"] == 27.0
    assert (line["images"], line["count"]) == (2, 4)
    assert line["failure_rate"] == 0.25
    assert line["cbr_realised"] == pytest.approx(0.08)
    assert line["ms_ssim_variant"] == "win11x4+win11x5"
    # two images resample to 21, 27 and 33 with weights 1/4, 1/2, 1/4
    assert (line["psnr_lo"], line["psnr_hi"]) == (21.0, 33.0)


def test_interval_agrees_with_scipy() -> None:
    values = np.exp(_quality(24) / 10)  # skewed
    theirs = scipy_stats.bootstrap(
        (values[:, 0],), np.mean, method="percentile", n_resamples=20_000, rng=1
    ).confidence_interval
    line = summarise(_rows(values)).iloc[0]
    width = theirs.high - theirs.low
    assert line["psnr_lo"] == pytest.approx(theirs.low, abs=0.03 * width)
    assert line["psnr_hi"] == pytest.approx(theirs.high, abs=0.03 * width)


def test_interval_of_many_images_is_the_normal_one() -> None:
    values = _quality(4000)
    low, high = cluster_interval(values, np.ones_like(values))[:, 0]
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.08 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.08 * half)


def test_interval_covers_the_true_mean() -> None:
    covered = 0
    for seed in range(400):
        low, high = cluster_interval(_quality(24, seed=seed), np.ones((24, 1)))[:, 0]
        covered += low <= 30 <= high
    assert 0.89 < covered / 400 < 0.97


def test_trials_of_one_image_do_not_narrow_the_interval() -> None:
    one, many = summarise(_rows(_quality(24))).iloc[0], summarise(_rows(_quality(24, 16))).iloc[0]
    widths = [line["psnr_hi"] - line["psnr_lo"] for line in (one, many)]
    assert widths[1] == pytest.approx(widths[0], rel=0.1)


def test_order_of_rows_does_not_matter() -> None:
    rows = _rows(_quality(24, 2))
    shuffled = rows.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(summarise(rows), summarise(shuffled), rtol=1e-12)


def test_codecs_keep_their_order_and_snrs_are_sorted() -> None:
    values = _quality(3)
    points = [("mamba", 7.0), ("bpg", 10.0), ("mamba", 1.0), ("bpg", -2.0)]
    rows = pd.concat([_rows(values, label=codec, snr_db=snr) for codec, snr in points])
    lines = summarise(rows)
    expected = [("mamba", 1.0), ("mamba", 7.0), ("bpg", -2.0), ("bpg", 10.0)]
    assert list(zip(lines["label"], lines["snr_db"], strict=True)) == expected
    # every codec meets the same draws: equal values give equal intervals
    assert lines["psnr_lo"].nunique() == 1


def test_metrics_are_those_in_the_rows() -> None:
    rows = _rows(_quality(5)).drop(columns="psnr").assign(lpips=0.2, lpips_db=6.99, ebno_db=3.5)
    line = summarise(rows).iloc[0]
    assert {"lpips", "lpips_lo", "lpips_hi", "lpips_db", "ebno_db"} <= set(line.index)
    assert not any(name.startswith(("psnr", "ssim")) for name in line.index)
    assert line[["lpips_lo", "lpips_hi"]].tolist() == pytest.approx([0.2, 0.2])


def test_missing_values_are_left_out() -> None:
    line = summarise(_rows(np.array([[30.0], [np.nan], [34.0], [32.0]]))).iloc[0]
    assert line["psnr"] == 32.0
    assert 30 <= line["psnr_lo"] < 32 < line["psnr_hi"] <= 34


def test_one_image_has_no_interval() -> None:
    line = summarise(_rows(_quality(1, 4))).iloc[0]
    assert np.isnan([line["psnr_lo"], line["psnr_hi"]]).all()
    assert line["images"] == 1


def test_missing_column() -> None:
    with pytest.raises(InputError, match="rows: no column cbr, image; found label,"):
        summarise(_rows(_quality(2)).drop(columns=["cbr", "image"]))


def test_transmissions_have_a_mean_and_a_distribution() -> None:
    rows = _rows(_quality(4), transmissions=[1, 1, 2, 4], cbr_realised=[0.02, 0.02, 0.04, 0.08])
    plain = _rows(_quality(4), label="b")
    line, other = summarise(pd.concat([rows, plain])).to_dict("records")
    assert line["transmissions"] == 2
    assert [line[f"transmissions_{n}"] for n in (1, 2, 4)] == [0.5, 0.25, 0.25]
    assert line["cbr_realised"] == pytest.approx(0.04)
    assert np.isnan(other["transmissions"])
