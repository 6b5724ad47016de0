"""Several trainings of one codec under one label: means and intervals over images and trainings."""

import numpy as np
import pandas as pd
import pytest

from linksim.plot.facets import interval_over
from linksim.results.compare import compare
from linksim.results.intervals import means, over_trainings
from linksim.results.stats import summarise
from tests.helpers.rows import row

REPEATED = 20_000


def table(label: str, values: np.ndarray) -> pd.DataFrame:
    """Rows of PSNR values [trainings, images]."""
    return pd.DataFrame(
        [
            {**row(label, image=f"image {i}", psnr=float(value)), "seed": seed}
            for seed, images in enumerate(values)
            for i, value in enumerate(images)
        ]
    )


def drawn(trainings: float, images: float, both: float, shape: tuple[int, ...]) -> np.ndarray:
    """Crossed random effects of these standard deviations, [trainings, images, …]."""
    generator = np.random.default_rng(5)
    of_training = generator.normal(size=(shape[0], 1, *shape[2:]))
    of_image = generator.normal(size=(1, *shape[1:]))
    return trainings * of_training + images * of_image + both * generator.normal(size=shape)


@pytest.mark.parametrize("number", [2, 3, 5])
@pytest.mark.parametrize("images", [10, 24])
@pytest.mark.parametrize("trainings", [0.0, 0.05, 0.2, 1.0, 2.0])
def test_intervals_cover(number: int, images: int, trainings: float) -> None:
    values = drawn(trainings, 1.0, 0.2, (number, images, REPEATED))
    found = means(
        values.sum(axis=0),
        np.full(values.shape[1:], float(number)),
        [over_trainings(values.sum(axis=1), np.full((number, REPEATED), float(images)))],
    )
    assert 0.935 <= ((found.low <= 0) & (found.high >= 0)).mean() <= 0.99


def test_one_training_says_nothing_of_others() -> None:
    values = drawn(1.0, 1.0, 0.2, (1, 24))
    alone = summarise(table("a", values))
    without = summarise(table("a", values).drop(columns="seed"))
    for name in ("psnr", "psnr_lo", "psnr_hi"):
        assert alone[name].item() == without[name].item()
    assert alone["trainings"].item() == 1
    assert "trainings" not in without


def test_the_interval_by_hand() -> None:
    """Two trainings 2 dB apart on images alike: mean ± t(1) * 1 dB, 12.706 being the quantile."""
    line = summarise(table("a", np.array([[30.0] * 4, [32.0] * 4]))).iloc[0]
    assert (line["psnr"], line["images"], line["count"], line["trainings"]) == (31, 4, 8, 2)
    assert line["psnr_lo"] == pytest.approx(31 - 12.706, abs=0.01)
    assert line["psnr_hi"] == pytest.approx(31 + 12.706, abs=0.01)


def test_the_order_of_trainings_changes_nothing() -> None:
    rows = table("a", drawn(0.5, 1.0, 0.2, (3, 12)))
    other = rows.assign(seed=2 - rows["seed"]).sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(summarise(rows), summarise(other))


def test_differences_hold_the_spread_of_either_sides_trainings() -> None:
    """b, of one training, is an image's level; a adds what its trainings bring: 1 ± 0.1."""
    images = np.linspace(25, 35, 12)
    both = pd.concat(
        [table("b", images[None]), table("a", images + np.array([[0.9], [1.0], [1.1]]))]
    )
    line = compare(both).iloc[0]
    assert (line["label"], line["reference"], line["pairs"]) == ("a", "b", 12)
    assert line["difference"] == pytest.approx(1)
    half = 4.3027 * 0.1 / 3**0.5  # t(2)
    assert line["difference_lo"] == pytest.approx(1 - half, abs=1e-3)
    swapped = compare(pd.concat([both[both["label"] == "a"], both[both["label"] == "b"]])).iloc[0]
    assert swapped["difference_lo"] == pytest.approx(-1 - half, abs=1e-3)


def test_gaps_between_curves_hold_it_too() -> None:
    images = np.linspace(25, 35, 12)
    parts = []
    for snr_db in (1.0, 5.0, 9.0, 13.0):
        levels = images + snr_db / 2
        parts += [table("b", levels[None]), table("a", levels + np.array([[0.9], [1.0], [1.1]]))]
        for part in parts[-2:]:
            part["snr_db"] = snr_db
    found = compare(pd.concat(parts)).set_index("quantity").loc["bd_psnr_over_snr"]
    half = 4.3027 * 0.1 / 3**0.5
    assert found["difference"] == pytest.approx(1, abs=1e-6)
    assert found["difference_hi"] == pytest.approx(1 + half, abs=1e-3)


@pytest.mark.parametrize("number", [2, 5])
@pytest.mark.parametrize("own", [0.0, 0.2])
def test_differences_of_pairs_of_trainings_cover(number: int, own: float) -> None:
    """What the trainings of a seed share, 1 dB, cancels; what one has alone, ``own``, does not."""
    tables, generator = 200, np.random.default_rng(6)
    held, widths = 0, []
    for _ in range(tables):
        shared = generator.normal(size=(number, 1)) + generator.normal(size=24)
        a, b = (
            shared + own * generator.normal(size=(number, 1)) + 0.1 * generator.normal(size=24)
            for _ in "ab"
        )
        rows = pd.concat([table("a", a), table("b", b)])
        line = compare(rows, paired_seeds=True).iloc[0]
        held += line["difference_lo"] <= 0 <= line["difference_hi"]
        widths.append(line["difference_hi"] - line["difference_lo"])
    assert held / tables >= 0.89  # four standard errors below 95 %
    apart = compare(rows).iloc[0]
    assert np.median(widths) < apart["difference_hi"] - apart["difference_lo"]


def test_pairs_of_trainings_by_hand() -> None:
    """Seeds 2 dB apart in both codecs, a ahead by 0.9 to 1.1: 1 ± t(2) 0.1/√3, of curves too."""
    images, seeds = np.linspace(25, 35, 12), np.array([[-2.0], [0.0], [2.0]])
    parts = []
    for snr_db in (1.0, 5.0, 9.0, 13.0):
        levels = images + seeds + snr_db / 2
        ahead = levels + np.array([[0.9], [1.0], [1.1]])
        parts += [table(*of).assign(snr_db=snr_db) for of in (("b", levels), ("a", ahead))]
    found = compare(pd.concat(parts), paired_seeds=True)
    half = 4.3027 * 0.1 / 3**0.5
    for _, line in found[found["quantity"].isin(["psnr", "bd_psnr_over_snr"])].iterrows():
        assert line["difference"] == pytest.approx(1, abs=1e-6)
        assert line["difference_lo"] == pytest.approx(1 - half, abs=1e-3)
        assert line["difference_hi"] == pytest.approx(1 + half, abs=1e-3)
    apart = compare(pd.concat(parts)).iloc[0]
    assert apart["difference_hi"] - apart["difference"] > 5


def test_of_pairs_beside_one_training_there_are_none() -> None:
    images = np.linspace(25, 35, 12)
    rows = pd.concat([table("b", images[None]), table("a", images + np.array([[0.9], [1.1]]))])
    pd.testing.assert_frame_equal(compare(rows, paired_seeds=True), compare(rows))


def test_pages_say_what_intervals_are_over() -> None:
    values = drawn(1.0, 1.0, 0.2, (2, 4))
    assert interval_over(summarise(table("a", values))) == "over images and trainings"
    alone = table("a", values[:1])
    assert interval_over(summarise(alone)) == "over images alone"
    assert interval_over(summarise(alone.drop(columns="seed"))) == "over images alone"
