"""``linksim train``."""

import logging
import warnings
from pathlib import Path

from rich.console import Console

from linksim.training.recipe import Recipe, load_recipe


def train_recipe(
    path: Path, *, out: Path, steps: int | None, data: Path | None, console: Console
) -> None:
    """Train by a recipe file into ``out/<name>``; raises InputError."""
    recipe = _changed(load_recipe(path), steps, data)
    from linksim.training.train import train

    # Lightning advises on matters that the recipe has settled.
    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    weights = train(recipe, out / recipe.name)
    console.print(f"Weights in {weights}, their card beside them. In a scenario:")
    console.print(f"  - {{codec: {recipe.codec.codec}, weights: {weights}}}", highlight=False)


def _changed(recipe: Recipe, steps: int | None, data: Path | None) -> Recipe:
    update: dict[str, object] = {}
    if steps is not None:
        update["steps"] = steps
    if data is not None:
        update["images"] = recipe.images.model_copy(update={"root": data})
    return recipe.model_copy(update=update)
