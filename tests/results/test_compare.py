"""Paired comparison: differences by hand, intervals against SciPy and on the committed rows."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from linksim.results.compare import compare
from linksim.results.intervals import holm
from tests.helpers.places import ROOT

ROWS = ROOT / "results" / "rayleigh_sweep" / "rows.parquet"


def _rows(
    label: str, psnr: np.ndarray, *, snr_db: float = 4.0, cbr: float = 1 / 12, **more: object
) -> pd.DataFrame:
    """Rows of one point from psnr values [images, trials]."""
    images, trials = psnr.shape
    return pd.DataFrame(
        {
            "label": label,
            "channel": "awgn",
            "snr_db": snr_db,
            "cbr": cbr,
            "image": np.repeat([f"i{i}" for i in range(images)], trials),
            "trial": np.tile(np.arange(trials), images),
            "psnr": psnr.flatten(),
            "cbr_realised": cbr,
        }
        | more
    )


def test_differences_by_hand() -> None:
    a = _rows("a", np.array([[20.0, 22.0], [30.0, 36.0]]))
    b = _rows("b", np.array([[21.0, 25.0], [30.0, 38.0]]))
    (line,) = compare(pd.concat([a, b])).to_dict("records")
    assert (line["label"], line["reference"]) == ("b", "a")
    assert (line["quantity"], line["unit"], line["images"], line["pairs"]) == ("psnr", "dB", 2, 4)
    # images differ by 2 and 1 in the mean: half of 12.706, Student's t of one degree of freedom
    ends = [line[f"difference{end}"] for end in ("", "_lo", "_hi")]
    assert ends == pytest.approx([1.5, 1.5 - 6.353, 1.5 + 6.353], abs=1e-3)


def test_only_what_both_sent_is_compared() -> None:
    a = _rows("a", np.array([[20.0, 22.0, 90.0], [30.0, 36.0, 90.0]]))
    b = _rows("b", np.array([[21.0, 23.0], [31.0, 37.0]]))
    (line,) = compare(pd.concat([a, b])).to_dict("records")
    assert (line["difference"], line["pairs"]) == (1.0, 4)


def test_each_codec_against_each_before_it_at_each_belief() -> None:
    values = np.random.default_rng(0).normal(30, 3, size=(5, 1))
    rows = pd.concat(
        _rows(codec, values + gain, snr_db=snr_db, snr_knowledge=known)
        for codec, gain in (("a", 0), ("b", 1), ("c", 3))
        for snr_db in (1.0, 7.0)
        for known in ("right", "wrong")
    )
    table = compare(rows)
    assert len(table) == 3 * 2 * 2
    gaps = table.groupby(["label", "reference"])["difference"].unique().map(list)
    assert gaps["b", "a"] == pytest.approx([1])
    assert gaps["c", "a"] == pytest.approx([3])
    assert gaps["c", "b"] == pytest.approx([2])
    # what is alike for every image has no spread
    assert table["difference_lo"].tolist() == pytest.approx(table["difference_hi"].tolist())


def test_paired_is_narrower_than_unpaired_on_real_rows() -> None:
    rows = pd.read_parquet(ROWS)
    rows = rows[rows["label"].isin(["MambaJSCC", "BPG + LDPC", "BPG at capacity"])]
    table = compare(rows)
    points = table[table["quantity"] == "psnr"]
    assert len(points) == 30
    for line in points.itertuples():
        at = rows[(rows["snr_db"] == line.snr_db)].set_index("image")
        one, other = (at.loc[at["label"] == name, "psnr"] for name in (line.label, line.reference))
        unpaired = scipy_stats.bootstrap(
            (one, other),
            lambda x, y, axis: x.mean(axis) - y.mean(axis),
            method="percentile",
            n_resamples=2000,
            rng=1,
        ).confidence_interval
        paired = scipy_stats.ttest_rel(one, other).confidence_interval()
        width = line.difference_hi - line.difference_lo
        assert width < 0.8 * (unpaired.high - unpaired.low)
        assert width == pytest.approx(paired.high - paired.low, rel=0.25)
        assert line.difference == pytest.approx((one - other).mean())


def test_gaps_between_curves() -> None:
    images = np.random.default_rng(0).normal(0, 3, size=(6, 1))
    gains = np.linspace(0.5, 1.5, 6)[:, None]  # of codec b, in dB, image by image
    cbrs = [0.01, 0.02, 0.04, 0.08]
    rows = pd.concat(
        _rows(codec, 22 + 3 * i + images + gain, cbr=cbr)
        for codec, gain in (("a", 0), ("b", gains))
        for i, cbr in enumerate(cbrs)
    )
    table = compare(rows).set_index("quantity")
    psnr, cbr = table.loc["bd_psnr_over_cbr"], table.loc["bd_cbr_at_psnr"]
    assert np.isnan(psnr["cbr"])
    assert psnr["snr_db"] == 4
    assert psnr["difference"] == pytest.approx(1.0)
    low, high = psnr["difference_lo"], psnr["difference_hi"]
    point = table[table["cbr"] == 0.01].iloc[0]
    assert point["difference"] == pytest.approx(1.0)
    theirs = scipy_stats.ttest_1samp(gains[:, 0], 0).confidence_interval()  # the gap is linear here
    assert (low, high) == pytest.approx(tuple(theirs))
    # 3 dB a doubling: a gain of x dB saves 1 - 2^(-x/3)
    assert cbr["difference"] == pytest.approx(100 * (2 ** (-1 / 3) - 1))
    assert cbr["difference_lo"] == pytest.approx(100 * (2 ** (-high / 3) - 1))
    assert cbr["difference_hi"] == pytest.approx(100 * (2 ** (-low / 3) - 1))


def test_gaps_over_the_snr_are_labelled_as_such() -> None:
    values = np.zeros((2, 1))
    rows = pd.concat(
        _rows(codec, values + 20 + 0.5 * snr_db + gain, snr_db=snr_db)
        for codec, gain in (("a", 0), ("b", 1))
        for snr_db in (1.0, 4.0, 7.0, 10.0)
    )
    table = compare(rows).set_index("quantity")
    assert table.loc["bd_psnr_over_snr", "difference"] == pytest.approx(1)
    assert table.loc["bd_snr_at_psnr", "difference"] == pytest.approx(-2)  # dB of SNR saved
    assert table.loc[["bd_psnr_over_snr", "bd_snr_at_psnr"], "snr_db"].isna().all()
    assert not table.index.str.contains("cbr").any()  # one CBR makes no curve


def test_curves_that_share_no_range_have_no_gap() -> None:
    rows = pd.concat(
        _rows(codec, np.array([[base + snr_db], [base + snr_db]]), snr_db=snr_db)
        for codec, base in (("a", 0), ("b", 50))
        for snr_db in (1.0, 4.0, 7.0, 10.0)
    )
    table = compare(rows).set_index("quantity")
    assert table.loc["bd_psnr_over_snr", "difference"] == pytest.approx(50)
    gap = table.loc["bd_snr_at_psnr", ["difference", "difference_lo", "difference_hi"]]
    assert gap.isna().all()


@pytest.mark.filterwarnings("error")
def test_what_only_one_reports_is_left_out() -> None:
    values = np.random.default_rng(0).normal(30, 3, size=(5, 1))
    rows = pd.concat(
        _rows("a", values + snr_db, snr_db=snr_db, accuracy=1.0) for snr_db in (1.0, 4.0, 7.0, 10.0)
    )
    other = rows.drop(columns="accuracy").assign(label="b", psnr=rows["psnr"] + 1)
    table = compare(pd.concat([rows, other]))
    assert set(table["quantity"]) == {"psnr", "bd_psnr_over_snr", "bd_snr_at_psnr"}


def test_one_image_has_no_interval() -> None:
    rows = pd.concat(
        _rows(codec, np.array([[20.0 + snr_db]]), snr_db=snr_db)
        for codec in ("a", "b")
        for snr_db in (1.0, 4.0, 7.0, 10.0)
    )
    table = compare(rows)
    assert table["difference"].tolist() == pytest.approx([0] * 6)
    assert table[["difference_lo", "difference_hi"]].isna().all(axis=None)


def test_pairs_that_failed_stay_visible() -> None:
    rows = pd.concat(
        [
            _rows("a", np.array([[20.0], [30.0], [np.nan]])),
            _rows("b", np.array([[21.0], [31.0], [31.0]])),
            _rows("c", np.full((3, 1), np.inf)),
        ]
    )
    table = compare(rows).set_index(["label", "reference"])
    assert table["difference"].isna().all()
    assert not table["holm"].any()
    assert table["pairs"].tolist() == [3, 3, 3]
    assert table["failed_pairs"].tolist() == [1, 3, 3]


def test_holms_correction_by_hand() -> None:
    """The 5 % are shared among the tests that are left: 0.05/4, 0.05/3, 0.05/2, 0.05."""
    p_values = np.array([0.03, 0.001, np.nan, 0.016, 0.04])
    assert holm(p_values).tolist() == [False, True, False, True, False]
    assert holm(np.array([0.02, 0.02])).tolist() == [True, True]
    assert holm(np.array([0.026, 0.026])).tolist() == [False, False]


def test_p_value_is_students() -> None:
    generator = np.random.default_rng(5)
    one, other = generator.normal(30, 3, size=(2, 4, 1))  # too few to tell a skewness
    (line,) = compare(pd.concat([_rows("a", one), _rows("b", other)])).to_dict("records")
    assert line["p_value"] == pytest.approx(scipy_stats.ttest_rel(one, other).pvalue[0])


def test_codecs_and_images_in_any_order() -> None:
    generator = np.random.default_rng(2)
    values = generator.normal(30, 3, size=(5, 2))
    rows = pd.concat(
        _rows(codec, values + generator.normal(size=values.shape), snr_db=snr_db)
        for codec in "abc"
        for snr_db in (1.0, 4.0, 7.0, 10.0)
    )
    by = ["label", "reference", "quantity", "snr_db"]
    shuffled = rows.sample(frac=1, random_state=0).sort_values("label", kind="stable")
    pd.testing.assert_frame_equal(
        compare(rows).sort_values(by, ignore_index=True),
        compare(shuffled).sort_values(by, ignore_index=True),
    )
