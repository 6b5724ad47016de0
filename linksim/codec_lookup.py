"""Codecs by name: an entry point, ``package.module:Class`` or ``./file.py:Class``."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from linksim.codec import Codec
from linksim.errors import InputError
from linksim.neural_codec import NeuralCodec, read_weights_metadata
from linksim.settings import CodecSettings
from linksim.zoo import weights_path

GROUP = "linksim.codecs"


def codec_names() -> list[str]:
    """Names of the installed codecs, sorted."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def neural_codec_names() -> list[str]:
    """Those of them that are neural."""
    return [name for name in codec_names() if issubclass(find_codec(name), NeuralCodec)]


def find_codec(name: str) -> type[Codec]:
    """The codec class that a scenario's ``name`` stands for; raises InputError."""
    if ":" in name:
        where, _, attribute = name.rpartition(":")
        module = _import_file(Path(where)) if where.endswith(".py") else _import_module(where, name)
        found = getattr(module, attribute, None)
        if found is None:
            raise InputError(f"codec {name!r}: {where} has no {attribute}")
    else:
        entries = [entry for entry in entry_points(group=GROUP) if entry.name == name]
        if not entries:
            raise InputError(
                f"unknown codec {name!r}; allowed are {', '.join(codec_names())}, "
                "package.module:Class or ./file.py:Class"
            )
        found = entries[0].load()
    if not (inspect.isclass(found) and issubclass(found, Codec)):
        raise InputError(f"codec {name!r}: {found!r} is not a subclass of linksim.Codec")
    return found


def codec_options(
    cls: type[Codec], preset: str | None, options: Mapping[str, Any]
) -> dict[str, Any]:
    """A preset's options overlaid with the user's, checked against the constructor."""
    if preset is not None and preset not in cls.presets:
        allowed = ", ".join(cls.presets) or "none"
        raise InputError(f"{cls.__name__} has no preset {preset!r}; allowed are {allowed}")
    merged = {**(cls.presets[preset] if preset else {}), **options}
    allowed_options = option_names(cls)
    for key in merged:
        if key not in allowed_options:
            raise InputError(
                f"{cls.__name__} has no option {key!r}; allowed are "
                f"{', '.join(allowed_options) or 'none'}"
            )
    return merged


def option_names(cls: type[Codec]) -> list[str]:
    """Names of the constructor's keyword arguments: what a scenario can set."""
    kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(cls).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind in kinds]


def build_codec(
    name: str, *, preset: str | None = None, options: Mapping[str, Any] | None = None
) -> Codec:
    """A codec from its name, preset and options; raises InputError for what does not fit."""
    cls = find_codec(name)
    merged = codec_options(cls, preset, options or {})
    try:
        return cls(**merged)
    except TypeError as error:
        raise InputError(f"codec {name!r}: {error}") from None


def codec_from_settings(settings: CodecSettings) -> Codec:
    """The codec that a scenario or recipe describes, with its weights, in evaluation mode.

    Raises InputError for what does not fit.
    """
    codec = build_codec(settings.codec, options=resolved_options(settings))
    if isinstance(codec, NeuralCodec):
        if settings.weights is not None:
            codec.load(weights_path(settings.weights))
        codec.precision = settings.precision
        return codec.eval()
    for key in ("weights", "precision"):
        if key in settings.model_fields_set:
            raise InputError(f"codec {settings.codec!r} is not neural; leave out {key!r}")
    return codec


def resolved_options(settings: CodecSettings) -> dict[str, Any]:
    """Constructor options: those that the weights were trained with, under the preset's, under
    the user's own."""
    given = codec_options(find_codec(settings.codec), settings.preset, settings.options)
    if settings.weights is None:
        return given
    trained, _ = read_weights_metadata(weights_path(settings.weights))
    return {**trained, **given}


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"codec file {path} does not exist")
    module_name = f"linksim_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"codec file {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    return module


def _import_module(where: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(where)
    except ModuleNotFoundError as error:
        raise InputError(f"codec {name!r}: {error}") from None
