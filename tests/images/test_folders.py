"""What counts as an image of a folder, and how the rest is told."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from linksim.errors import InputError
from linksim.images import folders
from linksim.images.sets import open_images


def _image(path: Path, grey: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 8, 3), grey, np.uint8)).save(path)


def _told(root: Path, caplog: pytest.LogCaptureFixture) -> tuple[tuple[str, ...], list[str]]:
    """The names of the images below a folder, and what the log says."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "linksim"):
        names = open_images("folder", root=root).names
    return names, caplog.messages


def test_hidden_files_and_folders_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.png", "b.png", ".c.png", "._a.png", ".ipynb_checkpoints/a-checkpoint.png"):
        _image(tmp_path / "photos" / name)
    _image(tmp_path / "photos" / ".git" / "deep" / "er.png")
    names, told = _told(tmp_path / "photos", caplog)
    assert names == ("a", "b")
    assert told == [f"images: {tmp_path / 'photos'}: 2 images; left out: 4 hidden"]


def test_a_hidden_folder_can_be_asked_for(tmp_path: Path) -> None:
    _image(tmp_path / ".cache" / "a.png")
    assert open_images("folder", root=tmp_path / ".cache").names == ("a",)


def test_kinds_that_are_left_out_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _image(tmp_path / "a.png")
    for name in ("1.heic", "2.HEIC", "3.HEIC", "anim.gif", "notes.txt", "b.txt", "LICENSE"):
        (tmp_path / name).write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe.png")
    names, [line] = _told(tmp_path, caplog)
    assert names == ("a",)
    assert line.startswith(f"images: {tmp_path}: 1 image; left out: 3 .heic (not read; convert")
    for part in (
        "1 .gif (not read; convert to PNG)",
        "2 .txt (no image type)",
        "1 without extension (no image type)",
        "1 FIFOs, devices or sockets",
    ):
        assert part in line


def test_many_kinds_and_odd_names_stay_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _image(tmp_path / "a.png")
    for i in range(50):
        (tmp_path / f"log.{i:04}").write_bytes(b"x")
    for name in (b"x.\x1b[31m", b"x.\n", b"x.\xff"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"x")
    _, [line] = _told(tmp_path, caplog)
    assert line.isprintable()
    assert line.endswith(" 45 others")


def test_a_folder_of_nothing_to_read_says_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "1.heic").write_bytes(b"x")
    with pytest.raises(InputError, match=r"no image files .*; left out: 1 \.heic \(not read"):
        open_images("folder", root=tmp_path)


def test_links_are_followed_once_and_in_no_circle(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos, elsewhere = tmp_path / "photos", tmp_path / "elsewhere"
    _image(photos / "own" / "a.png")
    _image(elsewhere / "b.png")
    _image(elsewhere / "deep" / "c.png")
    _image(tmp_path / "single" / "d.png")
    (photos / "more").symlink_to(elsewhere)
    (photos / "zmore").symlink_to(elsewhere)  # the same again
    (photos / "again").symlink_to(photos / "own")  # stands before what it leads to
    (photos / "d.png").symlink_to(tmp_path / "single" / "d.png")
    (photos / "e.png").symlink_to(photos / "own" / "a.png")
    (photos / "gone.png").symlink_to(tmp_path / "nothing")
    (photos / "itself").symlink_to("itself")
    (elsewhere / "deep" / "up").symlink_to(elsewhere)
    (elsewhere / "deep" / "home").symlink_to(photos)
    names, told = _told(photos, caplog)
    assert names == ("d", "more/b", "more/deep/c", "own/a")
    assert told == [
        f"images: {photos}: 4 images; left out: 5 linked to a second time, 2 links to nothing"
    ]


def test_a_link_to_the_folder_above_takes_each_image_once(tmp_path: Path) -> None:
    _image(tmp_path / "photos" / "a.png")
    _image(tmp_path / "b.png")
    (tmp_path / "photos" / "up").symlink_to("..")
    assert open_images("folder", root=tmp_path / "photos").names == ("a", "up/b")


def test_hard_links_are_files_of_their_own(tmp_path: Path) -> None:
    _image(tmp_path / "a.png")
    os.link(tmp_path / "a.png", tmp_path / "b.png")
    assert open_images("folder", root=tmp_path).names == ("a", "b")


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    _image(tmp_path / "a.png")
    os.rename(tmp_path / "a.png", os.fsencode(tmp_path) + b"/caf\xe9.png")
    with pytest.raises(InputError, match=r"caf\\udce9\.png': its name is not UTF-8; rename it"):
        open_images("folder", root=tmp_path)


def test_class_folders_may_be_linked_and_hold_hidden_ones(tmp_path: Path) -> None:
    _image(tmp_path / "elsewhere" / "1.png")
    _image(tmp_path / "data" / "dog" / "1.png")
    _image(tmp_path / "data" / "dog" / ".thumbnails" / "1.png")
    (tmp_path / "data" / "cat").symlink_to(tmp_path / "elsewhere")
    images = open_images("classes", root=tmp_path / "data")
    assert [(item.name, item.label) for item in images] == [("cat/1", 0), ("dog/1", 1)]
    (tmp_path / "data" / "eel").mkdir()
    with pytest.raises(InputError, match="eel: no image files in this folder of a class"):
        open_images("classes", root=tmp_path / "data")


def test_a_whole_disk_is_no_folder_of_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "MAX_FOLDERS", 20)
    for i in range(20):
        (tmp_path / f"{i}").mkdir()
    with pytest.raises(InputError, match=r"more than 20 folders below it, .* among them; name the"):
        open_images("folder", root=tmp_path)
