"""Training: learns, resumes exactly, repeats exactly, and leaves weights that a scenario takes."""

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from scipy.stats import chisquare

from baselines.mvsc import MVSC
from linksim.codec_lookup import codec_from_settings
from linksim.errors import InputError
from linksim.settings import CodecSettings
from linksim.training.data import Batches, split_images
from linksim.training.module import Training, draw_cbr
from linksim.training.recipe import Recipe, load_recipe
from linksim.training.train import SETTLING_BATCHES, train
from tests.helpers.layouts import smooth_picture
from tests.helpers.places import HELPERS, ROOT

CONV = f"{HELPERS / 'conv.py'}:Conv"


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve smooth random pictures of 80x100."""
    folder = tmp_path_factory.mktemp("photographs")
    for i in range(12):
        smooth_picture(i, (100, 80)).save(folder / f"{i:02}.png")
    return folder


def recipe(photographs: Path, **changes: object) -> Recipe:
    settings: dict[str, object] = {
        "name": "conv",
        "codec": {"codec": CONV},
        "channel": {"type": "rayleigh"},
        "snr_db": [1, 10, 19],
        "cbr": {"low": 1 / 96, "high": 1 / 24},
        "images": {"root": photographs, "crop": 32, "holdout": 3},
        "validation": {"every": 20, "snr_db": [1, 19]},
        "steps": 40,
        "batch_size": 4,
        "lr": 0.01,
        "warmup": 4,
        "ema": 0.8,
        "checkpoint_every": 5,
    }
    return Recipe.model_validate({**settings, **changes})


def power_cut_at(step: int) -> Callable[..., torch.Tensor]:
    """In the place of Training.forward: it fails at its so-manyth call."""
    forward, calls = Training.forward, count()

    def cut(self: Training, *args: object) -> torch.Tensor:
        if next(calls) == step:
            raise RuntimeError("power cut")
        return forward(self, *args)  # type: ignore[arg-type]

    return cut


def same_weights(one: Path, other: Path) -> bool:
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_it_learns_and_leaves_weights_with_a_card(photographs: Path, tmp_path: Path) -> None:
    path = train(recipe(photographs), tmp_path)
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["steps"] == 40
    assert card["images_seen"] == 160
    assert card["held_out_images"] == ["00", "04", "08"]
    assert card["training_images"] == 9
    assert torch.__version__.startswith(card["versions"]["torch"])
    untrained = train(recipe(photographs, steps=1, name="untrained"), tmp_path / "untrained")
    before = json.loads(untrained.with_suffix(".json").read_text())
    assert card["validation"]["val_psnr"] > before["validation"]["val_psnr"] + 3
    assert card["validation"]["psnr_19dB"] > card["validation"]["psnr_1dB"]
    assert card["pixels_seen"] == 160 * 32**2
    assert list((tmp_path / "tensorboard").glob("events*"))

    codec = codec_from_settings(CodecSettings(codec=CONV, weights=str(path)))
    assert isinstance(codec, torch.nn.Module)
    assert not codec.training
    weights = load_file(path)
    assert all(torch.equal(value, weights[name]) for name, value in codec.state_dict().items())


def test_it_learns_over_ofdm(photographs: Path, tmp_path: Path) -> None:
    """Through clipping, fading and estimation, as far as gradients must come."""
    channel = {
        "type": "ofdm",
        "model": "TDL-A",
        "delay_spread_ns": 100,
        "subcarriers": 12,
        "symbols_per_slot": 2,
        "pilots": {"symbols": [0], "spacing": 3},
        "estimation": "ls",
        "clipping": {"backoff_db": 4},
    }
    psnr = {}
    for steps in (1, 30):
        path = train(recipe(photographs, channel=channel, steps=steps), tmp_path / str(steps))
        psnr[steps] = json.loads(path.with_suffix(".json").read_text())["validation"]["val_psnr"]
    assert psnr[30] > psnr[1] + 2


def test_weights_remember_their_options(photographs: Path, tmp_path: Path) -> None:
    wide = {"codec": CONV, "preset": "wide"}
    path = train(recipe(photographs, codec=wide, steps=1), tmp_path)
    codec = codec_from_settings(CodecSettings(codec=CONV, weights=str(path)))
    assert codec.latent_channels == 32  # type: ignore[attr-defined]
    other = CodecSettings(codec=CONV, weights=str(path), options={"latent_channels": 8})
    with pytest.raises(InputError, match="do not fit Conv"):
        codec_from_settings(other)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_cut_off_and_gone_on_is_as_if_it_had_not_been(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    made = recipe(photographs, optimizer=optimizer)
    whole = train(made, tmp_path / "whole")

    with monkeypatch.context() as patch:
        patch.setattr(Training, "forward", power_cut_at(18))
        with pytest.raises(RuntimeError, match="power cut"):
            train(made, tmp_path / "cut")
    resumed = train(made, tmp_path / "cut")
    curve = pd.read_csv(resumed.with_suffix(".csv"))
    assert curve["step"].is_unique
    assert list(curve.dropna(subset="val_psnr")["step"]) == [20, 40]
    pd.testing.assert_frame_equal(curve, pd.read_csv(whole.with_suffix(".csv")))
    assert same_weights(whole, resumed)


def test_another_seed_is_another_training(photographs: Path, tmp_path: Path) -> None:
    paths = [
        train(recipe(photographs, steps=2, seed=seed), tmp_path / str(i))
        for i, seed in enumerate((1, 1, 2))
    ]
    one, same, other = (load_file(path)["encoder.weight"] for path in paths)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("loss", ["ms_ssim", "lpips"])
def test_other_losses(photographs: Path, tmp_path: Path, loss: str) -> None:
    images = {"root": photographs, "crop": 64, "holdout": 3, "downscale": None}
    path = train(recipe(photographs, loss=loss, steps=2, precision="bf16", images=images), tmp_path)
    assert path.is_file()


def test_both_ends_of_the_rate_are_trained(photographs: Path) -> None:
    """Eight channels at most: each number is drawn, all as often."""
    settings = recipe(photographs, cbr={"low": 1 / 96, "high": 1 / 12})
    draw = torch.Generator().manual_seed(0)
    drawn = [draw_cbr(settings, 1 / 96, draw) * 96 for _ in range(4000)]
    counts = np.bincount(np.rint(drawn).astype(int), minlength=9)[1:]
    assert np.allclose(drawn, np.rint(drawn))
    assert chisquare(counts).pvalue > 0.001


def test_the_largest_rate_in_half_of_the_batches(photographs: Path) -> None:
    settings = recipe(photographs, cbr={"low": 1 / 96, "high": 1 / 12, "largest": 0.5})
    draw = torch.Generator().manual_seed(0)
    drawn = np.rint([draw_cbr(settings, 1 / 96, draw) * 96 for _ in range(4000)]).astype(int)
    counts = np.bincount(drawn, minlength=9)[1:]
    assert chisquare(counts, 4000 * np.array([1 / 16] * 7 + [9 / 16])).pvalue > 0.001


def test_held_out_photographs_are_not_trained_on(photographs: Path) -> None:
    training, held_out = split_images(recipe(photographs))
    assert set(training.names).isdisjoint(held_out.names)
    assert len(training) + len(held_out) == 12


def test_larger_crops_hold_out_no_others(photographs: Path, tmp_path: Path) -> None:
    """A training that goes on with larger crops must not train on what was held out before."""
    for path in sorted(photographs.iterdir()):
        (tmp_path / path.name).symlink_to(path)
    for name in ("00a", "02a", "05a", "07a"):  # between the others, and too small for large crops
        smooth_picture(3, (40, 40)).save(tmp_path / f"{name}.png")
    images = {"root": tmp_path, "crop": 32, "holdout": 4}
    held = split_images(recipe(tmp_path, images=images))[1]
    last = recipe(tmp_path, images={**images, "last": {"crop": 48, "steps": 2}})
    larger = recipe(tmp_path, images=images, validation={"crop": 48})
    for made in (last, larger):
        training, still_held = split_images(made)
        assert len(training) + len(still_held) == 12
        assert set(still_held.names) <= set(held.names)
        assert not set(training.names) & set(held.names)


def test_validation_has_a_crop_of_its_own(photographs: Path) -> None:
    images = {"root": photographs, "crop": 32, "holdout": 3, "last": {"crop": 64, "steps": 2}}
    assert recipe(photographs, images=images).validation_crop == 64
    smaller = recipe(photographs, images=images, validation={"crop": 32})
    assert (smaller.validation_crop, smaller.largest_crop) == (32, 64)
    larger = recipe(photographs, validation={"crop": 64})
    assert (larger.validation_crop, larger.largest_crop) == (64, 64)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CIFAR-10's layout as folders: ten classes of six pictures of 32x32, each class one colour."""
    root = tmp_path_factory.mktemp("cifar10")
    random = np.random.default_rng(0)
    for label in range(10):
        folder = root / "train" / f"class{label}"
        folder.mkdir(parents=True)
        colour = random.integers(40, 216, 3)
        for i in range(6):
            pixels = colour + random.integers(-20, 21, (32, 32, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    return root


def labelled_recipe(root: Path, **changes: object) -> Recipe:
    images = {"source": "cifar10", "root": root, "split": "train", "crop": 32, "downscale": None}
    return recipe(root, images={**images, "holdout": 20}, cbr=1 / 12, **changes)


def test_as_many_of_each_class_are_held_out(labelled: Path) -> None:
    training, held_out = split_images(labelled_recipe(labelled))
    assert (len(training), len(held_out)) == (40, 20)
    assert [held_out.labels.count(label) for label in range(10)] == [2] * 10
    assert set(training.names).isdisjoint(held_out.names)


def test_mvsc4_learns_from_labelled_images(labelled: Path, tmp_path: Path) -> None:
    mvsc4 = {"codec": "mvsc4", "preset": "cifar10"}

    def validation(name: str, steps: int) -> dict[str, float]:
        made = labelled_recipe(
            labelled, name=name, codec=mvsc4, channel={"type": "awgn"}, steps=steps, batch_size=20,
            snr_db=[1, 7, 13], validation={"every": 100, "snr_db": [1, 13]}, ema=None,
        )  # fmt: skip
        card = json.loads(train(made, tmp_path / name).with_suffix(".json").read_text())
        return card["validation"]  # type: ignore[no-any-return]

    before, after = validation("untrained", 1), validation("trained", 60)
    assert before["val_accuracy"] < 0.4
    assert after["val_accuracy"] > before["val_accuracy"] + 0.2
    assert after["val_snr_error_db"] < before["val_snr_error_db"]
    assert after["val_psnr"] > before["val_psnr"]
    mean = (after["accuracy_1dB"] + after["accuracy_13dB"]) / 2
    assert after["val_accuracy"] == pytest.approx(mean, abs=1e-3)


def test_a_codec_that_wants_labels_says_so(photographs: Path, tmp_path: Path) -> None:
    settings = {"codec": "mvsc4", "preset": "cifar10"}
    with pytest.raises(InputError, match=r"labels 0\.\.9; a batch holds -1"):
        train(recipe(photographs, codec=settings, cbr=1 / 12, steps=1), tmp_path)


def test_bad_recipes(photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"images.holdout is 12, but .* holds 12 images; some must"
    ):
        split_images(recipe(photographs, images={"root": photographs, "holdout": 12}))
    for images, message in (
        ({"source": "imagenet"}, "'imagenet' is no source; allowed are kodak, folder, classes"),
        ({"crop": 64}, "source 'folder' needs a root"),
        ({"source": "cifar10", "root": photographs, "split": "valid"}, "allowed are test, train"),
    ):
        with pytest.raises(InputError, match=message):
            split_images(recipe(photographs, images=images))
    with pytest.raises(InputError, match="'bpg_ldpc' is not neural"):
        train(recipe(photographs, codec={"codec": "bpg_ldpc"}), tmp_path)
    with pytest.raises(InputError, match=r"the loss is (nan|inf)"):
        train(recipe(photographs, lr=1e30, warmup=0, ema=None), tmp_path)
    with pytest.raises(ValueError, match="every training's folder holds a file 'curve'"):
        recipe(photographs, name="curve")
    path = tmp_path / "r.yaml"
    path.write_text("codec: {codec: mambajscc}\nlearning_rate: 1\n")
    with pytest.raises(InputError, match=r"unknown key 'learning_rate' \(allowed: "):
        load_recipe(path)


def test_shipped_recipes_are_valid() -> None:
    folder = ROOT / "scenarios" / "recipes"
    names = {load_recipe(path).name for path in folder.glob("**/*.yaml")}
    assert {"mambajscc-small-rayleigh", "mvsc4-cifar10", "mvsc-small-rayleigh"} <= names


@pytest.mark.slow
def test_two_runs_of_a_shipped_recipe_are_alike(shared: Path, tmp_path: Path) -> None:
    """The first 100 steps of MambaJSCC's weights, on real photographs."""
    path = ROOT / "scenarios/recipes/mambajscc_small_rayleigh.yaml"
    settings = load_recipe(path)
    images = settings.images.model_copy(update={"root": shared / "data" / "train", "last": None})
    settings = settings.model_copy(update={"images": images, "steps": 100})
    for name in ("one", "other"):
        train(settings, tmp_path / name)
    one, other = (
        pd.read_csv(tmp_path / name / "mambajscc-small-rayleigh.csv") for name in ("one", "other")
    )
    assert len(one["loss"].dropna()) == 2
    np.testing.assert_allclose(one["loss"], other["loss"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(one["val_psnr"], other["val_psnr"], rtol=0, atol=1e-2)


def test_averaged_weights_get_batch_norms_of_their_own(photographs: Path, tmp_path: Path) -> None:
    """The first BatchNorm sees images alone: its mean is that of the convolution before it, with
    the averaged weights, over the batches that would have come next."""
    mvsc = {"codec": "mvsc", "preset": "cifar10"}
    made = recipe(photographs, codec=mvsc, cbr=1 / 12, steps=6, lr=0.03, ema=0.5, snr_db=[5])
    path = train(made, tmp_path)
    codec = codec_from_settings(CodecSettings(**mvsc, weights=str(path)))
    assert isinstance(codec, MVSC)
    training, _ = split_images(made)
    batches = Batches(made, training)
    with torch.no_grad():
        means = [
            codec.encoder.stem[0](batches.of(6 + i, 32, 0, 4)[0]).mean((0, 2, 3))
            for i in range(SETTLING_BATCHES)
        ]
    torch.testing.assert_close(codec.encoder.stem[1].running_mean, torch.stack(means).mean(0))
