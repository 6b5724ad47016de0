"""Codecs by name: an entry point, ``package.module:Class`` or ``./file.py:Class``."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from torch import nn

from linksim.codec import Codec
from linksim.errors import InputError, PluginError, described, is_ours, one_line
from linksim.neural_codec import NeuralCodec, read_weights_metadata
from linksim.provenance.plugins import find_plugin, plugin_names
from linksim.settings import CodecSettings
from linksim.zoo import weights_path

C = TypeVar("C", bound=Codec)

GROUP = "linksim.codecs"


def codec_names() -> list[str]:
    """Names of the installed codecs, sorted."""
    return plugin_names(GROUP)


def neural_codec_names() -> list[str]:
    """Those of them that are neural."""
    return [name for name in codec_names() if issubclass(find_codec(name), NeuralCodec)]


def find_codec(name: str) -> type[Codec]:
    """The codec class that a scenario's ``name`` stands for; raises InputError."""
    found = find_plugin(name, group=GROUP, kind="codec")
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
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(cls.__abstractmethods__))
        raise InputError(f"codec {name!r}: {cls.__name__} does not define {missing}")
    try:
        return cls(**merged)
    except InputError:
        raise
    except TypeError as error:
        raise InputError(f"codec {name!r}: {one_line(error)}") from error
    except (Exception, SystemExit) as error:
        if is_ours(cls):
            raise
        raise PluginError(f"codec {name!r} cannot be built: {described(error)}") from error


def codec_from_settings(settings: CodecSettings) -> Codec:
    """The codec that a scenario or recipe describes, with its weights, in evaluation mode.

    Raises InputError for what does not fit.
    """
    codec = build_codec(settings.codec, options=resolved_options(settings))
    if isinstance(codec, NeuralCodec):
        if settings.weights is not None:
            codec.load(weights_path(settings.weights))
        codec.precision = settings.precision
        return _in_evaluation_mode(codec)
    for key in ("weights", "precision"):
        if key in settings.model_fields_set:
            raise InputError(f"codec {settings.codec!r} is not neural; leave out {key!r}")
    return _in_evaluation_mode(codec)


def _in_evaluation_mode(codec: C) -> C:
    """The codec with every torch module that it is or holds in evaluation mode."""
    for module in _modules([codec]):
        module.eval()
    return codec


def _modules(values: Iterable[object]) -> Iterator[nn.Module]:
    """Torch modules among values, their attributes and the containers in these."""
    for value in values:
        if isinstance(value, nn.Module):
            yield value
        if isinstance(value, Codec):
            yield from _modules(vars(value).values())
        elif isinstance(value, list | tuple):
            yield from _modules(value)
        elif isinstance(value, dict):
            yield from _modules(value.values())


def resolved_options(settings: CodecSettings) -> dict[str, Any]:
    """Constructor options: those that the weights were trained with, under the preset's, under
    the user's own."""
    given = codec_options(find_codec(settings.codec), settings.preset, settings.options)
    if settings.weights is None:
        return given
    trained, _ = read_weights_metadata(weights_path(settings.weights))
    return {**trained, **given}
