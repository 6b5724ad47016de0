"""What each side believes: wrong, missing and estimated SNRs, and what they cost."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import digamma, polygamma

from linksim.errors import InputError
from linksim.link.flat import Rayleigh
from linksim.link.knowledge import SnrKnowledge, estimate_snr_db
from linksim.sweep.plan import plan_sweep
from linksim.sweep.scenario import Scenario
from tests.helpers.places import HELPERS
from tests.helpers.sweeping import rows_of

THUMBNAIL = f"{HELPERS / 'thumbnail.py'}:Thumbnail"
NO_PATH = [("seed", "image", 0)]


def scenario(**changes: object) -> Scenario:
    settings: dict[str, object] = {
        "name": "test",
        "images": {"source": "kodak", "crop": 64, "limit": 2},
        "channel": {"type": "rayleigh"},
        "snr_db": [10],
        "cbr": 0.03,
        "metrics": ["psnr"],
        "codecs": [{"codec": THUMBNAIL, "label": "thumbnail"}],
    }
    return Scenario.model_validate({**settings, **changes})


def test_what_is_told() -> None:
    snr_db = torch.tensor([3.0])
    for belief, told in (
        ("perfect", 3.0),
        ("none", None),
        ({"fixed_db": 12}, 12.0),
        ({"offset_db": -4}, -1.0),
    ):
        csi = SnrKnowledge.model_validate({"tx": belief, "rx": belief})
        for given in (csi.told_to_tx(snr_db, NO_PATH), csi.told_to_rx(snr_db, NO_PATH, None)):
            assert (None if given is None else given.item()) == told
    assert SnrKnowledge.model_validate({"tx": {"error_db": 2}, "rx": "estimated"}).name == (
        "tx error_db=2, rx pilots=32"
    )


def test_errors_are_gaussian_and_each_sides_own() -> None:
    csi = SnrKnowledge.model_validate({"tx": {"error_db": 2}, "rx": {"error_db": 2}})
    path = [(2026, "kodim01", trial) for trial in range(4000)]
    snr_db = torch.full((4000,), 7.0, dtype=torch.float64)
    tx, rx = csi.told_to_tx(snr_db, path), csi.told_to_rx(snr_db, path, None)
    assert tx is not None
    assert rx is not None
    for told in (tx, rx):
        assert told.mean().item() == pytest.approx(7, abs=4 * 2 / 4000**0.5)
        assert told.std().item() == pytest.approx(2, rel=0.05)
    assert abs(np.corrcoef(tx, rx)[0, 1]) < 0.05
    half = SnrKnowledge.model_validate({"tx": {"error_db": 1}}).told_to_tx(snr_db, path)
    assert half is not None
    torch.testing.assert_close(half - 7, (tx - 7) / 2)  # the same draw, scaled


@pytest.mark.parametrize("coherence", ["symbol", "frame"])
def test_estimate_against_its_distribution(coherence: str) -> None:
    """2n no_hat/no is chi-squared with 2n degrees of freedom: mean and variance of its logarithm
    are digamma(n) - log(n) and trigamma(n)."""
    n, snr_db = 16, torch.full((3000,), 11.0)
    pilots = Rayleigh.model_validate({"coherence": coherence}).draw_batch(1, 3000, n)
    error = (estimate_snr_db(pilots, snr_db) - snr_db).double()
    in_db = 10 / np.log(10)
    std = in_db * float(polygamma(1, n)) ** 0.5
    assert error.std().item() == pytest.approx(std, rel=0.05)
    bias = -in_db * (float(digamma(n)) - np.log(n))
    assert error.mean().item() == pytest.approx(bias, abs=4 * std / 3000**0.5)


def test_pilots_are_charged_and_columns_say_what_was_believed(tmp_path: Path) -> None:
    csi = [{}, {"tx": {"error_db": 3}, "rx": {"pilots": 40}}, {"tx": "none", "rx": {"fixed_db": 4}}]
    plain = rows_of(scenario(), tmp_path / "plain")
    rows = rows_of(scenario(snr_knowledge=csi, trials=2), tmp_path / "known")
    assert not {"snr_knowledge", "tx_snr_db", "rx_snr_db"} & set(plain)
    perfect, pilots, none = (
        rows[rows["snr_knowledge"] == name]
        for name in ("both perfect", "tx error_db=3, rx pilots=40", "tx none, rx fixed_db=4")
    )
    assert set(perfect["tx_snr_db"]) == set(perfect["rx_snr_db"]) == {10}
    assert none["tx_snr_db"].isna().all()
    assert set(none["rx_snr_db"]) == {4}
    assert pilots["tx_snr_db"].nunique() == pilots["rx_snr_db"].nunique() == 4  # images x trials
    assert set(pilots["pilot_symbols"]) == {40}
    counted = (perfect["symbols"].to_numpy() + 40).tolist()
    assert pilots["symbols"].tolist() == counted
    assert (pilots["cbr_realised"] * 3 * 64 * 64).round().tolist() == counted
    # pilots come last: what is sent meets the same channel
    assert pilots["psnr"].tolist() == perfect["psnr"].tolist()
    # and the true beliefs are what a scenario without csi has
    first = perfect[perfect["trial"] == 0][list(plain)].reset_index(drop=True)
    pd.testing.assert_frame_equal(plain, first, check_exact=True)


def test_pilots_leave_less_for_the_codec(tmp_path: Path) -> None:
    budget, frame = 368, 16 + 3 * 8 * 8 // 2  # 0.03 * 3 * 64 * 64 and what the thumbnail takes
    fits = {"rx": {"pilots": budget - frame}}
    assert set(rows_of(scenario(snr_knowledge=fits), tmp_path)["symbols"]) == {budget}
    for pilots, message in (
        (budget - frame + 1, "the budget is 111"),
        (budget, "beside 368 pilots"),
    ):
        with pytest.raises(InputError, match=message):
            rows_of(scenario(snr_knowledge={"rx": {"pilots": pilots}}), tmp_path)


def test_errors_do_not_depend_on_codec_or_batch(tmp_path: Path) -> None:
    other = {"codec": THUMBNAIL, "label": "other", "options": {"factor": 16}}
    codecs = [{"codec": THUMBNAIL, "label": "thumbnail"}, other]
    wrong = {"tx": {"error_db": 3}, "rx": {"pilots": 8}}
    one, two = (
        rows_of(scenario(snr_knowledge=wrong, codecs=codecs, snr_db=[0, 10]), tmp_path / str(n), n)
        for n in (1, 2)
    )
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    for _, rows in one.groupby(["label", "snr_db"]):
        errors = (rows["tx_snr_db"] - rows["snr_db"]).tolist()
        assert errors == pytest.approx((one["tx_snr_db"] - one["snr_db"])[:2].tolist(), abs=1e-5)


def test_only_what_is_believed_names_a_point() -> None:
    def keys(**changes: object) -> list[str]:
        return [point.key for point in plan_sweep(scenario(**changes)).points]

    wrong = {"tx": {"offset_db": 2}}
    assert keys(snr_knowledge=None) == keys()
    assert keys(snr_knowledge={**wrong, "label": "hopeful"}) == keys(snr_knowledge=wrong) != keys()
    assert keys(snr_knowledge=wrong) != keys(snr_knowledge={"rx": {"offset_db": 2}})


def test_mambajscc_hears_the_snr_on_both_sides(tmp_path: Path) -> None:
    mamba = {"codec": "mambajscc", "weights": "zoo:mambajscc-small-rayleigh"}
    beliefs = [{}, {"tx": {"offset_db": 6}}, {"rx": {"offset_db": 6}}, {"tx": "none", "rx": "none"}]
    rows = rows_of(
        scenario(snr_knowledge=beliefs, codecs=[mamba], images={"crop": 32, "limit": 1}), tmp_path
    )
    assert rows["psnr"].nunique() == len(beliefs)  # none: an ordinary scan


def test_the_transmitters_belief_picks_the_mcs(tmp_path: Path) -> None:
    beliefs = [{}, {"tx": {"fixed_db": 13}}, {"rx": {"fixed_db": 13}}]
    rows = rows_of(
        scenario(
            snr_knowledge=beliefs,
            snr_db=[3, 13],
            cbr="1/12",
            images={"crop": 256, "limit": 1},  # of which the block error rates are shipped
            codecs=["bpg_ldpc"],
        ),
        tmp_path,
    ).set_index(["snr_db", "snr_knowledge"])
    mcs, right = rows["mcs_index"], "both perfect"
    tx, rx = "tx fixed_db=13, rx perfect", "tx perfect, rx fixed_db=13"
    assert mcs[3, right] < mcs[13, right]
    assert mcs[3, tx] == mcs[13, right]
    assert mcs[3, rx] == mcs[3, right]
    assert rows["failed"][3, tx]  # too much for the true SNR
    assert not rows["failed"][3, rx]  # the MCS index is side information


@pytest.mark.parametrize(
    ("codec", "side", "message"),
    [
        ("adjscc", "tx", "ADJSCC needs an SNR in dB on both sides; this side was told none"),
        ("adjscc", "rx", "ADJSCC needs an SNR in dB on both sides; this side was told none"),
        ("bpg_ldpc", "tx", "bpg_ldpc with mcs: best needs the transmitter to know an SNR"),
        ("bpg_capacity", "tx", "bpg_capacity needs an SNR at the transmitter"),
    ],
)
def test_codecs_that_need_an_snr_say_so(
    tmp_path: Path, codec: str, side: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        rows_of(scenario(snr_knowledge={side: "none"}, codecs=[codec], cbr=0.4), tmp_path)
    assert "\n" not in str(caught.value)
