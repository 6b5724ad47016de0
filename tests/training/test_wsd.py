"""``schedule: wsd``: a constant rate that can be prolonged, and decays from its checkpoints."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from linksim.errors import InputError
from linksim.settings import load_settings
from linksim.training.module import Training
from linksim.training.recipe import Recipe
from linksim.training.schedule import crop_of, pixels_seen, rate_factor
from linksim.training.train import Start, train
from tests.training.test_train import photographs, power_cut_at, recipe, same_weights

__all__ = ["photographs"]


def wsd(photographs: Path, **changes: object) -> Recipe:
    return recipe(
        photographs,
        **{"schedule": "wsd", "steps": 20, "decay_steps": 6, "keep_every": 10, **changes},
    )


def digests(folder: Path) -> dict[str, str]:
    """Of all files of a run, its decays left out."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.relative_to(folder).parts[0].startswith("decay_")
    }


def test_the_rate_is_constant_and_then_decays(photographs: Path) -> None:
    """By hand: lr_final / lr = 0.1, and 1 - sqrt(k / 4) for k = 1..4 of a decay of 4 steps."""
    made = wsd(photographs, decay_steps=4, warmup=2, lr=0.01, lr_final=0.001)
    constant = [rate_factor(made, step) for step in range(12)]
    assert constant == [0.5, *[1.0] * 11]
    decaying = [rate_factor(made, step, decay_from=8) for step in range(12)]
    shape = 1 - np.sqrt([0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(decaying, [*constant[:8], *(0.1 + 0.9 * shape)])


def test_larger_crops_are_those_of_the_decay(photographs: Path) -> None:
    images = {"root": photographs, "crop": 32, "last": {"crop": 64, "steps": 2}, "holdout": 3}
    made = wsd(photographs, decay_steps=4, images=images)
    assert [crop_of(made, step) for step in range(20)] == [32] * 20
    assert [crop_of(made, step, 10) for step in range(8, 14)] == [32, 32, 32, 32, 64, 64]
    assert pixels_seen(made, 20) == 4 * 20 * 32**2
    assert pixels_seen(made, 14, 10) == 4 * (12 * 32**2 + 2 * 64**2)


def test_cut_off_prolonged_or_whole_it_is_one_run(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(wsd(photographs), tmp_path / "whole")
    train(wsd(photographs, steps=12), tmp_path / "longer")
    assert same_weights(whole, train(wsd(photographs), tmp_path / "longer"))
    with monkeypatch.context() as patch:
        patch.setattr(Training, "forward", power_cut_at(13))
        with pytest.raises(RuntimeError, match="power cut"):
            train(wsd(photographs), tmp_path / "cut")
    assert same_weights(whole, train(wsd(photographs), tmp_path / "cut"))
    curves = {(tmp_path / name / "conv.csv").read_text() for name in ("whole", "longer", "cut")} - {
        ""
    }
    assert len({curve.splitlines()[-1] for curve in curves}) == 1


def test_a_decay_leaves_the_run_untouched(photographs: Path, tmp_path: Path) -> None:
    alone, run = tmp_path / "alone", tmp_path / "run"
    train(wsd(photographs), alone)
    train(wsd(photographs, steps=10), run)
    before = digests(run)
    released = train(wsd(photographs, steps=10), run, Start(decay_from="last"))
    assert released == run / "decay_10" / "conv.safetensors"
    assert digests(run) == before
    assert same_weights(train(wsd(photographs), run), alone / "conv.safetensors")
    # Neither does the decay depend on how far the run has come.
    again = train(wsd(photographs), alone, Start(decay_from=10))
    assert same_weights(again, released)
    assert not same_weights(again, alone / "conv.safetensors")


def test_a_decay_that_is_cut_off_goes_on(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = wsd(photographs, steps=10, checkpoint_every=2)
    train(made, tmp_path)
    whole = train(made, tmp_path, Start(decay_from=10))
    decayed = whole.rename(tmp_path / "whole.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr(Training, "forward", power_cut_at(3))
        with pytest.raises(RuntimeError, match="power cut"):
            train(made, tmp_path, Start(decay_from=10, overwrite=True))
    assert same_weights(train(made, tmp_path, Start(decay_from=10)), decayed)


def test_bad_input(photographs: Path, tmp_path: Path) -> None:
    for changes, message in (
        ({"decay_steps": 21}, "decay_steps is 21, longer than the run: steps is 20"),
        ({"decay_steps": None}, "schedule is 'wsd'; wsd needs decay_steps"),
        ({"schedule": "cosine"}, "schedule is 'cosine'; decay_steps is for wsd"),
    ):
        with pytest.raises(ValueError, match=message):
            wsd(photographs, **changes)
    path = tmp_path / "r.yaml"
    path.write_text("schedule: linear\n")
    with pytest.raises(InputError) as error:
        load_settings(path, Recipe)
    assert "\n" not in str(error.value)
    cosine, made = recipe(photographs, steps=3), wsd(photographs, steps=12, decay_steps=12)
    with pytest.raises(InputError, match="--decay-from is for recipes of schedule wsd, not cosine"):
        train(cosine, tmp_path / "cosine", Start(decay_from="last"))
    with pytest.raises(InputError, match=r"--decay-from last: .* holds no checkpoint yet"):
        train(made, tmp_path / "wsd", Start(decay_from="last"))
    train(made, tmp_path / "wsd")
    with pytest.raises(InputError, match="no checkpoint of that step; there are 10, 12"):
        train(made, tmp_path / "wsd", Start(decay_from=11))
    with pytest.raises(InputError, match="decay_steps is 12, longer than the run so far"):
        train(made, tmp_path / "wsd", Start(decay_from=10))
