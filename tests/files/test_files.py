"""Files that are written whole or not at all, and what a kill leaves behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from linksim.errors import InputError
from linksim.files import remove_leftovers, write_atomically, write_png
from linksim.images.reading import read_image


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_a_file_is_there_whole_or_as_before(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "table.csv"
    write_atomically(path, lambda place: place.write_text("old"))

    def fails(place: Path) -> None:
        place.write_text("half of the n")
        assert path.read_text() == "old"
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"cannot write .*table\.csv: No space left"):
        write_atomically(path, fails)
    with pytest.raises(KeyError):  # whatever it ends by
        write_atomically(path, lambda place: [place.write_text("x"), {}["gone"]])
    assert path.read_text() == "old"
    assert _left(tmp_path) == ["deep", "table.csv"]


def test_files_have_the_mode_that_new_files_have(tmp_path: Path) -> None:
    """Some libraries write 0600, which keeps a group from reading what was shared with it."""
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a", lambda place: place.touch(0o600))

        def replaces(place: Path) -> None:
            (tmp_path / "other").write_text("x")
            (tmp_path / "other").chmod(0o600)
            (tmp_path / "other").replace(place)

        write_atomically(tmp_path / "b", replaces)
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in "ab"] == [0o640, 0o640]


def test_pictures_survive(tmp_path: Path) -> None:
    image = torch.arange(3 * 4 * 5, dtype=torch.uint8).reshape(3, 4, 5)
    write_png(tmp_path / "a.png", image)
    assert torch.equal(read_image(tmp_path / "a.png"), image)


_WRITER = """
import sys, time
from pathlib import Path
from linksim.files import write_atomically
def write(place):
    place.write_text("half")
    print("writing", flush=True)
    time.sleep(600)
write_atomically(Path(sys.argv[1]), write)
"""


def test_leftovers_of_a_kill_go_and_those_of_a_living_writer_stay(tmp_path: Path) -> None:
    path = tmp_path / "points" / "x.parquet"
    (tmp_path / ".notes.tmp").write_text("a user's own")
    command = [sys.executable, "-c", _WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        try:
            assert writer.stdout.readline() == b"writing\n"
            remove_leftovers(tmp_path)
            [half] = path.parent.iterdir()
        finally:
            writer.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20  # the lock goes with the process
    while half.exists() and time.monotonic() < deadline:
        remove_leftovers(tmp_path)
    assert _left(tmp_path) == [".notes.tmp", "points"]
