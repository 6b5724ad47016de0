"""The HTML page: whole, safe, and made of the result folder alone."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

import linksim
from baselines.deepjscc import DeepJSCC
from linksim.errors import InputError
from linksim.files.tables import read_table, write_table
from linksim.report.write import write_report, write_reports
from tests.helpers.command_line import run
from tests.helpers.html import data_of
from tests.helpers.places import ROOT
from tests.helpers.small import write_codec

FLAGSHIP = ROOT / "results" / "rayleigh_sweep"
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def flagship(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FLAGSHIP, tmp_path / "flagship"))


def relabelled(folder: Path, old: str, new: str) -> None:
    """Call a codec something else, as if the scenario had."""
    for name in ("summary.csv", "compare.csv", "pictures/index.csv"):
        table = read_table(folder / name)
        columns = [column for column in ("label", "reference") if column in table]
        table[columns] = table[columns].replace(old, new)
        write_table(folder / name, table)
    rows = read_table(folder / "rows.parquet")
    rows["label"] = rows["label"].replace(old, new)
    write_table(folder / "rows.parquet", rows)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["codecs"] = {new if k == old else k: v for k, v in manifest["codecs"].items()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_the_page_shows_the_tables_numbers(flagship: Path) -> None:
    page = write_report(flagship)
    assert page == flagship / "report.html"
    assert page.stat().st_size < 8e6
    summary = pd.read_csv(flagship / "summary.csv")
    data = data_of(page)
    chart = data["curves"][0]["charts"]["PSNR (dB)"]
    lines = {trace["meta"]: trace for trace in chart["data"] if "name" in trace}
    assert set(lines) == set(summary["label"])
    mamba = summary[summary["label"] == "MambaJSCC"].sort_values("snr_db")
    assert lines["MambaJSCC"]["y"] == pytest.approx(mamba["psnr"].tolist(), rel=1e-5)
    first = mamba.iloc[0]
    told = lines["MambaJSCC"]["customdata"][0][0]
    assert told == f"{first['psnr']:.4g} [{first['psnr_lo']:.4g}, {first['psnr_hi']:.4g}]"
    text = page.read_text(encoding="utf-8")
    assert "24 images (kodak, 256x256 centre crops) crossed" in text
    assert "16384 channel uses" in text
    gaps = pd.read_csv(flagship / "compare.csv")
    assert len(data["gaps"]) == len(gaps)


def test_it_needs_nothing_but_the_folder(tmp_path: Path) -> None:
    photographs, made_with = tmp_path / "photographs", tmp_path / "made_with"
    photographs.mkdir()
    made_with.mkdir()
    for name, level in (("a", 90), ("b", 160)):
        Image.new("RGB", (32, 32), (level, 0, 0)).save(photographs / f"{name}.png")
    small = DeepJSCC.presets["small"]
    DeepJSCC(**small).save(made_with / "w.safetensors", options=small, card={})
    own = write_codec(made_with / "mine.py", "")
    linksim.run(
        {
            "name": "gone",
            "images": {"source": "folder", "root": str(photographs)},
            "channel": "awgn",
            "snr_db": [5],
            "cbr": "1/12",
            "metrics": ["psnr"],
            "codecs": [
                {"codec": "deepjscc", "weights": str(made_with / "w.safetensors")},
                {"codec": f"{own}:Flat", "label": "Grey"},
            ],
            "pictures": {"images": ["a"], "snr_db": 5},
        },
        out=tmp_path / "results",
    )
    shutil.rmtree(photographs)
    shutil.rmtree(made_with)
    shutil.rmtree(tmp_path / "results" / "gone" / "points")
    data = data_of(write_report(tmp_path / "results" / "gone"))
    assert {picture["label"] for picture in data["pictures"]} == {"original", "deepjscc", "Grey"}


def test_charts_are_what_plotly_knows(flagship: Path) -> None:
    import plotly.graph_objects as go

    data = data_of(write_report(flagship))
    for place in ("curves", "cost", "outage"):
        for entry in data[place]:
            for chart in entry["charts"].values():
                go.Figure(chart)  # raises for a property that Plotly does not have


def test_nothing_is_fetched(flagship: Path) -> None:
    text = write_report(flagship).read_text(encoding="utf-8")
    page = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)  # Plotly's own text aside
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", page)


def test_labels_are_text(flagship: Path) -> None:
    relabelled(flagship, "MambaJSCC", EVIL)
    page = write_report(flagship)
    text = page.read_text(encoding="utf-8")
    assert EVIL not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    data = data_of(page)
    names = [t["name"] for t in data["curves"][0]["charts"]["PSNR (dB)"]["data"] if "name" in t]
    assert "&lt;img src=x onerror=alert(1)&gt;" in names  # what Plotly shows as it is written


def test_a_folder_of_results_gets_an_index(tmp_path: Path) -> None:
    for name in ("rayleigh_sweep", "outage"):
        shutil.copytree(ROOT / "results" / name, tmp_path / name)
    paths = write_reports(tmp_path)
    assert [p.relative_to(tmp_path).as_posix() for p in paths] == [
        "outage/report.html",
        "rayleigh_sweep/report.html",
        "index.html",
    ]
    assert 'href="outage/report.html"' in (tmp_path / "index.html").read_text()
    assert data_of(tmp_path / "outage" / "report.html")["outage"]


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: (folder / "summary.csv").unlink(), "no results here"),
        (lambda folder: (folder / "summary.csv").write_bytes(b"\xff\xfe\x00"), "not a readable"),
        (lambda folder: (folder / "rows.parquet").write_bytes(b"PAR1"), "not a readable table"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "not a readable manifest"),
        (lambda folder: (folder / "manifest.json").unlink(), "no such file"),
        (
            lambda folder: (folder / "pictures" / "original_kodim05.png").unlink(),
            "not a readable picture",
        ),
    ],
)
def test_what_is_damaged_is_one_line(
    flagship: Path, capsys: pytest.CaptureFixture[str], break_it: Any, message: str
) -> None:
    break_it(flagship)
    status, _, err = run(capsys, "report", str(flagship))
    assert status == 2
    assert message in err
    assert err.count("\n") == 1
    with pytest.raises(InputError):
        write_reports(flagship)


def test_clicked_through(browser: Any, flagship: Path) -> None:
    relabelled(flagship, "SwinJSCC", EVIL)
    page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.goto(write_report(flagship).as_uri())
    page.wait_for_selector("#curves .plot .scatterlayer")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("text=onerror").first.is_visible()

    lines = page.locator("#curves .plot").first.locator(".scatterlayer .trace .lines")
    before = lines.count()
    page.locator("#codecs input").nth(0).uncheck()
    page.wait_for_timeout(100)
    assert lines.count() < before
    page.locator("#curves select").first.select_option("LPIPS (lower is better)")
    assert "LPIPS" in page.locator("#curves .ytitle").first.text_content()

    clip = "document.getElementById('img-left').style.clipPath"
    assert "50%" in page.evaluate(clip)
    page.locator("#split").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert "45%" in page.evaluate(clip)
    page.locator("#right").select_option("BPG + LDPC")
    assert "BPG + LDPC (" in page.locator("#caption").text_content()

    page.locator("#table thead button", has_text="PSNR").click()
    values = [
        float(text)
        for text in page.locator("#table tbody tr td:nth-child(3)").all_inner_texts()
        if text
    ]
    assert values == sorted(values)
    assert page.locator("#gap-table tbody tr").count() > 0
    assert said == []
