"""A codec through every protocol: its points, and the references' that are not there yet."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from linksim.benchmark.protocols import NAME, Entrant, Protocol, protocols, references
from linksim.benchmark.result import Over, Result, over_protocol, write_result
from linksim.codec_lookup import codec_from_settings
from linksim.entrance import prepare_run
from linksim.files import distinct_slugs
from linksim.files.tables import read_table
from linksim.neural_codec import NeuralCodec, read_weights_metadata
from linksim.provenance import machine, versions
from linksim.settings import CodecSettings
from linksim.sweep.complexity import count_parameters
from linksim.sweep.options import RunOptions
from linksim.sweep.plan import Point, codec_identity
from linksim.zoo import weights_path

_POINTS = "runs"


def run_benchmark(
    entrant: Entrant,
    out: Path,
    options: RunOptions,
    *,
    on_start: Callable[[str, Point], None] = lambda protocol, point: None,
    on_image: Callable[[int], None] = lambda count: None,
) -> Path:
    """Work off every protocol and write ``out/<label>.json``; gives its path.

    Points are kept in ``out/runs``: a run that was cut off goes on, and the references are computed
    once for all codecs. on_start is told each point as it begins, on_image how many transmissions
    were finished. Raises InputError and PointsFailedError, as :func:`linksim.run`.
    """
    others = [one for one in references() if one.label != entrant.label]
    found = {
        protocol.name: _over(protocol, entrant, others, out / _POINTS, options, on_start, on_image)
        for protocol in protocols()
    }
    result = Result(
        benchmark=NAME,
        entrant=entrant,
        **_about(entrant),
        references={one.label: codec_identity(one) for one in others},
        versions=versions(),
        machine=machine(),
        protocols=found,
    )
    path = out / f"{distinct_slugs([entrant.label])[entrant.label]}.json"
    write_result(path, result)
    return path


def _over(
    protocol: Protocol,
    entrant: Entrant,
    others: list[Entrant],
    points: Path,
    options: RunOptions,
    on_start: Callable[[str, Point], None],
    on_image: Callable[[int], None],
) -> Over:
    codecs = [one.over(protocol.name) for one in (entrant, *others)]
    run = prepare_run(protocol.scenario(codecs), points)
    run.finish(options, on_start=lambda point: on_start(protocol.name, point), on_image=on_image)
    weights = run.plan.codecs[entrant.label]["weights"]
    return over_protocol(
        read_table(run.folder / "rows.parquet"),
        entrant.label,
        [other.label for other in others],
        digest=protocol.digest,
        weights=weights,
    )


def _about(entrant: Entrant) -> dict[str, Any]:
    """What the results file says of the codec itself."""
    settings = CodecSettings.model_validate(
        entrant.model_dump(exclude={"by", "repeat", "protocols"}, exclude_unset=True)
    )
    codec = codec_from_settings(settings)
    card: dict[str, Any] = {}
    if settings.weights is not None:
        _, card = read_weights_metadata(weights_path(settings.weights))
    return {
        "identity": codec_identity(settings),
        "parameters": count_parameters(codec) if isinstance(codec, NeuralCodec) else None,
        "card": card,
    }
