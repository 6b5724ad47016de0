"""Weights that come with linksim: ``zoo:NAME`` is a safetensors file here, with its card."""

from pathlib import Path

from linksim.errors import InputError

_ZOO = Path(__file__).parent


def weights_path(reference: str) -> Path:
    """The file that ``zoo:NAME`` or a path stands for; raises InputError if it is not there."""
    if not reference.startswith("zoo:"):
        path = Path(reference)
        if not path.is_file():
            raise InputError(f"weights {reference}: no such file")
        return path
    if reference not in zoo_names():
        raise InputError(
            f"no weights {reference!r}; allowed are {', '.join(zoo_names()) or 'none'}"
        )
    return _ZOO / f"{reference.removeprefix('zoo:')}.safetensors"


def card_path(reference: str) -> Path:
    """The card (JSON) of ``zoo:NAME`` or of a weights file, its learning curve (CSV) beside it.

    Cards and curves of weights that better ones have replaced stay, so that it can be told what
    those went on from. Raises InputError where neither card nor weights are there.
    """
    if reference in _names(".json"):
        return _ZOO / f"{reference.removeprefix('zoo:')}.json"
    return weights_path(reference).with_suffix(".json")


def zoo_names() -> list[str]:
    """References to all shipped weights, sorted."""
    return _names(".safetensors")


def _names(suffix: str) -> list[str]:
    return sorted(f"zoo:{path.stem}" for path in _ZOO.glob(f"*{suffix}"))
