"""Summaries against hand-worked means and SciPy's intervals; what is not finite stays visible."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from linksim.errors import InputError
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
    rows = _rows(np.array([[26.0, 27.0], [25.0, 30.0]]))
    rows["failed"] = [True, False, False, False]
    rows["ms_ssim_variant"] = ["win11x5", "win11x5", "win11x4", "win11x4"]
    (line,) = summarise(rows).to_dict("records")
    assert line["psnr"] == 27.0
    assert (line["images"], line["count"]) == (2, 4)
    assert line["failure_rate"] == 0.25
    assert line["cbr_realised"] == pytest.approx(0.08)
    assert line["ms_ssim_variant"] == "win11x4+win11x5"
    # image means 26.5 and 27.5: half of 12.706, Student's t of one degree of freedom, times 1
    assert (line["psnr_lo"], line["psnr_hi"]) == pytest.approx((27 - 6.353, 27 + 6.353), abs=1e-3)


def test_no_interval_passes_what_a_quality_can_be() -> None:
    """Two images: 12.706 times half of their distance, on either side of the mean."""
    rows = _rows(np.array([[20.0], [40.0]])).assign(
        ms_ssim=[0.9, 0.95], ms_ssim_db=[10.0, 13.0], lpips=[0.1, 0.2], lpips_db=[10.0, 7.0]
    )
    line = summarise(rows).iloc[0]
    ends = {name: tuple(line[[f"{name}_lo", f"{name}_hi"]]) for name in ("psnr", "ms_ssim_db")}
    assert ends == {
        "psnr": (0, 100),
        "ms_ssim_db": (0, pytest.approx(11.5 + 12.706 * 1.5, abs=1e-2)),
    }
    assert line[["ms_ssim_lo", "ms_ssim_hi"]].tolist() == pytest.approx([0.607, 1], abs=1e-3)
    assert line[["lpips_lo", "lpips_hi"]].tolist() == pytest.approx([0, 0.785], abs=1e-3)
    assert line[["lpips_db_lo", "lpips_db_hi"]].tolist() == pytest.approx([-10.56, 27.56], abs=1e-2)


def test_interval_agrees_with_a_studentised_bootstrap() -> None:
    """Skewed values, one an image: P. Hall, The Bootstrap and Edgeworth Expansion, section 3.2."""
    values = np.exp(_quality(24)[:, 0] / 10)
    drawn = np.random.default_rng(1).choice(values, size=(40_000, 24))
    ratios = (drawn.mean(axis=1) - values.mean()) / scipy_stats.sem(drawn, axis=1)
    ends = values.mean() - np.quantile(ratios, [0.975, 0.025]) * scipy_stats.sem(values)
    line = summarise(_rows(values[:, None])).iloc[0]
    assert line[["psnr_lo", "psnr_hi"]].tolist() == pytest.approx(ends, abs=0.04 * np.ptp(ends))


def test_interval_of_few_images_is_students() -> None:
    values = _quality(4)
    theirs = scipy_stats.ttest_1samp(values[:, 0], 0).confidence_interval()
    line = summarise(_rows(values)).iloc[0]
    assert line[["psnr_lo", "psnr_hi"]].tolist() == pytest.approx(list(theirs))


@pytest.mark.parametrize("failed", [0, 1, 5, 24])
def test_failure_rate_has_the_exact_interval(failed: int) -> None:
    rows = _rows(_quality(24)).assign(failed=np.arange(24) < failed)
    line = summarise(rows).iloc[0]
    theirs = scipy_stats.binomtest(failed, 24).proportion_ci(method="exact")
    ends = line[["failure_rate_lo", "failure_rate_hi"]].tolist()
    assert ends == pytest.approx(list(theirs))


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
    assert lines["psnr_lo"].nunique() == 1


def test_metrics_are_those_in_the_rows() -> None:
    rows = _rows(_quality(5)).drop(columns="psnr").assign(lpips=0.2, lpips_db=6.99, ebno_db=3.5)
    line = summarise(rows).iloc[0]
    assert {"lpips", "lpips_lo", "lpips_hi", "lpips_db", "ebno_db"} <= set(line.index)
    assert not any(name.startswith(("psnr", "ssim")) for name in line.index)
    assert line[["lpips_lo", "lpips_hi"]].tolist() == pytest.approx([0.2, 0.2])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_visible(value: float) -> None:
    """A mean over the others would say that nothing happened."""
    line = summarise(_rows(np.array([[30.0], [value], [34.0], [32.0]]))).iloc[0]
    assert np.isnan(line[["psnr", "psnr_lo", "psnr_hi"]].astype(float)).all()
    assert (line["failure_rate"], line["not_finite"]) == (0.25, 1)
    assert line["failure_rate_lo"] > 0


def test_nothing_finite_is_no_success() -> None:
    rows = pd.concat([_rows(_quality(3) * np.nan), _rows(_quality(3), label="b")])
    lost, kept = summarise(rows, outage={"psnr": 20}).to_dict("records")
    assert (lost["failure_rate"], lost["psnr_outage"], lost["not_finite"]) == (1, 1, 3)
    assert lost["psnr_q05"] == -np.inf
    assert (kept["failure_rate"], kept["not_finite"]) == (0, 0)


def test_an_estimate_that_a_codec_does_not_give_is_no_failure() -> None:
    rows = pd.concat([_rows(_quality(3), snr_db_estimate=4.0), _rows(_quality(3), label="b")])
    one, other = summarise(rows).to_dict("records")
    assert one["snr_db_estimate"] == 4.0
    assert np.isnan(other["snr_db_estimate"])
    assert other["failure_rate"] == other["not_finite"] == 0


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
