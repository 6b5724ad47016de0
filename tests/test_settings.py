"""YAML that says one thing, of the right type and within bounds, or one line that says why not."""

import os
import time
from pathlib import Path

import pytest

from linksim.errors import InputError
from linksim.settings import usable_name
from linksim.sweep.scenario import Scenario, load_scenario

GOOD = """images: {source: kodak, crop: 64, limit: 4}
channel: {type: awgn}
snr_db: [7]
cbr: 1/12
metrics: [psnr]
codecs: [{codec: deepjscc, preset: small}]
"""


def load(folder: Path, text: str, name: str = "s.yaml") -> Scenario:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return load_scenario(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        # keys that stand twice
        ("metrics:", "snr_db: [10]\nmetrics:", "'snr_db' stands twice, in lines 3 and 5"),
        ("crop: 64,", "crop: 64, crop: 32,", "'crop' stands twice, in lines 1 and 1"),
        ("preset: small", "preset: small, options: {a: 1, a: 2}", "'a' stands twice"),
        # words and quotes that could be taken for numbers
        ("cbr: 1/12", "cbr: yes", "cbr: True is no number"),
        ("cbr: 1/12", "cbr: off", "cbr: False is no number"),
        ("cbr: 1/12", "cbr: true", "cbr: True is no number"),
        ("[7]", "[1, on]", "snr_db: True is no number"),
        ("[7]", "{from: no, to: 3, step: 1}", "snr_db: False is no number"),
        ("limit: 4", "limit: yes", "images: limit: True is no number"),
        ("[7]", "['7']", "snr_db: '7' is text, not a number; write it without quotes"),
        ("cbr: 1/12", 'cbr: "0.1"', "cbr: '0.1' is text, not a number"),
        ("limit: 4", "limit: '4'", "images: limit: '4' is text"),
        ("metrics:", "seed: '3'\nmetrics:", "seed: '3' is text"),
        ("[7]", "[1:30]", "snr_db"),
        ("limit: 4", "limit: 010", "images: limit: '010' is text"),
        ("[7]", "[2026-11-25]", "snr_db"),
        # bounds
        ("[7]", "{from: -100, to: 100, step: 1.0e-7}", "2,000,000,001 values; at most 100,000"),
        ("[7]", "{from: 0, to: 1, step: 1e-320}", "values; at most 100,000"),
        ("cbr: 1/12", "cbr: 1e400", "cbr[0]: Input should be"),
        ("cbr: 1/12", "cbr: 1e99999999", "cbr[0]: Input should be"),
        ("cbr: 1/12", "cbr: 1/1e99999999", "not a number or a ratio"),
        ("cbr: 1/12", f"cbr: 1/{'9' * 5000}", "not a number or a ratio"),
        ("cbr: 1/12", "cbr: 0/0", "not a number or a ratio"),
        ("metrics:", f"seed: {'9' * 5000}\nmetrics:", "a number of 5000 digits"),
        ("metrics:", "trials: 10000000\nmetrics:", "trials: Input should be less than"),
        ("metrics:", "complexity: 200000\nmetrics:", "complexity: Input should be less than"),
        ("crop: 64", "resize: 1000000", "images.resize"),
        ("cbr: 1/12", "cbr: [0.1, 0.2]\ntrials: 1", None),
        # names are no paths
        ("metrics:", "name: ..\nmetrics:", "name: '..' is no name"),
        ("metrics:", "name: /etc/x\nmetrics:", "name: '/etc/x' is no name"),
        ("metrics:", "name: a/../../b\nmetrics:", "is no name"),
        ("metrics:", "name: .hidden\nmetrics:", "is no name"),
        ("metrics:", f"name: {'n' * 300}\nmetrics:", "at most 100 bytes"),
        ("metrics:", "name: my scenario\nmetrics:", "'my scenario' is no name"),
        # not YAML that settings can be
        ("cbr: 1/12", "cbr: &a [*a]", "a value that contains itself"),
        ("cbr: 1/12", "cbr: " + "[" * 2000, "s.yaml: n"),
        ("cbr: 1/12", "cbr: !!python/object:os.system {}", "not valid YAML"),
        ("cbr: 1/12", "cbr: 1\x07", "not valid YAML"),
        ("cbr: 1/12", "? [a]\n: b", "not valid YAML"),
        ("metrics:", "base: [a]\nmetrics:", "base: ['a'] is no file name"),
        ("metrics:", "base: none.yaml\nmetrics:", "none.yaml: no such file"),
    ],
)
def test_one_line_within_a_second(tmp_path: Path, old: str, new: str, message: str | None) -> None:
    assert old in GOOD
    start = time.process_time()
    if message is None:
        load(tmp_path, GOOD.replace(old, new))
        return
    with pytest.raises(InputError) as caught:
        load(tmp_path, GOOD.replace(old, new))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.process_time() - start < 5


def test_too_many_points_are_refused_with_their_count(tmp_path: Path) -> None:
    steps = "{from: -100, to: 100, step: 0.01}"
    text = GOOD.replace("[7]", steps).replace("cbr: 1/12", "cbr: [0.1, 0.2, 0.3, 0.4, 0.5]")
    with pytest.raises(InputError, match=r"100,005 points; at most 100,000 are allowed"):
        load(tmp_path, text)


def test_files_that_are_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "big.yaml").write_text("# " + "x" * 1_000_001)
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    for name, message in (
        ("fifo", "not a file that can be read as YAML"),
        ("../" + tmp_path.name, "not a file"),
        ("big.yaml", "at most 1,000,000 are read"),
        ("latin.yaml", "cannot be read"),
    ):
        with pytest.raises(InputError, match=message):
            load_scenario(tmp_path / name)
    with pytest.raises(InputError, match="fifo: not a file"):
        load(tmp_path, "base: fifo\n")


def test_a_base_may_have_a_base(tmp_path: Path) -> None:
    (tmp_path / "lowest.yaml").write_text(GOOD)
    (tmp_path / "lower.yaml").write_text("base: lowest.yaml\nseed: 7\ncbr: 1/6\n")
    scenario = load(tmp_path, "base: lower.yaml\ncbr: 1/24\n")
    assert (scenario.seed, scenario.cbr) == (7, (1 / 24,))
    (tmp_path / "lowest.yaml").write_text("base: ./lower.yaml\n")
    with pytest.raises(InputError, match=r"lowest.yaml: base: ./lower.yaml comes back to itself"):
        load(tmp_path, "base: lower.yaml\n")


def test_aliases_cannot_grow_without_end(tmp_path: Path) -> None:
    """A billion laughs: ten lines that stand for 10^9 values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(InputError, match="more than 200,000 values"):
        load(tmp_path, "\n".join(lines))


@pytest.mark.parametrize(
    "label",
    [
        "7",
        "0.10",
        "NA",
        "N/A",
        "nan",
        ".nan",
        "None",
        "no",
        "Yes",
        "1e5",
        "2026-11-25",
        "true",
        "~x",
    ],
)
def test_labels_are_text_as_written(label: str, tmp_path: Path) -> None:
    scenario = load(tmp_path, GOOD.replace("preset: small", f"label: {label}"))
    assert scenario.codecs[0].label == label


def test_other_texts_too(tmp_path: Path) -> None:
    text = GOOD.replace("metrics:", "pictures: {images: [0012, 13, no], snr_db: 7}\nmetrics:")
    assert load(tmp_path, text).pictures.images == ("0012", "13", "no")  # type: ignore[union-attr]
    assert load(tmp_path, "name: 2001-99-99\n" + GOOD).name == "2001-99-99"
    options = GOOD.replace("preset: small", "options: {name: 7, flag: no, rate: 1e-3}")
    assert load(tmp_path, options).codecs[0].options == {"name": 7, "flag": False, "rate": 1e-3}
    assert load(tmp_path, GOOD.replace("cbr: 1/12", "cbr: 1e-1")).cbr == (0.1,)
    assert load(tmp_path, GOOD.replace("cbr: 1/12", "cbr: 1 / 12")).cbr == (1 / 12,)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("my scenario.yaml", "my-scenario"),
        ("a (copy).yaml", "a-copy"),
        ("..yaml", "unnamed"),
        ("$x.yaml", "x"),
        ("场景.yaml", "场景"),
    ],
)
def test_a_usable_name_comes_from_any_file(file: str, name: str, tmp_path: Path) -> None:
    assert load(tmp_path, GOOD, file).name == name
    assert len(usable_name("长" * 300).encode()) <= 100
