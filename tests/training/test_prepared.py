"""Training on prepared photographs: the same batches, the same run, whatever cuts the crops."""

from pathlib import Path

import pytest
import torch

from linksim.images.packed import write_packed
from linksim.images.sets import open_images
from linksim.training.data import Batches, OnDevice, data_digest, open_training_images
from linksim.training.recipe import Recipe
from tests.helpers.command_line import run
from tests.helpers.layouts import smooth_picture
from tests.helpers.places import HELPERS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(5):
        place = tmp_path / "pictures" / f"{i}.png"
        place.parent.mkdir(exist_ok=True)
        smooth_picture(i, (60 + 7 * i, 90 - 5 * i)).save(place)
    return place.parent


def recipe(root: Path) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "prepared",
            "codec": {"codec": f"{HELPERS / 'conv.py'}:Conv"},
            "channel": {"type": "awgn"},
            "snr_db": [10],
            "cbr": 1 / 24,
            "images": {"root": root, "crop": 32, "holdout": 1},
            "steps": 2,
            "batch_size": 4,
        }
    )


def test_batches_are_those_of_the_folder(folder: Path, tmp_path: Path) -> None:
    packed = tmp_path / "pictures.images"
    write_packed(open_images("folder", root=folder), packed, source="folder")
    there, here = (open_training_images(recipe(root)) for root in (folder, packed))
    assert data_digest(there) == data_digest(here)
    theirs, ours = Batches(recipe(folder), there), Batches(recipe(packed), here)
    for step in range(6):  # over several epochs
        for one, other in zip(theirs.of(step, 32, 0, 4), ours.of(step, 32, 0, 4), strict=True):
            assert torch.equal(one, other)


def test_a_device_takes_what_it_has_room_for(folder: Path) -> None:
    images = open_images("folder", root=folder)
    first = images[0].image.nbytes
    held = OnDevice(images, torch.device("meta"), room=first)
    assert [held[i].image.device.type for i in range(3)] == ["meta", "cpu", "cpu"]


def test_a_training_goes_on_from_the_folder_to_the_file(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also that a file of something else is refused in one line."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe(folder).model_dump_json(by_alias=True, exclude_unset=True))
    assert run(capsys, "train", str(path))[0] == 0
    assert run(capsys, "prepare", str(folder))[0] == 0
    status, out, _ = run(capsys, "train", str(path), "--data", "pictures.images")
    assert status == 0
    assert "is finished: nothing to do" in out
    status, _, err = run(capsys, "train", str(path), "--data", str(path))
    assert (status, err) == (
        2,
        f"linksim: images: {path}: no folder, and no file that 'linksim prepare' made\n",
    )
