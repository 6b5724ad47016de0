"""What a result folder holds after a run."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from linksim.files.tables import read_table
from linksim.plot.draw import plot_results
from linksim.report.write import write_report
from linksim.sweep.scenario import Scenario
from tests.helpers.sweeping import rows_of

CODEC = '''
import torch
from linksim import Codec, Frame

class Level(Codec):
    """A flat picture of one level; none (NaN) where the image is darker than it should be."""

    def __init__(self, *, level: float = 0.5, least: float = 0.0):
        self.level, self.least = level, least

    def encode(self, images, tx):
        symbols = torch.ones(len(images), 2, dtype=torch.complex64)
        symbols[:, 1] = images.mean((1, 2, 3))
        return Frame.analog(symbols)

    def decode(self, received, rx):
        out = torch.full((len(received.symbols), 3, *rx.image_size), self.level)
        ratio = received.symbols[:, 1].abs() / received.symbols[:, 0].abs()
        out[ratio < self.least] = float("nan")
        return out
'''


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.chdir(tmp_path)
    Path("level.py").write_text(CODEC)
    return {
        "name": "s",
        "images": {"crop": 32, "limit": 8},
        "channel": {"type": "awgn"},
        "snr_db": [40],
        "cbr": "1/12",
        "metrics": ["psnr", "ms_ssim"],
    }


def _codec(label: str, **options: float) -> dict[str, object]:
    return {"codec": "./level.py:Level", "label": label, "options": options}


def _run(settings: dict[str, object], **more: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # none of numpy's in a normal run
        rows_of(Scenario.model_validate(settings | more), Path("out"))


def test_pictures_that_are_no_numbers_count_as_failed(settings: dict[str, object]) -> None:
    codecs = [_codec("some", least=0.4), _codec("all", least=2.0), _codec("none")]
    _run(settings, codecs=codecs, outage={"psnr": 1.0})
    rows, summary = read_table(Path("out/rows.parquet")), read_table(Path("out/summary.csv"))
    lost = ~np.isfinite(rows["psnr"].where(rows["label"] == "some", 0))
    assert 0 < lost.sum() < 8
    some, every, none = summary.to_dict("records")
    assert some["failure_rate"] == some["psnr_outage"] == lost.sum() / 8
    assert (every["failure_rate"], every["psnr_outage"], every["not_finite"]) == (1, 1, 8)
    assert (none["failure_rate"], none["psnr_outage"], none["not_finite"]) == (0, 0, 0)
    assert np.isnan([some["psnr"], some["psnr_lo"], every["psnr"]]).all()
    assert np.isfinite([none["psnr"], none["psnr_lo"]]).all()
    compared = read_table(Path("out/compare.csv"))
    assert compared["difference"].isna().all()
    assert (compared["failed_pairs"] > 0).all()
    assert plot_results(Path("out"))


def test_labels_that_differ_in_a_sign_have_pictures_of_their_own(
    settings: dict[str, object],
) -> None:
    labels = ["Ours", "Ours*", "Ours+", "ours", "original"]
    codecs = [_codec(label, level=0.1 + 0.2 * i) for i, label in enumerate(labels)]
    _run(settings, codecs=codecs, pictures={"images": ["kodim01"], "snr_db": 40})
    index = read_table(Path("out/pictures/index.csv"))
    assert index["label"].tolist() == ["original", *labels]
    assert index["file"].str.casefold().nunique() == 6
    contents = {(Path("out/pictures") / name).read_bytes() for name in index["file"]}
    assert len(contents) == 6


def test_what_a_scenario_no_longer_asks_for_goes(settings: dict[str, object]) -> None:
    two = [_codec("a"), _codec("b", level=0.2)]
    published = [{"label": "x", "source": "y", "cbr": "1/12", "points": [[40, 20]]}]
    pictures = {"images": ["kodim01", "kodim02"], "snr_db": 40}
    _run(settings, codecs=two, complexity=64, pictures=pictures, published=published)
    out = Path("out")
    plot_results(out)
    tables = ("complexity.csv", "compare.csv", "published.csv", "pictures", "figures")
    assert all((out / name).exists() for name in tables)
    write_report(out)
    _run(settings, codecs=two, complexity=64, pictures=pictures, published=published)
    assert list((out / "figures").iterdir())  # the same tables: they are still right
    assert (out / "report.html").exists()
    _run(settings, codecs=two, pictures={"images": ["kodim01"], "snr_db": 40})
    assert len(list((out / "pictures").glob("*.png"))) == 3
    assert not (out / "figures").exists()
    assert not (out / "report.html").exists()
    _run(settings, codecs=two[:1])
    assert not any((out / name).exists() for name in tables)


def test_leftovers_of_a_kill_are_swept_away_at_the_next_start(tmp_path: Path) -> None:
    scenario = Scenario.model_validate(
        {
            "name": "small",
            "images": {"crop": 16, "limit": 1},
            "channel": {"type": "awgn"},
            "snr_db": [5],
            "cbr": 1,
            "metrics": ["psnr"],
            "codecs": ["bpg_capacity"],
        }
    )
    first = rows_of(scenario, tmp_path)
    (tmp_path / "pictures").mkdir()
    left = [f".summary.csv.{'a' * 32}.tmp", f"pictures/.p.png.{'0' * 32}.tmp"]
    for name in left:
        (tmp_path / name).write_bytes(b"half")
    assert rows_of(scenario, tmp_path).equals(first)
    assert not any((tmp_path / name).exists() for name in left)
