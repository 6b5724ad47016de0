"""linksim-bench: protocols that stay, a results file that can be checked, and the page."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from linksim.benchmark import protocols as shelf
from linksim.benchmark.page import read_results, table, write_page
from linksim.benchmark.protocols import Protocol, protocols, references
from linksim.benchmark.result import over_protocol, read_result
from linksim.codec_lookup import resolved_options
from linksim.errors import InputError
from tests.helpers.command_line import run
from tests.helpers.small import write_codec

DIGESTS = {
    "awgn": "5bb56c5898e2c47006c4eb0a2ca19f2637b2cea293eb3c1df490005424fa10a6",
    "munich": "b4e209aa8d14dcc042aabd2334d1f80ac43cd47997b3607a82371d3e1d208441",
    "one_fade": "a94a0b547002e068981fa66114759bf3fc5a8c945579e3f6f28bc46a6c3b4126",
    "rayleigh": "d93bbd277039f9ae46ef932608f7a9e8ee8b196c2a1e7611ea77d7f100ea303a",
    "tdl_c": "4c7c29bc86553b3620d2d33762ff5b314daad5eefe3b50b1298b79f28010dad7",
}
"""Of v1, for ever: a protocol that is to be another goes into a folder v2."""

EVIL = "<img src=x onerror=alert(1)>"


def test_protocols_never_change() -> None:
    assert {protocol.name: protocol.digest for protocol in protocols()} == DIGESTS


def test_every_protocol_is_a_scenario_that_the_references_can_run() -> None:
    for protocol in protocols():
        scenario = protocol.scenario([one.over(protocol.name) for one in references()])
        assert [codec.label for codec in scenario.codecs] == ["BPG + LDPC", "MambaJSCC"]
        for codec in scenario.codecs:
            resolved_options(codec)  # raises where weights are missing


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two protocols of two little images, and grey references, where the shipped ones were."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "shipped" / "benchmark"
    (folder / "v1").mkdir(parents=True)
    (folder / "codecs").mkdir()
    for name, channel in (("awgn", "awgn"), ("rayleigh", "rayleigh")):
        (folder / "v1" / f"{name}.yaml").write_text(
            f"# what {name} is\nseed: 1\nimages: {{source: kodak, crop: 32, limit: 3}}\n"
            f"channel: {{type: {channel}}}\nsnr_db: [1, 7]\ncbr: 1/12\n"
            "metrics: [psnr, ms_ssim, lpips]\n"
        )
    codec = f"{write_codec(tmp_path / 'mine.py', '')}:Flat"
    for name, level in (("bpg_ldpc", 0.4), ("mambajscc", 0.3)):
        text = f"codec: {codec}\nlabel: ref {name}\noptions: {{level: {level}}}\n"
        (folder / "codecs" / f"{name}.yaml").write_text(text)
    (tmp_path / "mine.yaml").write_text(
        f"codec: {codec}\nlabel: '{EVIL}'\nby: me\nprotocols: {{awgn: {{options: {{level: 0.6}}}}}}"
    )
    monkeypatch.setattr(shelf, "scenario_folder", lambda: tmp_path / "shipped")
    return tmp_path


def results_file(folder: Path) -> Path:
    [path] = folder.glob("out/*.json")
    return path


def test_a_codec_runs_through_and_is_checked(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(capsys, "benchmark", "--codec", "mine.yaml", "--out", "out")
    assert status == 0, err
    assert "less ref mambajscc" in out
    result = read_result(results_file(small))
    assert list(result.protocols) == ["awgn", "rayleigh"]
    assert set(result.references) == {"ref bpg_ldpc", "ref mambajscc"}
    over = result.protocols["awgn"]
    rows = over.table()
    assert len(rows) == 3 * 2
    # The same images, so the gap of each is that of two greys; intervals over three images.
    there = pd.read_parquet(small / "out" / "runs" / "awgn" / "rows.parquet")
    means = there.groupby(["label", "image"])["psnr"].mean().unstack()
    gaps = means.loc[EVIL] - means.loc["ref bpg_ldpc"]
    gap = over.gaps["ref bpg_ldpc"]["psnr"]
    assert gap.mean == pytest.approx(gaps.mean(), abs=1e-5)
    half = stats.t.ppf(0.975, 2) * gaps.std(ddof=1) / np.sqrt(3)
    assert gap.high - gap.mean == pytest.approx(half, abs=1e-5)

    status, out, err = run(capsys, "benchmark", "--check", str(results_file(small)))
    assert status == 0, err
    assert out.count("digest, rows and scores agree") == 2

    text = (small / "out" / "index.html").read_text()
    assert EVIL not in text
    assert f"{over.scores['psnr'].mean:.2f}" in text
    assert len(table(read_results(small / "out"))) == 2


def test_the_page_sorts(small: Path, capsys: pytest.CaptureFixture[str], browser: Any) -> None:
    run(capsys, "benchmark", "--codec", "mine.yaml", "--out", "out")
    page = browser.new_page(viewport={"width": 390, "height": 844})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.goto((small / "out" / "index.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    column = page.locator(".sortable tbody tr td:nth-child(3)")
    for order in (1, -1):
        page.locator(".sortable thead button", has_text="PSNR (dB)").first.click()
        numbers = [float(text.partition(" ")[0]) for text in column.all_inner_texts()]
        assert numbers == sorted(numbers)[::order]
    assert page.locator("text=onerror").first.is_visible()
    assert said == []


def test_it_goes_on_where_it_stopped(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "benchmark", "--codec", "mine.yaml", "--out", "out")
    points = sorted(small.glob("out/runs/*/points/*"))
    before = [path.stat().st_mtime_ns for path in points]
    results_file(small).unlink()
    status, _, _ = run(capsys, "benchmark", "--codec", "mine.yaml", "--out", "out")
    assert status == 0
    assert results_file(small).is_file()
    assert [path.stat().st_mtime_ns for path in points] == before


def changed(data: dict[str, Any], change: str) -> None:
    over = data["protocols"]["rayleigh"]
    if change == "digest":
        over["digest"] = "0" * 64
    elif change == "quality":
        over["rows"]["psnr"] = [value + 1 for value in over["rows"]["psnr"]]
        score = over["scores"]["psnr"]
        over["scores"]["psnr"] = {key: round(value + 1, 6) for key, value in score.items()}
    elif change == "score":
        over["scores"]["psnr"]["mean"] += 1
    elif change == "row":
        over["rows"] = {key: values[1:] for key, values in over["rows"].items()}
    elif change == "protocol":
        del data["protocols"]["rayleigh"]
    elif change == "version":
        data["benchmark"] = "linksim-bench v0"
    else:
        del data["machine"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("digest", "another protocol"),
        ("quality", "from what comes out here"),
        ("score", "scores are not the means"),
        ("row", "rows are not those of the protocol"),
        ("protocol", "has ['awgn', 'rayleigh']"),
        ("version", "not a results file of linksim-bench v1"),
        ("damage", "not a readable results file"),
    ],
)
def test_what_is_not_right_is_one_line(
    small: Path, capsys: pytest.CaptureFixture[str], change: str, message: str
) -> None:
    run(capsys, "benchmark", "--codec", "mine.yaml", "--out", "out")
    path = results_file(small)
    data = json.loads(path.read_text())
    changed(data, change)
    path.write_text(json.dumps(data))
    status, _, err = run(capsys, "benchmark", "--check", str(path))
    assert status == 2
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--codec", "nothing.yaml"], "nothing.yaml"),
        (["--check", "nothing.json"], "no such file"),
        (["--check", "a", "--codec", "b"], "not both"),
        (["--out", "empty"], "no results of linksim-bench v1"),
        (["--codec", "odd.yaml"], "'pluto' is none"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("odd.yaml").write_text("codec: bpg_ldpc\nprotocols: {pluto: {precision: bf16}}\n")
    status, _, err = run(capsys, "benchmark", *arguments)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1


def test_the_page_needs_a_result(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no results"):
        write_page(tmp_path)


def test_a_picture_that_was_lost_leaves_no_mean() -> None:
    rows = pd.DataFrame(
        {
            "label": "a", "image": ["x", "y"], "trial": 0, "snr_db": 1.0, "cbr": 0.1,
            "psnr": [20.0, np.nan], "ms_ssim": 0.5, "lpips": 0.1,
        }
    )  # fmt: skip
    over = over_protocol(rows, "a", [], digest="", weights=None)
    assert over.scores["psnr"].mean is None
    assert over.scores["lpips"].mean == pytest.approx(0.1)
    assert over.rows["psnr"] == [20.0, None]


def test_the_interval_of_a_score_ends_where_its_metric_does() -> None:
    """12.706 times half of the distance on either side; a difference may be anything."""
    rows = pd.DataFrame(
        {
            "label": ["a", "a", "b", "b"], "image": ["x", "y"] * 2, "trial": 0, "snr_db": 1.0,
            "cbr": 0.1, "psnr": 20.0, "ms_ssim": [0.9, 0.95, 0.1, 0.9], "lpips": 0.1,
        }
    )  # fmt: skip
    over = over_protocol(rows, "a", ["b"], digest="", weights=None)
    ends = over.scores["ms_ssim"].low, over.scores["ms_ssim"].high
    assert ends == (pytest.approx(0.925 - 12.706 * 0.025, abs=1e-4), 1.0)
    assert over.gaps["b"]["ms_ssim"].high == pytest.approx(0.425 + 12.706 * 0.375, abs=1e-3)


def test_protocols_are_told_apart_by_what_they_say(small: Path) -> None:
    path = small / "shipped" / "benchmark" / "v1" / "awgn.yaml"
    before: list[Protocol] = protocols()
    path.write_text(path.read_text() + "trials: 2\n")
    after = protocols()
    assert before[0].digest != after[0].digest
    assert before[1].digest == after[1].digest
