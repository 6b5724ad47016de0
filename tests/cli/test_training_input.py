"""What a user can get wrong about training and GPUs: one line from the command line, status 2."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.helpers.command_line import run
from tests.helpers.layouts import smooth_picture
from tests.helpers.places import HELPERS

Training = Callable[..., tuple[int, str, str]]


@pytest.fixture
def training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Training:
    """A tiny wsd training from the command line, with changes to its recipe and options."""
    (tmp_path / "pictures").mkdir()
    for i in range(4):
        smooth_picture(i, (40, 40)).save(tmp_path / "pictures" / f"{i}.png")

    def train(*options: str, **changes: Any) -> tuple[int, str, str]:
        recipe = {
            "name": "tiny",
            "codec": {"codec": f"{HELPERS / 'conv.py'}:Conv"},
            "channel": {"type": "awgn"},
            "snr_db": [10],
            "cbr": 1 / 24,
            "images": {"root": str(tmp_path / "pictures"), "crop": 32, "holdout": 1},
            "schedule": "wsd",
            "decay_steps": 1,
            "steps": 2,
            "batch_size": 2,
            "checkpoint_every": 1,
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({**recipe, **changes}))
        given = ("--device", "cpu") if "--device" not in options else ()
        return run(capsys, "train", str(path), "--out", str(tmp_path / "out"), *given, *options)

    return train


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    "command",
    [
        ["run", "quick", "--limit", "1"],
        ["bench", "scan"],
        ["bench", "train", "mambajscc:tiny"],
    ],
)
def test_no_gpu(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, err = run(capsys, *command, "--device", "cuda")
    assert (status, err) == (2, "linksim: device 'cuda': 0 CUDA device(s) here\n")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_to_train_on(training: Training) -> None:
    status, _, err = training("--device", "cuda")
    assert (status, err) == (2, "linksim: device 'cuda': 0 CUDA device(s) here\n")


@pytest.mark.parametrize(
    ("options", "changes", "said"),
    [
        ((), {"schedule": "linear"}, "schedule: Input should be 'cosine' or 'wsd'"),
        ((), {"decay_steps": 3}, "decay_steps is 3, longer than the run: steps is 2"),
        ((), {"devices": 2, "strategy": "nonsense"}, "devices: 2 with strategy: nonsense (You"),
        ((), {"images": {"root": "nowhere", "crop": 32}}, "images: nowhere: no such folder"),
        ((), {"codec": {"codec": "bpg_ldpc"}}, "codec 'bpg_ldpc' is not neural"),
        (
            (),
            {"codec": {"codec": "deepjscc", "weights": "zoo:mambajscc-small-rayleigh"}},
            "weights zoo:mambajscc-small-rayleigh are of 'mambajscc', the recipe's codec is",
        ),
        (("--decay-from", "last"), {}, "holds no checkpoint yet"),
        (("--decay-from", "soon"), {}, "--decay-from is 'soon'; allowed are a step and 'last'"),
    ],
)
def test_what_cannot_be_trained(
    options: tuple[str, ...], changes: dict[str, Any], said: str, training: Training
) -> None:
    status, _, err = training(*options, **changes)
    assert status == 2
    assert err.startswith("linksim: ")
    assert said in err
    assert err.count("\n") == 1


def test_too_few_photographs(training: Training, tmp_path: Path) -> None:
    images = {"root": str(tmp_path / "pictures"), "crop": 32, "holdout": 4}
    status, _, err = training(images=images)
    assert status == 2
    assert "images.holdout is 4, but" in err
    images = {"root": str(tmp_path / "pictures"), "crop": 64, "holdout": 1}
    status, _, err = training(images=images)
    assert status == 2
    assert "0 of 4 photographs of" in err
    assert err.count("\n") == 1


def test_shards(training: Training, tmp_path: Path) -> None:
    """One missing, one of another run, one damaged, in every checkpoint there is."""
    assert training("--shard-mb", "1")[0] == 0
    folder = tmp_path / "out" / "tiny" / "checkpoints"
    whole = tmp_path / "whole"
    shutil.copytree(folder, whole)

    def broken(what: Callable[[Path], object]) -> str:
        shutil.rmtree(folder)
        shutil.copytree(whole, folder)
        for checkpoint in folder.glob("step_*"):
            what(checkpoint)
        status, _, err = training("--shard-mb", "1", "--steps", "4")
        assert status == 2
        assert err.count("\n") == 1
        assert err.endswith("no checkpoint is whole; --overwrite starts anew\n")
        return err

    assert "part_000 is missing" in broken(lambda place: (place / "part_000").unlink())
    assert "part_000: damaged, or of another run" in broken(
        lambda place: (place / "part_000").write_bytes(b"x")
    )
    manifest = "manifest.json"

    def of_another(place: Path) -> None:
        text = (place / manifest).read_text()
        (place / manifest).write_text(text.replace('"run": "', '"run": "0'))

    assert "a checkpoint of another run" in broken(of_another)
    shutil.rmtree(folder)
    shutil.copytree(whole, folder)
    assert training("--shard-mb", "1", "--steps", "4")[0] == 0
