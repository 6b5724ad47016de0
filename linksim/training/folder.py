"""A training's folder: which training it is, that one process at a time works on it, what is done.

training.json            the recipe it was begun with, the data's digest, the run's identity
checkpoints/             what it goes on from
curve.csv, tensorboard/  how it goes
<name>.safetensors       the weights, at the end, with <name>.json (card) and <name>.csv (curve)
decay_<step>/            the same again for a decay from that step
"""

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from linksim.errors import InputError
from linksim.files import file_digest, remove_leftovers, write_atomically
from linksim.training.recipe import Recipe
from linksim.zoo import weights_path

IDENTITY = "training.json"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
CURVE = "curve.csv"

_FREE = ("checkpoint_every", "keep_every", "images.root", "images.about", "devices", "strategy")
"""What may change between two starts: it changes no weights."""
_DECAY = ("decay_steps", "lr_final", "images.last")
"""What the constant rate of ``schedule: wsd`` does not know yet."""

Identity = dict[str, Any]


def identity_of(recipe: Recipe, data: str, decay_from: int | None) -> Identity:
    """What makes a training the one that it is: settings, data and the weights it starts from."""
    settings = _flat(recipe.model_dump(mode="json", by_alias=True))
    free = _FREE if decay_from is not None else _free_of_main(recipe)
    kept = {
        key: value
        for key, value in settings.items()
        if not any(key == name or key.startswith(f"{name}.") for name in free)
    }
    start = recipe.codec.weights
    return {
        "recipe": kept,
        "data": data,
        "start": None if start is None else file_digest(weights_path(start)),
        "decay_from": decay_from,
    }


def begin(folder: Path, identity: Identity) -> str:
    """The run that the folder holds, or one begun there now; one that left nothing is forgotten.

    Raises InputError where it holds another training.
    """
    path = folder / IDENTITY
    left = any((folder / CHECKPOINTS).glob("step_*")) or any(folder.glob("*.safetensors"))
    if not path.exists() or not left:
        if left or any((folder / CHECKPOINTS).glob("*.ckpt")):
            raise InputError(
                f"{folder} holds a training without {IDENTITY}, which cannot go on; --overwrite "
                "starts anew, another --out keeps both"
            )
        run = uuid4().hex
        text = json.dumps({"run": run, **identity}, indent=2) + "\n"
        write_atomically(path, lambda place: place.write_text(text))
        return run
    try:
        held = json.loads(path.read_text())
        run, recipe, data = str(held["run"]), dict(held["recipe"]), held["data"]
        start = held["start"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path}: damaged; --overwrite starts anew") from None
    anew = "; --overwrite starts anew, another --out keeps both"
    now = identity["recipe"]
    for key in sorted(recipe.keys() | now.keys()):
        before, after = recipe.get(key), now.get(key)
        if before != after:
            raise InputError(
                f"{folder} holds a training with {key} {_shown(before)}, the recipe says "
                f"{_shown(after)}{anew}"
            )
    if data != identity["data"]:
        raise InputError(
            f"{folder} holds a training on other images: names or sizes of files have changed{anew}"
        )
    if start != identity["start"]:
        raise InputError(
            f"{folder} holds a training from other weights: {now.get('codec.weights')} has "
            f"changed{anew}"
        )
    return run


def run_of(folder: Path) -> str:
    """The run that another process has begun there; raises InputError where there is none."""
    path = folder / IDENTITY
    try:
        return str(json.loads(path.read_text())["run"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path}: missing or damaged; the first process should write it") from None


def is_finished(weights: Path, steps: int) -> bool:
    """Whether weights of so many steps are there and whole, with their card."""
    try:
        card = json.loads(weights.with_suffix(".json").read_text())
        return bool(card["steps"] == steps and card["sha256"] == file_digest(weights))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def clear(folder: Path, name: str) -> None:
    """Remove all that trainings of this name wrote there."""
    for path in (folder / CHECKPOINTS, folder / TENSORBOARD, *folder.glob("decay_*")):
        shutil.rmtree(path, ignore_errors=True)
    suffixes = (".safetensors", ".json", ".csv")
    for path in (folder / IDENTITY, folder / CURVE, *(folder / (name + end) for end in suffixes)):
        path.unlink(missing_ok=True)


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep other trainings out of the folder; leftovers of one that was killed go.

    Raises InputError where one is at work, or where the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{folder}: another training is at work there") from None
        remove_leftovers(folder)
        yield


def _free_of_main(recipe: Recipe) -> tuple[str, ...]:
    return (*_FREE, "steps", *_DECAY) if recipe.schedule == "wsd" else _FREE


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _shown(value: object) -> str:
    return "left out" if value is None else json.dumps(value)
