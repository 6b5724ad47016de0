"""The recipes at the papers' size: two steps of each, on a tiny folder in the data's place."""

from pathlib import Path

import pytest
import torch

from linksim.codec_lookup import codec_from_settings
from linksim.training.recipe import load_recipe
from linksim.training.train import train
from tests.helpers.layouts import tiny_data_set
from tests.helpers.places import ROOT

FOLDER = ROOT / "scenarios" / "recipes" / "paper"
RECIPES = sorted(FOLDER.glob("*.yaml"))


def dry_run(path: Path, tmp_path: Path, crop: int | None = None) -> None:
    """Two steps of one image each and a validation; what the data set and the machine size is
    changed, and nothing else."""
    recipe = load_recipe(path)
    crop = crop or recipe.images.crop
    tiny_data_set(recipe.images.source, tmp_path / "data", (2 * crop + 8, 2 * crop))
    changed = {"root": tmp_path / "data", "crop": crop, "holdout": 1}
    images = recipe.images.model_copy(update=changed)
    recipe = recipe.model_copy(
        update={"images": images, "steps": 2, "decay_steps": 1, "batch_size": 1}
    )
    weights = train(recipe, tmp_path / "run")
    settings = recipe.codec.model_copy(update={"weights": str(weights)})
    codec = codec_from_settings(settings)
    assert isinstance(codec, torch.nn.Module)
    assert all(bool(torch.isfinite(parameter).all()) for parameter in codec.parameters())


@pytest.fixture(autouse=True)
def celeba_of_any_content(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CelebA

    monkeypatch.setattr(CelebA, "_check_integrity", lambda self: True)


def test_every_codec_has_a_recipe_for_every_data_set() -> None:
    codecs = ["mambajscc", "swinjscc", "adjscc", "mvsc"]
    files = [f"{codec}_{{}}" for codec in codecs] + [f"deepjscc_{{}}_{snr}db" for snr in (1, 7, 13)]
    wanted = {file.format(data) for file in files for data in ("div2k", "celeba", "afhq")}
    assert {path.stem for path in RECIPES} == wanted


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipe_is_the_papers(path: Path) -> None:
    """CBR 1/48 for all, on crops of the sides that the paper gives (its section V)."""
    recipe = load_recipe(path)
    assert recipe.codec.preset == "paper"
    assert recipe.cbr == 1 / 48
    assert recipe.images.crop == {"div2k": 256, "celeba": 128, "afhq": 512}[recipe.images.source]
    assert recipe.images.split == "train"


@pytest.mark.parametrize("name", ["mambajscc_div2k", "adjscc_celeba", "deepjscc_afhq_7db"])
def test_two_steps_on_small_crops(name: str, tmp_path: Path) -> None:
    dry_run(FOLDER / f"{name}.yaml", tmp_path, crop=64)


@pytest.mark.slow
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_two_steps(path: Path, tmp_path: Path) -> None:
    dry_run(path, tmp_path)
