"""The card of trained weights: where they come from and what they reached."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linksim.neural_codec import read_weights_metadata
from linksim.provenance import machine, versions
from linksim.training.recipe import Recipe
from linksim.training.schedule import last_step, pixels_seen
from linksim.zoo import weights_path


def card_of(
    recipe: Recipe,
    *,
    decay_from: int | None,
    seconds: float,
    precisions: Sequence[str],
    training_images: int,
    held_out: Sequence[str],
    data: str,
    validation: Mapping[str, float],
) -> dict[str, Any]:
    """What a user must know of weights.

    seconds: of training, over all starts. precisions: in which the layers were computed.
    """
    steps = last_step(recipe, decay_from)
    return {
        "recipe": recipe.model_dump(mode="json", by_alias=True, exclude={"images": {"root"}}),
        "steps": steps,
        "decay_from": decay_from,
        "images_seen": steps * recipe.batch_size,
        "pixels_seen": pixels_seen(recipe, steps, decay_from),
        "pixels_seen_before": _pixels_before(recipe),
        "precision": ", ".join(precisions),
        "training_seconds": round(seconds),
        "training_images": training_images,
        "held_out_images": list(held_out),
        "data_sha256": data,
        "validation": {name: round(value, 4) for name, value in validation.items()},
        "versions": versions(),
        "machine": machine(),
    }


def pixels_of(card: Mapping[str, Any]) -> int:
    """Pixels that the training behind a card saw, those of the weights it started from included.

    Cards of before ``pixels_seen`` say so by images and crops.
    """
    if "pixels_seen" in card:
        return int(card["pixels_seen"]) + int(card["pixels_seen_before"])
    steps = int(card["images_seen"]) // int(card["recipe"]["batch_size"])
    return int(pixels_after(card["recipe"], np.array(steps)))


def pixels_after(recipe: Mapping[str, Any], steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pixels of all crops of so many steps, by a card's recipe, for cards that do not say it; the
    last steps are those of ``images.last``."""
    images = recipe["images"]
    last = images.get("last") or {"crop": images["crop"], "steps": 0}
    large = np.maximum(steps - (recipe["steps"] - last["steps"]), 0)
    area: NDArray[np.int64] = (steps - large) * images["crop"] ** 2 + large * last["crop"] ** 2
    return area * int(recipe["batch_size"])


def _pixels_before(recipe: Recipe) -> int:
    """Of the weights that a training starts from; 0 where their card does not say."""
    if recipe.codec.weights is None:
        return 0
    _, card = read_weights_metadata(weights_path(recipe.codec.weights))
    try:
        return pixels_of(card)
    except (KeyError, TypeError):
        return 0
