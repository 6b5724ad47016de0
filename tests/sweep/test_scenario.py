"""Scenario files: what they hold, and one line for what is wrong with them."""

from pathlib import Path

import pytest

from linksim.errors import InputError
from linksim.link.flat import Rayleigh
from linksim.sweep.scenario import Scenario, load_scenario
from tests.helpers.places import ROOT

GOOD = """
channel: {type: rayleigh, coherence: 8}
snr_db: {from: 1, to: 19, step: 2}
cbr: [1/48, 0.05]
codecs:
  - mambajscc
  - {codec: bpg_ldpc, label: fixed, options: {mcs: {modulation: qpsk, rate: 0.5}}}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "my_sweep.yaml"
    path.write_text(text)
    return path


def test_a_good_file(tmp_path: Path) -> None:
    scenario = load_scenario(write(tmp_path, GOOD))
    assert scenario.name == "my_sweep"
    assert scenario.channel == (Rayleigh(coherence=8),)
    assert scenario.snr_db == (1, 3, 5, 7, 9, 11, 13, 15, 17, 19)
    assert scenario.cbr == (1 / 48, 0.05)
    assert [codec.label for codec in scenario.codecs] == ["mambajscc", "fixed"]
    assert scenario.images.source == "kodak"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("snr_db: {", "snr_dB: {", r"unknown key 'snr_dB'; did you mean 'snr_db'\? \(allowed: "),
        ("{from: 1, to: 19, step: 2}", "[]", "snr_db: .*at least 1 item"),
        ("{from: 1, to: 19, step: 2}", "[3, 3]", "snr_db: values are repeated"),
        ("{from: 1, to: 19, step: 2}", "{from: 9, to: 1, step: 2}", "snr_db: .*9.* above to"),
        ("{from: 1, to: 19, step: 2}", "[.nan]", "snr_db"),
        ("[1/48, 0.05]", "-0.1", r"cbr\[0\]: Input should be greater than 0 \(given: -0.1\)"),
        ("[1/48, 0.05]", "1/0", "cbr.*not a number or a ratio"),
        ("coherence: 8", "coherence: slow", r"channel\[0\]\.coherence"),
        (
            "type: rayleigh",
            "type: water",
            r"channel\[0\]: unknown .*; allowed are awgn, ofdm",
        ),
        ("label: fixed", "label: mambajscc", "'mambajscc' stands twice"),
        ("- mambajscc", "- {codec: mambajscc, weigths: x}", "did you mean 'weights'"),
        ("codecs:", "trials: 0\ncodecs:", "trials: .*greater than 0"),
        ("codecs:", "metrics: [psnr, fid]\ncodecs:", r"metrics\[1\]: .*lpips"),
        ("codecs:", "pictures: {images: [kodim01], snr_db: 2}\ncodecs:", "not in snr_db"),
        ("codecs:", "paired_seeds: true\ncodecs:", "at least two codecs .* have seeds.*: none"),
        (
            "codecs:",
            "paired_seeds: true\ncodecs:\n  - {codec: mvsc, seeds: [a, b]}\n"
            "  - {codec: adjscc, seeds: [a, b, c]}",
            "paired_seeds: .* each as many; found: 'mvsc' 2, 'adjscc' 3",
        ),
        ("codecs:", "codecs: [", "not valid YAML"),
    ],
)
def test_bad_files_are_told_in_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(InputError, match=message) as caught:
        load_scenario(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_scenario(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="must hold keys"):
        load_scenario(write(tmp_path, ""))


def test_shipped_scenarios_are_valid() -> None:
    folder = ROOT / "scenarios"
    paths = sorted(folder.glob("*.yaml"))
    assert {path.stem for path in paths} >= {
        "rayleigh_sweep",
        "awgn_sweep",
        "cbr_sweep",
        "quick",
        "snr_mismatch",
        "outage",
    }
    for path in paths:
        assert isinstance(load_scenario(path), Scenario)
