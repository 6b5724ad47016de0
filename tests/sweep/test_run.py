"""Sweeps: resumable, atomic, independent of batch and order; run as a user runs them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from linksim.errors import InputError
from linksim.settings import CodecSettings
from linksim.sweep.plan import codec_identity, plan_sweep
from linksim.sweep.run import run_points
from linksim.sweep.scenario import Scenario
from linksim.sweep.store import Store
from tests.helpers.places import HELPERS
from tests.helpers.sweeping import rows_of, rows_of_plan

THUMBNAIL = f"{HELPERS / 'thumbnail.py'}:Thumbnail"
CPU = torch.device("cpu")


def scenario(**changes: object) -> Scenario:
    settings: dict[str, object] = {
        "name": "test",
        "images": {"source": "kodak", "crop": 64, "limit": 3},
        "channel": {"type": "rayleigh"},
        "snr_db": [0, 10],
        "cbr": 0.02,
        "metrics": ["psnr"],
        "codecs": [{"codec": THUMBNAIL, "label": "thumbnail"}],
    }
    return Scenario.model_validate({**settings, **changes})


def test_rows_say_what_was_done(tmp_path: Path) -> None:
    rows = rows_of(scenario(trials=2), tmp_path)
    assert len(rows) == 2 * 3 * 2
    assert list(rows["image"].unique()) == ["kodim01", "kodim02", "kodim03"]
    assert set(rows["snr_db"]) == {0, 10}
    symbols = 16 + 3 * 8 * 8 // 2  # pilots and two values a symbol
    assert set(rows["symbols"]) == {symbols}
    assert rows["cbr_realised"].unique() == pytest.approx(symbols / (3 * 64 * 64))
    assert not rows["failed"].any()
    means = rows.groupby("snr_db")["psnr"].mean()
    assert means[10] > means[0] + 1
    assert rows["psnr"].nunique() == len(rows)  # another trial, another channel


def test_rows_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    plan = plan_sweep(
        scenario(
            codecs=[
                {"codec": THUMBNAIL},
                {"codec": "mambajscc", "preset": "tiny", "options": {"rate": "nested"}},
            ]
        )
    )
    one, three = (rows_of_plan(plan, tmp_path / str(n), batch_size=n) for n in (1, 3))
    thumbnail = one["label"].str.contains("Thumbnail")
    pd.testing.assert_frame_equal(one[thumbnail], three[thumbnail], check_exact=True)
    # A neural codec's matrix products may round differently for another batch.
    assert (one["psnr"] - three["psnr"]).abs().max() < 1e-2


PILOTS = {"symbols": [2, 11], "spacing": 2}
OFDM = {"type": "ofdm", "model": "TDL-A", "delay_spread_ns": 100, "subcarriers": 12}


def test_several_channels(tmp_path: Path) -> None:
    """Points over a channel are the same whether others stand beside it; labels only name them."""
    estimated = {**OFDM, "label": "LS", "pilots": PILOTS, "estimation": "ls"}
    channels = [{"type": "rayleigh"}, OFDM, estimated]
    rows = rows_of(scenario(channel=channels), tmp_path / "all", batch_size=3)
    names = list(rows["channel"].unique())
    assert names[0] == "rayleigh(coherence=symbol), mmse"
    assert names[1].startswith("ofdm(TDL-A, 100 ns")
    assert names[2] == "LS"
    data = 16 + 3 * 8 * 8 // 2  # fewer than a slot of 12*14 less its 12 pilots
    by_channel = rows.groupby("channel", sort=False)
    assert by_channel["symbols"].unique().explode().tolist() == [data, 168, 168]
    assert by_channel["pilot_symbols"].unique().explode().tolist() == [0, 0, 12]
    assert rows["padding_symbols"].dropna().unique().tolist() == [168 - data, 156 - data]
    assert rows.groupby("channel")["papr_db"].count().to_dict()["LS"] == 6
    alone = rows_of(scenario(channel=estimated), tmp_path / "alone")
    same = rows[rows["channel"] == "LS"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, same[alone.columns], check_exact=True, check_dtype=False)
    summary = pd.read_csv(tmp_path / "all" / "summary.csv")
    assert sorted(summary["pilot_share"].dropna()) == pytest.approx([0, 0, 12 / 168, 12 / 168])


def test_codecs_snrs_and_order_share_the_channel(tmp_path: Path) -> None:
    alone = rows_of(scenario(snr_db=[10]), tmp_path / "a")
    other = {"codec": THUMBNAIL, "label": "other", "options": {"factor": 16}}
    again = {"codec": THUMBNAIL, "label": "thumbnail"}
    among = rows_of_plan(
        plan_sweep(scenario(snr_db=[20, 10], codecs=[other, again])), tmp_path / "b"
    )
    same = among[(among["label"] == "thumbnail") & (among["snr_db"] == 10)].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, same, check_exact=True)


def test_a_finished_sweep_does_nothing_and_a_changed_one_does(tmp_path: Path) -> None:
    def keys(**changes: object) -> set[str]:
        return {point.key for point in plan_sweep(scenario(**changes)).points}

    base = keys()
    assert keys() == base
    assert keys(codecs=[{"codec": THUMBNAIL, "label": "renamed"}]) == base
    for change in (
        {"seed": 1},
        {"trials": 2},
        {"channel": {"type": "rayleigh", "coherence": 2}},
        {"equalizer": "zf"},
        {"cbr": 0.03},
        {"metrics": ["psnr", "ssim"]},
        {"images": {"source": "kodak", "crop": 64, "limit": 2}},
        {"codecs": [{"codec": THUMBNAIL, "options": {"factor": 16}}]},
    ):
        assert keys(**change).isdisjoint(base), change

    plan = plan_sweep(scenario())
    store = Store(tmp_path)
    run_points(plan, store)
    started: list[object] = []
    run_points(plan, store, on_start=started.append)
    assert not started


def test_a_file_that_an_option_names_belongs_to_the_point(tmp_path: Path) -> None:
    model = tmp_path / "model.keras"
    settings = CodecSettings(
        codec="baselines.keras:KerasCodec",
        options={"encoder": str(model), "decoder": str(tmp_path)},
    )
    model.write_bytes(b"one")
    before = codec_identity(settings)
    assert codec_identity(settings) == before
    model.write_bytes(b"two")
    assert codec_identity(settings) != before


def test_an_encoder_without_snr_encodes_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from linksim.sweep import prepare

    built = []
    original = prepare.codec_from_settings
    monkeypatch.setattr(
        prepare,
        "codec_from_settings",
        lambda settings: built.append(original(settings)) or built[-1],
    )
    run_points(plan_sweep(scenario(snr_db=[0, 5, 10], trials=2)), Store(tmp_path))
    assert built[0].encoded == 3


def test_a_budget_that_is_too_small_is_told_and_rows_are_kept(tmp_path: Path) -> None:
    plan = plan_sweep(scenario(cbr=[0.02, 0.001]))
    with pytest.raises(InputError, match="budget is 12"):
        run_points(plan, Store(tmp_path))
    assert len(list((tmp_path / "points").glob("*.parquet"))) == 2


def test_a_full_disk_is_told_and_rows_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_sweep(scenario())
    store = Store(tmp_path)
    written = Path.write_bytes

    def second_fails(self: Path, content: bytes) -> int:
        count = written(self, content)
        if list((tmp_path / "points").glob("*.parquet")):
            raise OSError(28, "No space left on device")
        return count

    monkeypatch.setattr(Path, "write_bytes", second_fails)
    with pytest.raises(InputError, match="No space left on device"):
        run_points(plan, store)
    left = list((tmp_path / "points").iterdir())
    assert [path.suffix for path in left] == [".parquet"]  # the first, and no half-written file
    assert len(store.read([plan.points[0].key])) == 3


def test_costs_are_counted_where_the_scenario_asks(tmp_path: Path) -> None:
    """DeepJSCC's five convolutions a side, by hand, at 64x64; a codec without layers costs none."""
    codecs = [{"codec": "deepjscc", "options": {"latent_channels": 8}}, {"codec": THUMBNAIL}]
    plan = plan_sweep(scenario(codecs=codecs, cbr=1 / 12, complexity=64))
    rows_of_plan(plan, tmp_path)
    costs = pd.read_csv(tmp_path / "complexity.csv")
    inner = 25 * (16 * 32 + 2 * 32 * 32 + 32 * 8)  # a tap each, at a quarter of the side
    side = 32**2 * 25 * 3 * 16 + 16**2 * inner
    outer = 16**2 * 25 * (8 * 32 + 2 * 32 * 32 + 32 * 16) + 32**2 * 25 * 16 * 3
    assert costs["macs"].tolist()[0] == side + outer
    assert costs["scan_macs"].tolist()[0] == 0
    assert costs["parameters"].isna().tolist() == [False, True]
    assert costs["side"].tolist() == [64, 64]


def test_killed_and_started_again_gives_the_same_rows(tmp_path: Path) -> None:
    path = tmp_path / "killed.yaml"
    path.write_text(
        "images: {source: kodak, crop: 256, limit: 6}\n"
        "channel: {type: rayleigh}\n"
        "snr_db: {from: 0, to: 19, step: 1}\n"
        "cbr: 0.02\n"
        "metrics: [psnr, ms_ssim]\n"
        f"codecs: [{{codec: '{THUMBNAIL}', label: thumbnail}}]\n"
    )
    env = {**os.environ, "OMP_NUM_THREADS": "1"}

    def command(out: Path) -> list[str]:
        return [sys.executable, "-m", "linksim", "run", str(path), "--out", str(out)]

    points = tmp_path / "a" / "killed" / "points"
    process = subprocess.Popen(command(tmp_path / "a"), stdout=subprocess.DEVNULL, env=env)
    deadline = time.monotonic() + 120
    while len(list(points.glob("*.parquet"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = len(list(points.glob("*.parquet")))
    assert 3 <= finished < 20
    for out in (tmp_path / "a", tmp_path / "b"):
        subprocess.run(command(out), check=True, stdout=subprocess.DEVNULL, env=env)
    resumed, whole = ((tmp_path / out / "killed" / "rows.parquet").read_bytes() for out in "ab")
    assert resumed == whole
    again = subprocess.run(
        command(tmp_path / "b"), check=True, capture_output=True, text=True, env=env
    )
    assert "nothing to do" in again.stdout
