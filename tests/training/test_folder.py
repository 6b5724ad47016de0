"""What a training's folder survives, and what it refuses: each in one line."""

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from linksim.errors import InputError
from linksim.training.averaging import Average
from linksim.training.checkpoints import Checkpoints
from linksim.training.module import Training
from linksim.training.train import Start, train
from tests.training.test_train import photographs, recipe, same_weights

__all__ = ["photographs"]

STATE = {"a": torch.arange(500_000), "b": torch.rand(3, 5), "step": 7}


def checkpoints(folder: Path, run: str = "this", shard_mb: int | None = 1) -> Checkpoints:
    return Checkpoints(folder=folder / "checkpoints", run=run, shard_mb=shard_mb)


@pytest.mark.parametrize("shard_mb", [None, 1])
def test_shards_come_back_bit_by_bit(tmp_path: Path, shard_mb: int | None) -> None:
    kept = checkpoints(tmp_path, shard_mb=shard_mb)
    kept.save(7, STATE)
    sizes = [path.stat().st_size for path in tmp_path.rglob("part_*")]
    assert len(sizes) == (1 if shard_mb is None else 5)
    assert shard_mb is None or max(sizes) == 1_000_000
    read = checkpoints(tmp_path).load(7)
    assert read["step"] == 7
    assert torch.equal(read["a"], STATE["a"])
    assert torch.equal(read["b"], STATE["b"])


def test_a_checkpoint_that_is_not_whole(tmp_path: Path) -> None:
    kept = checkpoints(tmp_path)
    kept.save(7, STATE)
    with pytest.raises(InputError, match="a checkpoint of another run"):
        checkpoints(tmp_path, run="other").load(7)
    part = tmp_path / "checkpoints/step_000000007/part_002"
    whole = part.read_bytes()
    part.write_bytes(whole[:-1] + b"?")
    with pytest.raises(InputError, match="part_002: damaged, or of another run"):
        kept.load(7)
    part.unlink()
    with pytest.raises(InputError, match="part_002 is missing"):
        kept.load(7)
    (part.parent / "manifest.json").write_text("{")
    with pytest.raises(InputError, match=r"manifest\.json: damaged"):
        kept.load(7)


def test_the_last_two_and_every_tenth_are_kept(tmp_path: Path) -> None:
    kept = Checkpoints(folder=tmp_path, run="this", keep_every=10)
    for step in range(5, 36, 5):
        kept.save(step, {"step": step})
    assert kept.steps() == [10, 20, 30, 35]


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    photographs: Path, tmp_path: Path
) -> None:
    made = recipe(photographs, steps=10)
    whole = train(made, tmp_path)
    assert whole is not None
    kept = whole.rename(tmp_path / "whole.safetensors")
    part = tmp_path / "checkpoints/step_000000010/part_000"
    part.write_bytes(part.read_bytes()[:-100])
    again = train(made, tmp_path)
    assert again is not None
    assert same_weights(again, kept)
    for part in tmp_path.glob("checkpoints/*/part_000"):
        part.write_bytes(b"")
    again.unlink()
    with pytest.raises(InputError, match="no checkpoint is whole; --overwrite starts anew"):
        train(made, tmp_path)


def test_killed_between_checkpoint_and_weights(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights are the averaged ones, however often they are made from the last checkpoint."""
    made = recipe(photographs, steps=10, ema=0.9)
    whole = train(made, tmp_path / "whole")

    def killed(self: Average) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Average, "swap", killed)
        with pytest.raises(RuntimeError, match="killed"):
            train(made, tmp_path / "cut")
    cut = train(made, tmp_path / "cut")
    assert whole is not None
    assert cut is not None
    assert same_weights(whole, cut)
    cards = [json.loads(path.with_suffix(".json").read_text()) for path in (whole, cut)]
    assert cards[0]["validation"] == cards[1]["validation"]


def test_a_finished_training_does_nothing(photographs: Path, tmp_path: Path) -> None:
    weights = train(recipe(photographs, steps=4), tmp_path)
    assert weights is not None
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    del before[tmp_path / ".lock"]
    train(recipe(photographs, steps=4, checkpoint_every=1), tmp_path)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_another_training_in_the_folder_is_refused(photographs: Path, tmp_path: Path) -> None:
    train(recipe(photographs, steps=4), tmp_path)
    for changes, message in (
        ({"lr": 0.02}, "a training with lr 0.01, the recipe says 0.02; --overwrite"),
        ({"steps": 5}, "a training with steps 4, the recipe says 5; --overwrite"),
        ({"cbr": 1 / 24}, "a training with cbr left out, the recipe says 0.041"),
    ):
        with pytest.raises(InputError, match=message):
            train(recipe(photographs, **{"steps": 4, **changes}), tmp_path)
    copy = tmp_path / "photographs"
    copy.mkdir()
    for path in photographs.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    images = {"root": copy, "crop": 32, "holdout": 3}
    train(recipe(photographs, steps=4, images=images), tmp_path)  # the same, elsewhere
    (copy / "00.png").write_bytes((copy / "01.png").read_bytes())
    with pytest.raises(InputError, match="on other images: names or sizes"):
        train(recipe(photographs, steps=4, images=images), tmp_path)
    anew = Start(overwrite=True)
    assert train(recipe(photographs, steps=4, images=images), tmp_path, anew) is not None


def test_it_stops_in_time(photographs: Path, tmp_path: Path) -> None:
    made = recipe(photographs, steps=30)
    while train(made, tmp_path / "parts", Start(minutes=0.001)) is None:
        pass
    whole = train(made, tmp_path / "whole")
    assert whole is not None
    assert same_weights(whole, tmp_path / "parts" / whole.name)


def test_micro_batches_add_up_to_the_batch(photographs: Path, tmp_path: Path) -> None:
    """After a step of plain averaging over images, whatever the pieces."""
    paths = [
        train(recipe(photographs, steps=2, micro_batch=size), tmp_path / str(size))
        for size in (4, 1)
    ]
    from safetensors.torch import load_file

    one, other = (load_file(path) for path in paths if path is not None)
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=0, atol=1e-5)


def test_a_micro_batch_is_of_the_largest_crops(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of smaller ones a device takes as many as hold the same pixels."""
    taken, forward = [], Training.forward

    def noted(self: Training, images: torch.Tensor, *args: Any) -> torch.Tensor:
        taken.append((images.shape[-1], len(images)))
        return forward(self, images, *args)

    monkeypatch.setattr(Training, "forward", noted)
    images = {"root": photographs, "crop": 32, "holdout": 3, "last": {"crop": 64, "steps": 1}}
    train(recipe(photographs, images=images, steps=2, micro_batch=1), tmp_path)
    assert taken == [(32, 4), *[(64, 1)] * 4]


def test_other_bad_input(photographs: Path, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="device 'cuda': 0 CUDA device"):
            train(recipe(photographs), tmp_path / "gpu", Start(device="cuda"))
    images = {"root": photographs, "crop": 96, "holdout": 3}
    with pytest.raises(InputError, match=r"0 of 12 photographs .* are at least 96x96"):
        train(recipe(photographs, images=images), tmp_path / "crop")
    start = {"codec": "mambajscc", "preset": "small", "weights": "zoo:adjscc-small-rayleigh-muon"}
    with pytest.raises(InputError, match=r"weights .* are of 'adjscc', the recipe's codec is"):
        train(recipe(photographs, codec=start), tmp_path / "codec")


def test_a_full_disk_is_one_line(photographs: Path, tmp_path: Path) -> None:
    """Files are limited to 100 kB, as a full disk would limit them."""
    path = tmp_path / "r.yaml"
    made = recipe(photographs, codec={"codec": "deepjscc", "preset": "small"}, cbr=1 / 12, steps=6)
    path.write_text(json.dumps(made.model_dump(mode="json", by_alias=True)))

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    command = [sys.executable, "-m", "linksim", "train", str(path), "--out", str(tmp_path / "out")]
    ended = subprocess.run(command, preexec_fn=limited, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "cannot write" in ended.stderr
    assert not list(tmp_path.rglob("*.tmp"))
