"""From a published file to weights that a scenario can name."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from linksim.codec_lookup import build_codec, codec_options, find_codec
from linksim.errors import InputError, one_line
from linksim.files import file_digest, write_atomically
from linksim.importing import adjscc, deepjscc, mambajscc, mvsc, swinjscc
from linksim.importing.reading import read_tensors
from linksim.importing.tensors import Converted, Source
from linksim.neural_codec import NeuralCodec

CONVERTERS: Mapping[str, Callable[[Source], Converted]] = {
    "swinjscc": swinjscc.convert,
    "mambajscc": mambajscc.convert,
    "deepjscc": deepjscc.convert,
    "adjscc": adjscc.convert,
    "mvsc": mvsc.convert,
    "mvsc4": mvsc.convert,
}


def import_weights(
    files: Path | str | Sequence[Path | str],
    codec: str,
    *,
    out: Path | str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Path:
    """Write a published checkpoint as weights of a codec; returns the path.

    files: what the authors publish: one file, or several (MambaJSCC has one a side). Nothing that
        they name is run.
    codec: ``swinjscc`` (WITT too), ``mambajscc``, ``deepjscc``, ``adjscc``, ``mvsc`` or ``mvsc4``.
    out: the safetensors file to write; the first file's name beside it if left out.
    options: constructor options that neither shapes nor file names tell, or that they tell wrongly.

    The file's card says where it comes from (SHA-256), its options, the conventions in which the
    published numbers differ from linksim's, and what cannot be represented. Raises InputError for
    files that cannot be read, that would run something, of another codec or of shapes that do not
    fit together.
    """
    paths = [Path(file) for file in ([files] if isinstance(files, str | Path) else files)]
    if not paths:
        raise InputError("import: no file given")
    if codec not in CONVERTERS:
        raise InputError(f"import: no converter for {codec!r}; allowed are {', '.join(CONVERTERS)}")
    target = Path(out) if out is not None else paths[0].with_suffix(".safetensors")
    if target.resolve() in [path.resolve() for path in paths]:
        raise InputError(f"{target} is what is read; give another --out")
    given = codec_options(find_codec(codec), None, options or {})
    source = Source(
        where=", ".join(map(str, paths)),
        file_name=" ".join(path.name for path in paths),
        tensors=_merge(paths),
        given=given,
    )
    try:
        converted = CONVERTERS[codec](source)
    except InputError:
        raise
    except (RuntimeError, ValueError, IndexError) as error:  # tensors that do not fit together
        raise InputError(
            f"{source.where}: its tensors are not of {codec}'s shapes ({one_line(error)[:120]})"
        ) from None
    unknown = source.rest(converted.superfluous)
    if unknown:
        raise InputError(
            f"{source.where}: {len(unknown)} tensors are of no use to {codec}, such as "
            f"{unknown[0]!r}; this is another codec, or a version that is not known"
        )
    settings = {**converted.options, **given}
    built = _load(codec, settings, converted.state, source.where)
    card = {
        "imported": [{"file": path.name, "sha256": file_digest(path)} for path in paths],
        "conventions": list(converted.conventions),
        "not_represented": list(converted.lost),
    }
    write_atomically(target, lambda place: built.save(place, options=settings, card=card))
    return target


def _merge(paths: Sequence[Path]) -> dict[str, Tensor]:
    merged: dict[str, Tensor] = {}
    for path in paths:
        tensors = read_tensors(path)
        twice = sorted(merged.keys() & tensors.keys())
        if twice:
            raise InputError(f"{path}: {twice[0]} stands in two files; which of them is meant?")
        merged |= tensors
    return merged


def _load(
    codec: str, options: Mapping[str, Any], state: Mapping[str, Tensor], where: str
) -> NeuralCodec:
    """The codec with the weights in it; InputError where a shape does not fit."""
    built = build_codec(codec, options=options)
    if not isinstance(built, NeuralCodec):
        raise InputError(f"codec {codec!r} is not neural; it has no weights")
    built.load_tensors(state, where)
    return built
