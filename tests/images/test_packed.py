"""Prepared images: every pixel, name and label as in the folder, and damage noticed."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from linksim.errors import InputError
from linksim.images.packed import open_packed, write_packed
from linksim.images.sets import open_images
from tests.helpers.command_line import run
from tests.helpers.layouts import smooth_picture

SIZES = [(40, 50), (64, 33), (35, 35)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of three sizes in two folders, one of them a JPEG."""
    for i, size in enumerate(SIZES):
        place = tmp_path / "pictures" / "ab"[i % 2] / f"{i}.{'jpg' if i == 1 else 'png'}"
        place.parent.mkdir(parents=True, exist_ok=True)
        smooth_picture(i, size).save(place)
    return tmp_path / "pictures"


def test_it_is_the_folder_again(folder: Path, tmp_path: Path) -> None:
    packed = tmp_path / "all.images"
    for source in ("folder", "classes"):
        images = open_images(source, root=folder)
        size = write_packed(images, packed, source=source)
        assert size > sum(3 * width * height for width, height in SIZES)
        again = open_packed(packed, source=source)
        assert again.names == images.names
        assert again.labels == images.labels
        assert again.sizes == images.sizes
        assert again.class_names == images.class_names
        assert again.at_least(36).names == images.at_least(36).names
        for one, other in zip(images, again, strict=True):
            assert torch.equal(one.image, other.image)


def test_a_picture_is_its_pixels_in_order(tmp_path: Path) -> None:
    """The pixels stand after 16 bytes, channel by channel."""
    Image.new("RGB", (2, 1), (1, 2, 3)).save(tmp_path / "x.png")
    write_packed(open_images("folder", root=tmp_path), tmp_path / "packed", source="folder")
    assert (tmp_path / "packed").read_bytes()[16:22] == bytes([1, 1, 2, 2, 3, 3])


def test_damage_is_noticed(folder: Path, tmp_path: Path) -> None:
    packed = tmp_path / "all.images"
    write_packed(open_images("folder", root=folder), packed, source="folder")
    whole = packed.read_bytes()
    packed.write_bytes(whole[:20] + bytes([whole[20] ^ 1]) + whole[21:])
    damaged = open_packed(packed, source="folder")
    with pytest.raises(InputError, match="a/0 is damaged; prepare it again"):
        damaged[0]
    assert damaged[1].name == "a/2"
    for text in (whole[:-1], whole[:100], whole[:-50] + b"x" + whole[-49:], whole[:16]):
        packed.write_bytes(text)
        with pytest.raises(InputError, match="damaged or cut off; prepare it again"):
            open_packed(packed, source="folder")
    for text in (b"", b"linksim images", b"x" * 100):
        packed.write_bytes(text)
        with pytest.raises(InputError, match=r"cannot be read|no file that 'linksim prepare' made"):
            open_packed(packed, source="folder")


def test_another_source_is_refused(folder: Path, tmp_path: Path) -> None:
    packed = tmp_path / "all.images"
    write_packed(open_images("classes", root=folder), packed, source="classes")
    with pytest.raises(InputError, match="from source 'classes', wanted is source 'folder'"):
        open_packed(packed, source="folder")


def test_the_command(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, _ = run(capsys, "prepare", str(folder))
    assert (status, out) == (
        0,
        "3 images, 0 MB, in pictures.images; train with: --data pictures.images\n",
    )
    assert len(open_packed(tmp_path / "pictures.images", source="folder")) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "images: nowhere: no such folder"),
        (["pictures", "--source", "x"], "images: 'x' is no source"),
        (["pictures", "--source", "afhq"], "images: pictures/val: no such folder"),
        (["pictures", "--out", "pictures"], "cannot write pictures: "),
        (["pictures", "--out", "pictures/a/0.png/x"], "cannot write pictures/a/0.png/x: "),
        (["broken"], "broken/0.png: not a readable image"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    said: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "0.png").write_bytes(b"no picture")
    status, _, err = run(capsys, "prepare", *arguments)
    assert status == 2
    assert err.startswith(f"linksim: {said}")
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("*.images"))
