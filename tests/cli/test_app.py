"""The command line as a newcomer meets it: help, lists, and one line for what is wrong."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.command_line import run
from tests.helpers.places import HELPERS


@pytest.mark.parametrize(
    "command", ["run", "plot", "train", "codecs", "info", "complexity", "bench", "schema"]
)
def test_help_of_every_command(capsys: pytest.CaptureFixture[str], command: str) -> None:
    status, out, _ = run(capsys, command, "--help")
    assert status == 0
    assert f"linksim {command}" in out
    assert command in run(capsys, "--help")[1]


def test_codecs_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "codecs")
    assert status == 0
    for name in ("mambajscc", "bpg_ldpc", "bpg_capacity", "swinjscc", "deepjscc"):
        assert name in out


def test_info_says_what_runs_here(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "info")
    assert status == 0
    for word in ("torch", "sionna", "scan backend native", "scan backend reference", "cpu"):
        assert word in out


def test_complexity_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(
        capsys, "complexity", "mambajscc", "--preset", "tiny", "--size", "64", "--json",
        "--set", "latent_channels=8",
    )  # fmt: skip
    assert status == 0
    record = json.loads(out)
    assert list(record) == [
        "codec", "preset", "size", "parameters", "macs", "scan_macs", "latency_ms",
    ]  # fmt: skip
    assert (record["codec"], record["preset"], record["size"]) == ("mambajscc", "tiny", 64)
    assert 0 < record["scan_macs"] < record["macs"]


def test_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    properties = json.loads(run(capsys, "schema")[1])["properties"]
    assert {"channel", "snr_db", "cbr", "codecs"} <= properties.keys()


SCENARIO = """
images: {source: kodak, crop: 32, limit: 1}
channel: {type: awgn}
snr_db: [5]
cbr: 0.1
metrics: [psnr]
codecs: [THUMBNAIL]
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("snr_db: [5]", "snr_db: []", "snr_db"),
        ("cbr: 0.1", "cbr: -1", "cbr"),
        ("cbr: 0.1", "cbr: 0.1\nsnr: 3", "unknown key 'snr'"),
        ("THUMBNAIL", "{codec: jpeg2001}", "unknown codec 'jpeg2001'; allowed are adjscc"),
        ("THUMBNAIL", "{codec: ./none.py:X}", "codec file none.py does not exist"),
        ("THUMBNAIL", "{codec: 'os:path'}", "is not a subclass of linksim.Codec"),
        ("THUMBNAIL", "{codec: mambajscc, preset: huge}", "no preset 'huge'; allowed are paper"),
        ("THUMBNAIL", "{codec: mambajscc, options: {dim: 3}}", "no option 'dim'; allowed are dims"),
        ("THUMBNAIL", "{codec: mambajscc, weights: zoo:none}", "no weights 'zoo:none'; allowed"),
        ("THUMBNAIL", "{codec: mambajscc, weights: none.pt}", "weights none.pt: no such file"),
        ("THUMBNAIL", "{codec: bpg_ldpc, precision: bf16}", "is not neural; leave out 'precision'"),
        ("source: kodak", "source: folder, root: nowhere", "nowhere: no such folder"),
        ("source: kodak", "source: folder, root: broken", "broken"),
        ("crop: 32", "crop: 600", "crop"),
        (
            "cbr: 0.1",
            "cbr: 0.1\nsnr_knowledge: {tx: good}",
            "snr_knowledge[0].tx: 'good' is no knowledge of an SNR",
        ),
        (
            "cbr: 0.1",
            "cbr: 0.1\nsnr_knowledge: {tx: estimated}",
            "allowed are perfect, none, {error_db: …}",
        ),
        (
            "cbr: 0.1",
            "cbr: 0.1\nsnr_knowledge: {rx: {error_db: -1}}",
            "snr_knowledge[0].rx: error_db: Input should be",
        ),
        (
            "cbr: 0.1",
            "cbr: 0.1\nsnr_knowledge: {rx: {error: 1}}",
            "snr_knowledge[0].rx: {'error': 1} is no knowledge",
        ),
        (
            "cbr: 0.1",
            "cbr: 0.1\nsnr_knowledge: {rx: {pilots: 0}}",
            "snr_knowledge[0].rx: pilots: Input should be",
        ),
        (
            "cbr: 0.1",
            "cbr: 0.1\nsnr_knowledge: {rx: {pilots: 999}}",
            "leaves no symbol for the 32x32 image",
        ),
        (
            "cbr: 0.1",
            "cbr: 0.1\nsnr_knowledge: [{}, {}]",
            "snr_knowledge: 'both perfect' stands twice",
        ),
        (
            "cbr: 0.1",
            "cbr: 0.1\nsnr_knowledge: []",
            "snr_knowledge: Value should have at least 1 item",
        ),
        ("cbr: 0.1", "cbr: 0.1\nuntil: {metric: lpips, halfwidth: 1, max_trials: 20}", "until"),
        ("cbr: 0.1", "cbr: 0.1\nuntil: {metric: psnr, halfwidth: 1, max_trials: 2}", "max_trials"),
        ("cbr: 0.1", "cbr: 0.1\noutage: {lpips: 0.1}", "outage: lpips is not in metrics"),
        ("cbr: 0.1", "cbr: 0.1\noutage: {fid: 1}", "outage.fid"),
        (
            "cbr: 0.1",
            "cbr: 0.1\noutage: {psnr: yes}",
            "outage.psnr: Input should be a valid number",
        ),
        ("cbr: 0.1", "cbr: 0.1\noutage: {psnr: '20'}", "outage.psnr: Input should be a valid n"),
        ("type: awgn", "type: ofdm, model: TDL-A, delay_spread_ns: -1", "delay_spread_ns: Input"),
        ("type: awgn", "type: ofdm, model: TDL-A, delay_spread_ns: 1", "leaves no data symbol"),
    ],
)
def test_mistakes_are_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    old: str,
    new: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    text = SCENARIO.replace(old, new).replace(
        "THUMBNAIL", f"'{HELPERS / 'thumbnail.py'}:Thumbnail'"
    )
    Path("s.yaml").write_text(text)
    status, out, err = run(capsys, "run", "s.yaml")
    assert status == 2
    assert message in err
    assert err.startswith("linksim: ")
    assert err.count("\n") == 1
    assert "Traceback" not in out + err


def test_other_mistakes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("a.png")
    Path("s.yaml").write_text(SCENARIO.replace("THUMBNAIL", "mambajscc"))
    for arguments, message in (
        (("run", "none.yaml"), "none.yaml: no such file"),
        (("run", "s.yaml", "--device", "tpu"), "allowed are auto, cpu, cuda and cuda:N"),
        (("run", "s.yaml", "--device", "cuda:99"), "CUDA device(s) here"),
        (("plot", "nothing"), "nothing"),
        (("train", "s.yaml"), "unknown key"),
        (("complexity",), "name one codec, or give --all"),
        (("complexity", "mambajscc", "--set", "dims"), "wanted key=value"),
    ):
        status, _, err = run(capsys, *arguments)
        assert (status, err.count("\n")) == (2, 1), (arguments, err)
        assert message in err
