"""The demo page: a picture of one's own through small codecs, looked at, and what is refused."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from linksim.report.demo import SNRS_DB, write_demo
from tests.helpers.command_line import run
from tests.helpers.small import settings, write_codec

EVIL = "<img src=x onerror=alert(1)>"


class Pictures(HTMLParser):
    """What a page's picture elements say."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.alts: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.alts.append(dict(attrs)["alt"] or "")


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    codec = f"{write_codec(tmp_path / 'mine.py', '')}:Flat"
    codecs = [{"codec": codec, "label": "Grey"}, {"codec": codec, "label": EVIL}]
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(settings(*codecs)))
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "half grey.png"
    Image.new("RGB", (300, 70), (126, 126, 126)).save(path)
    return path


def test_a_picture_of_ones_own(
    tmp_path: Path, scenario: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "there" / "demo.html"
    status, out, _ = run(
        capsys, "demo", str(photo), "--out", str(page), "--scenario", str(scenario)
    )
    assert status == 0
    assert str(page) in out
    shown = [f"{label} at {snr_db:g} dB" for label in ("Grey", EVIL) for snr_db in SNRS_DB]
    assert [alt for alt in Pictures(page).alts if alt] == [*shown, "the original"]
    text = page.read_text(encoding="utf-8")
    assert EVIL not in text
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", text)
    # Half of full scale, 128 once rounded, against 126 of 255: 20 log10(255 / 2).
    assert text.count("42.11 / ") == len(shown)


def test_clicked_through(tmp_path: Path, scenario: Path, photo: Path, browser: Any) -> None:
    path = write_demo(tmp_path / "demo.html", photo, scenario=scenario)
    page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#right").select_option("Grey, 7 dB")
    assert "right Grey, 7 dB (42.11 dB)" in page.locator("#caption").text_content()
    page.locator("#split").focus()
    page.keyboard.press("ArrowRight")
    assert "49%" in page.evaluate("document.getElementById('img-left').style.clipPath")
    box = page.locator("#img-left").bounding_box()
    assert box["width"] == pytest.approx(box["height"], abs=1)
    assert said == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.png"], "no such image"),
        (["broken.png"], "not a readable image"),
        (["--out", "."], "a folder"),
        (["--scenario", "nothing_like_it"], "no scenario of that name"),
    ],
)
def test_what_is_wrong_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    status, _, err = run(capsys, "demo", *arguments)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_every_codec_of_the_flagship(tmp_path: Path) -> None:
    page = write_demo(tmp_path / "demo.html")
    alts = Pictures(page).alts
    assert {"MambaJSCC at 7 dB", "BPG + LDPC at 1 dB", "the original"} <= set(alts)
    assert page.stat().st_size < 3e6
