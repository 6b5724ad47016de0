"""A scenario as points, each named by everything that determines its rows."""

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

from linksim.codec_lookup import find_codec, resolved_options
from linksim.files import file_digest
from linksim.images.sets import ImageItem, open_images
from linksim.link.knowledge import SnrKnowledge
from linksim.link.link import Link
from linksim.settings import CodecSettings
from linksim.sweep.scenario import Scenario
from linksim.sweep.store import content_key
from linksim.zoo import weights_path

VERSIONED = ("linksim", "torch", "sionna")
KEPT_BYTES = 2 * 1024**3


@dataclass(frozen=True, kw_only=True)
class Point:
    """One codec over one channel at one CBR and one SNR; ``key`` names its rows in the store.

    knowledge: what each side believes of the SNR; None where the scenario says nothing of it.
    """

    codec: CodecSettings
    link: Link
    cbr: float
    snr_db: float
    knowledge: SnrKnowledge | None
    key: str
    pictures: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A scenario's images and points, before anything is computed.

    names: of the items. codecs: what :func:`codec_identity` says of each, by its label.
    """

    scenario: Scenario
    links: tuple[Link, ...]
    items: Sequence[ImageItem]
    names: tuple[str, ...]
    codecs: Mapping[str, Mapping[str, Any]]
    points: tuple[Point, ...]


def plan_sweep(scenario: Scenario) -> Plan:
    """Open the images, check the codecs and name every point; raises InputError."""
    images = scenario.images
    opened = open_images(
        images.source,
        root=images.root,
        split=images.split,
        crop=images.crop,
        resize=images.resize,
        limit=images.limit,
        max_pixels=images.max_pixels,
    )
    items, digest = _kept_and_digested(opened)
    links = tuple(Link(channel, scenario.equalizer) for channel in scenario.channel)
    common = {
        "versions": {name: version(name) for name in VERSIONED},
        "seed": scenario.seed,
        "images": digest,
        "trials": scenario.trials,
        "metrics": scenario.metrics,
    }
    if scenario.until is not None:
        common["until"] = scenario.until.model_dump()
    names = set(opened.names)
    codecs = {codec.label: codec_identity(codec) for codec in scenario.codecs}
    points = []
    for codec, link in product(scenario.codecs, links):
        for cbr, snr_db, knowledge in product(
            scenario.cbr, scenario.snr_db, scenario.snr_knowledge or (None,)
        ):
            first = link is links[0]
            pictures = _pictures_of(scenario, cbr, snr_db, knowledge, names) if first else ()
            what = {**common, "codec": codecs[codec.label], "cbr": cbr, "snr_db": snr_db}
            what |= {"channel": link.name, "pictures": pictures}
            if link.shown_name != link.name:
                what["channel_label"] = link.shown_name
            if knowledge is not None:
                what["snr_knowledge"] = knowledge.model_dump(exclude={"label"})
            points.append(
                Point(
                    codec=codec,
                    link=link,
                    cbr=cbr,
                    snr_db=snr_db,
                    knowledge=knowledge,
                    key=content_key(what),
                    pictures=pictures,
                )
            )
    return Plan(
        scenario=scenario,
        links=links,
        items=items,
        names=opened.names,
        codecs=codecs,
        points=tuple(points),
    )


def codec_identity(settings: CodecSettings) -> dict[str, Any]:
    """All that determines a codec's output: class, options, files that options name, weights,
    precision and, for a codec outside linksim, the digest of its source file."""
    cls = find_codec(settings.codec)
    package = cls.__module__.partition(".")[0]
    source = None if package in ("linksim", "baselines") else inspect.getsourcefile(cls)
    options = resolved_options(settings)
    return {
        "class": f"{cls.__module__}.{cls.__qualname__}",
        "options": options,
        **_digests_of_files(options),
        "weights": settings.weights and file_digest(weights_path(settings.weights)),
        "precision": settings.precision,
        "source": source and file_digest(Path(source)),
    }


def _digests_of_files(options: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of every file that an option names, or that lies in a folder that one names."""
    digests: dict[str, str] = {}
    for value in options.values():
        path = Path(value) if isinstance(value, str) else None
        if path is not None and path.exists():
            files = [path] if path.is_file() else sorted(path.rglob("*"))
            digests |= {str(file): file_digest(file) for file in files if file.is_file()}
    return digests


def _kept_and_digested(images: Sequence[ImageItem]) -> tuple[Sequence[ImageItem], str]:
    """The images, in memory if they are not too many to keep, and the digest of their pixels."""
    digest, kept, size = hashlib.sha256(), [], 0
    for item in images:
        digest.update(f"{item.name}{tuple(item.image.shape)}{item.label}".encode())
        digest.update(item.image.numpy().tobytes())
        size += item.image.nbytes
        if size <= KEPT_BYTES:
            kept.append(item)
    return (kept if size <= KEPT_BYTES else images), digest.hexdigest()


def _pictures_of(
    scenario: Scenario, cbr: float, snr_db: float, knowledge: SnrKnowledge | None, names: set[str]
) -> tuple[str, ...]:
    """Names of the images whose reconstructions this point keeps.

    Of several kinds of knowledge of the SNR, the first keeps them.
    """
    pictures = scenario.pictures
    if pictures is None or (
        scenario.snr_knowledge is not None and knowledge is not scenario.snr_knowledge[0]
    ):
        return ()
    wanted_cbr = scenario.cbr[0] if pictures.cbr is None else pictures.cbr
    if (snr_db, cbr) != (pictures.snr_db, wanted_cbr):
        return ()
    return tuple(name for name in pictures.images if name in names)
