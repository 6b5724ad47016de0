"""linksim from Python, as a notebook uses it, and what runs of one name leave to each other."""

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import linksim
from tests.helpers.small import rows, settings, write_codec


def test_ten_lines_of_a_notebook(tmp_path: Path) -> None:
    """Only ``import linksim``: a codec, one transmission, a sweep, its figures."""
    codec = linksim.load_codec("mambajscc", weights="zoo:mambajscc-small-rayleigh")
    images = torch.linspace(0, 1, 2 * 3 * 64 * 64).reshape(2, 3, 64, 64)
    sent = linksim.send(codec, images, channel="rayleigh", snr_db=10, cbr=1 / 12, seed=1)
    assert sent.images.shape == images.shape
    assert bool((sent.metrics["psnr"] > 15).all())
    assert sent.ledger.symbols.tolist() == [1024, 1024]
    summary = linksim.run(settings({"codec": "mambajscc", "preset": "tiny"}), out=tmp_path)
    assert list(summary["snr_db"]) == [5, 10]
    assert linksim.plot(tmp_path)[0].is_file()
    assert linksim.__version__[0].isdigit()


def test_sending_is_repeatable_and_seeded() -> None:
    codec = linksim.load_codec("deepjscc", preset="small")
    images = torch.full((2, 3, 32, 32), 0.25)

    def received(**changes: object) -> torch.Tensor:
        arguments = {"channel": {"type": "awgn"}, "snr_db": 3.0, "cbr": 1 / 12, "seed": 1}
        return linksim.send(codec, images, **{**arguments, **changes}).images  # type: ignore[arg-type]

    assert torch.equal(received(), received())
    assert not torch.equal(received(), received(seed=2))
    assert not torch.equal(received()[0], received()[1])  # each image has its own noise
    torch.testing.assert_close(received()[:1], linksim.send(
        codec, images[:1], channel="awgn", snr_db=3.0, cbr=1 / 12, seed=1
    ).images)  # fmt: skip


def test_what_send_and_load_codec_refuse() -> None:
    codec = linksim.load_codec("deepjscc", preset="small")
    good = torch.zeros(1, 3, 32, 32)
    for images, message in (
        (good.byte(), "images are torch.uint8"),
        (good[0], r"images are torch.float32 \[3, 32, 32\]; wanted is a float32 tensor \[B, 3,"),
        (good + 200, r"values from 200 to 200; wanted is .* in \[0, 1\]"),
        (good.numpy(), "images are a ndarray"),
    ):
        with pytest.raises(linksim.InputError, match=message):
            linksim.send(codec, images, snr_db=1, cbr=1 / 12)
    for changes, message in (
        ({"channel": "water"}, "unknown channel 'water'"),
        ({"cbr": 1e-6}, "leaves no symbol for a 32x32 image"),
        ({"equalizer": "dfe"}, "allowed are mmse and zf"),
        ({"metrics": ["fid"]}, "fid"),
    ):
        with pytest.raises(linksim.InputError, match=message):
            linksim.send(codec, good, **{"snr_db": 1, "cbr": 1 / 12, **changes})  # type: ignore[arg-type]
    with pytest.raises(linksim.InputError, match="unknown codec 'jpeg2001'"):
        linksim.load_codec("jpeg2001")
    with pytest.raises(linksim.InputError, match="no weights 'zoo:/etc/passwd'; allowed are zoo:"):
        linksim.load_codec("deepjscc", weights="zoo:/etc/passwd")
    with pytest.raises(linksim.InputError, match=r"no weights 'zoo:\.\./x'"):
        linksim.load_codec("deepjscc", weights="zoo:../x")


def test_plot_is_the_function_and_draws_late() -> None:
    """Whatever of the package plot is imported, and in whatever order."""
    code = (
        "import sys, linksim.plot.facets\n"
        "import linksim\n"
        "from linksim.plot.look import GREY\n"
        "assert callable(linksim.plot)\n"
        "assert 'matplotlib' not in sys.modules and 'sionna' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_no_longer_asked_for_goes(tmp_path: Path) -> None:
    path = write_codec(tmp_path / "c.py", "")
    one = {"codec": f"{path}:Flat", "label": "one"}
    two = {"codec": f"{path}:Flat", "label": "two", "options": {"level": 0.2}}
    pictures = {"images": ["kodim01", "kodim02"], "snr_db": 5}
    rows(tmp_path, one, two, complexity=32, pictures=pictures)
    folder = tmp_path / "small"
    linksim.plot(folder)
    assert len(list((folder / "pictures").glob("*.png"))) == 6
    rows(tmp_path, one, two, complexity=32, pictures={**pictures, "images": ["kodim02"]})
    assert len(list((folder / "pictures").glob("*.png"))) == 3
    rows(tmp_path, one)
    left = {entry.name for entry in folder.iterdir()}
    assert left == {"points", "rows.parquet", "summary.csv", "manifest.json"}


SCENARIO = """
name: same
images: {source: kodak, crop: 32, limit: 1}
channel: {type: CHANNEL}
snr_db: [5]
cbr: 0.1
metrics: [psnr]
codecs: [{codec: './c.py:Flat', options: {level: LEVEL}}]
"""


def test_scenarios_of_one_file_name_in_two_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, channel in (("one", "awgn"), ("two", "rayleigh")):
        Path(folder).mkdir()
        write_codec(tmp_path / folder / "c.py", "")
        text = SCENARIO.replace("CHANNEL", channel).replace("LEVEL", "0.5")
        Path(folder, "same.yaml").write_text(text.replace("./c.py", f"{tmp_path}/{folder}/c.py"))
    linksim.run("one/same.yaml", "out")
    with pytest.raises(
        linksim.InputError,
        match=r"holds results of .*/one/same\.yaml, another scenario .* \(its channel differs\)",
    ):
        linksim.run("two/same.yaml", "out")
    linksim.run(Path("one/../one/same.yaml"), "out")  # the same file by another way
    Path("three").symlink_to("two")
    linksim.run("two/same.yaml", "out", overwrite=True)
    linksim.run("three/same.yaml", "out")
    shutil.rmtree("out/same/points")  # as tables arrive that were sent: from where is not known
    linksim.run("one/same.yaml", "out")


def test_a_folder_that_another_scenario_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    write_codec(tmp_path / "c.py", "")
    for name, channel, level in (("a", "awgn", 0.5), ("b", "rayleigh", 0.5), ("c", "awgn", 0.1)):
        text = SCENARIO.replace("CHANNEL", channel).replace("LEVEL", str(level))
        Path(f"{name}.yaml").write_text(text)
    linksim.run("a.yaml", "out")
    linksim.run("a.yaml", "out")
    table = Path("out/same/summary.csv").read_bytes()
    with pytest.raises(
        linksim.InputError,
        match=r"out/same holds results of a\.yaml, another scenario of the same name "
        r"\(its channel differs\); give another --out, or --overwrite",
    ):
        linksim.run("b.yaml", "out")
    assert Path("out/same/summary.csv").read_bytes() == table
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        linksim.run("c.yaml", "out")  # the same measurement of another codec
    assert "out/same held the tables of a.yaml; they are replaced" in caplog.text
    linksim.run("b.yaml", "out", overwrite=True)
    linksim.run("b.yaml", "out", limit=1)
    two = Path("b.yaml").read_text().replace("limit: 1", "limit: 2")
    Path("d.yaml").write_text(two)
    with pytest.raises(linksim.InputError, match=r"of b\.yaml, another .* \(its images differ\)"):
        linksim.run("d.yaml", "out")
    Path("b.yaml").write_text(two)  # the same scenario, changed, goes on
    assert set(linksim.run("b.yaml", "out")["images"]) == {2}
    Path("out/same/manifest.json").write_text("[")
    linksim.run("a.yaml", "out")
