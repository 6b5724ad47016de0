"""A scenario as points, each named by everything that determines its rows."""

import difflib
import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from itertools import product
from pathlib import Path
from typing import Any

from linksim.codec_lookup import find_codec, resolved_options
from linksim.errors import InputError, is_ours
from linksim.files import file_digest
from linksim.images.sets import ImageItem, open_images
from linksim.link.device_draws import DrawnOnDevice
from linksim.link.knowledge import SnrKnowledge
from linksim.link.link import Link
from linksim.metrics.table import METRICS, find_metric
from linksim.provenance.plugins import plain_name, sources_of_class
from linksim.provenance.sources import Sources, SourceTree
from linksim.settings import CodecSettings
from linksim.sweep.options import AS_USUAL, Numerics
from linksim.sweep.scenario import Scenario
from linksim.sweep.store import content_key
from linksim.zoo import weights_path

VERSIONED = ("torch", "torchvision", "sionna", "av", "pillow", "numpy", "scipy")
HARNESS = ("linksim.sweep.prepared", "linksim.images.sets")
"""Modules that every row rests on, with all that they import."""

_SCAN = "linksim.selective_scan.kernel"

KEPT_BYTES = 2 * 1024**3


@dataclass(frozen=True, kw_only=True)
class Point:
    """One codec over one channel at one CBR and one SNR; ``key`` names its rows in the store.

    seed: which of the codec's trainings, from 0.
    knowledge: what each side believes of the SNR; None where the scenario says nothing of it.
    pictures: names of the images whose reconstructions it keeps; they are not part of the key.
    """

    codec: CodecSettings
    seed: int
    link: Link
    cbr: float
    snr_db: float
    knowledge: SnrKnowledge | None
    key: str
    pictures: tuple[str, ...]

    @property
    def in_words(self) -> str:
        """Which it is, for messages."""
        return f"{self.codec.label} at cbr {self.cbr:.4g} and {self.snr_db:g} dB"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A scenario's images and points, before anything is computed.

    names: of the items. codecs: what :func:`codec_identity` says of each, by its label; where a
    codec was trained several times, ``weights`` lists them all. built: the codecs, each training a
    codec of its own, as the points name them.
    made_of: all else that the keys cover, and the digest of every source file by the name of its
    module. numerics: what else rows depend on; the keys cover it too.
    """

    scenario: Scenario
    links: tuple[Link, ...]
    items: Sequence[ImageItem]
    names: tuple[str, ...]
    codecs: Mapping[str, Mapping[str, Any]]
    built: tuple[CodecSettings, ...]
    made_of: Mapping[str, Any]
    points: tuple[Point, ...]
    numerics: Numerics = AS_USUAL


def plan_sweep(scenario: Scenario, numerics: Numerics = AS_USUAL) -> Plan:
    """Open the images, check the codecs and name every point; raises InputError.

    A key covers all that determines a point's rows, and nothing else: no label, no order, no
    picture. A metric that is named twice, or in another order, is the same.
    """
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
    _check_pictures(scenario, opened.names)
    items, digest = _kept_and_digested(opened)
    of_draws = Link if numerics.draws == "cpu" else DrawnOnDevice
    links = tuple(of_draws(channel, scenario.equalizer) for channel in scenario.channel)
    tree = _Tree()
    trainings = {codec.label: codec.repetitions() for codec in scenario.codecs}
    identities = {
        label: [_identity(codec, tree) for codec in codecs] for label, codecs in trainings.items()
    }
    channels = {link.shown_name: _channel_identity(link, tree) for link in links}
    common: dict[str, Any] = {
        "harness": tree.digest_of_modules(HARNESS),
        "seed": scenario.seed,
        "images": digest,
        "metrics": {
            find_metric(name).name: _metric_identity(name, tree) for name in scenario.metrics
        },
        "versions": {name: version(name) for name in VERSIONED},
        **numerics.identity,
    }
    common |= (
        {"trials": scenario.trials}
        if scenario.until is None
        else {"until": {**scenario.until.model_dump(), "metric": scenario.until.column}}
    )
    names, points = set(opened.names), []
    built = [
        (codec, seed, identity)
        for label, codecs in trainings.items()
        for seed, (codec, identity) in enumerate(zip(codecs, identities[label], strict=True))
    ]
    for (codec, seed, identity), link in product(built, links):
        own = link.channel.own_snr_db
        snrs_db = scenario.snr_db if own is None else (own,)
        for cbr, snr_db, knowledge in product(
            scenario.cbr, snrs_db, scenario.snr_knowledge or (None,)
        ):
            what = {**common, "codec": identity, "cbr": cbr, "snr_db": snr_db}
            what["channel"] = channels[link.shown_name]
            if knowledge is not None:
                what["snr_knowledge"] = knowledge.model_dump(exclude={"label"})
            first = link is links[0] and seed == 0
            points.append(
                Point(
                    codec=codec,
                    seed=seed,
                    link=link,
                    cbr=cbr,
                    snr_db=snr_db,
                    knowledge=knowledge,
                    key=content_key(what),
                    pictures=_pictures_of(scenario, cbr, snr_db, knowledge, names) if first else (),
                )
            )
    return Plan(
        scenario=scenario,
        links=links,
        items=items,
        names=opened.names,
        codecs={label: _as_one(label, each) for label, each in identities.items()},
        built=tuple(codec for codec, _, _ in built),
        made_of={**common, "channels": channels, "sources": tree.met()},
        points=tuple(points),
        numerics=numerics,
    )


def _as_one(label: str, trainings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What several trainings of a codec share, with the weights of each; raises InputError where
    they differ in more."""
    first, *others = ({**each, "weights": None} for each in trainings)
    if any(other != first for other in others):
        raise InputError(
            f"codecs: seeds of {label!r} were trained with different options; they must be "
            "trainings of one recipe"
        )
    if not others:
        return dict(trainings[0])
    weights = [each["weights"] for each in trainings]
    if len(set(weights)) < len(weights):
        raise InputError(f"codecs: seeds of {label!r}: two files hold the same weights")
    return {**first, "weights": weights}


def codec_identity(settings: CodecSettings) -> dict[str, Any]:
    """All that determines a codec's output: class, options, files that options name, weights,
    precision, and one digest of the sources that it rests on."""
    return _identity(settings, _Tree())


class _Tree:
    """The sources met so far."""

    def __init__(self) -> None:
        self._tree = SourceTree()
        self._met: dict[str, str] = {}

    def of(self, cls: Any) -> dict[str, Any]:
        """What a class's behaviour rests on: a digest of its sources, versions of the installed
        packages that a user's class imports, and the compiled scan, where there are such."""
        sources = sources_of_class(cls, self._tree)
        found: dict[str, Any] = {"sources": self._meet(sources)}
        versions = _versions_of(sources.packages - _KNOWN_IMPORTS, search=not is_ours(cls))
        if versions:
            found["versions"] = versions
        if _SCAN in sources.digests:
            from linksim.selective_scan.kernel import KERNEL

            found["scan_kernel"] = "none" if KERNEL is None else file_digest(Path(KERNEL._name))
        return found

    def digest_of_modules(self, names: Sequence[str]) -> str:
        return self._meet(self._tree.of_modules(names))

    def _meet(self, sources: Sources) -> str:
        self._met |= sources.digests
        return sources.digest

    def met(self) -> dict[str, str]:
        """Digests of all source files, by the names of their modules."""
        return dict(sorted(self._met.items()))


def _versions_of(imports: Collection[str], *, search: bool) -> dict[str, str]:
    """Versions of the distributions that installed modules come from.

    search: also for one whose name is another, which takes a second or more.
    """
    names = set()
    for top in imports:
        name = _DISTRIBUTIONS.get(top, top)
        try:
            version(name)
            names.add(name)
        except PackageNotFoundError:
            names |= set(packages_distributions().get(top, ())) if search else set()
    return {name: version(name) for name in sorted(names)}


_DISTRIBUTIONS = {"pillow_jxl": "pillow-jxl-plugin"}

_KNOWN_IMPORTS = frozenset(
    (
        *("PIL", "av", "numpy", "scipy", "sionna", "torch", "torchvision"),
        *(
            "lightning",
            "pandas",
            "pyarrow",
            "pydantic",
            "pydantic_core",
            "rich",
            "safetensors",
            "yaml",
        ),
        *("mamba_ssm", "causal_conv1d", "triton", "dask", "distributed"),
    )
)
"""Imports of linksim itself: those of VERSIONED, and those on which no number depends."""


def _identity(settings: CodecSettings, tree: _Tree) -> dict[str, Any]:
    cls = find_codec(settings.codec)
    options = resolved_options(settings)
    return {
        "class": plain_name(cls),
        "options": options,
        "files": _digests_of_files(options, cls.file_options),
        "weights": settings.weights and file_digest(weights_path(settings.weights)),
        "precision": settings.precision,
        **tree.of(cls),
    }


def _channel_identity(link: Link, tree: _Tree) -> dict[str, Any]:
    channel = link.channel
    return {
        "class": plain_name(type(channel)),
        "settings": channel.model_dump(mode="json", exclude={"type", "label"}),
        "equalizer": link.equalizer,
        "files": [file_digest(path) for path in channel.files if path.is_file()],
        **tree.of(type(channel)),
    }


def _metric_identity(name: str, tree: _Tree) -> dict[str, Any]:
    """Of a user's own metric, what it rests on; linksim's belong to the harness."""
    function = find_metric(name).function
    return {} if name in METRICS or function is None else tree.of(function)


def _digests_of_files(options: Mapping[str, Any], declared: Collection[str]) -> dict[str, str]:
    """SHA-256 of every file that an option names.

    Of an option that the codec declares to name files, whatever stands in it is a file or a
    folder. Of the others, a text with a suffix that names a file, at any depth.
    """
    digests: dict[str, str] = {}
    for name, value in options.items():
        for text in _texts(value):
            path = Path(text)
            if name in declared and path.is_dir():
                files = [file for file in sorted(path.rglob("*")) if file.is_file()]
            else:
                files = [path] if (name in declared or path.suffix) and _is_file(path) else []
            digests |= {str(file): file_digest(file) for file in files}
    return digests


def _texts(value: object) -> Iterator[str]:
    """All text in an option's value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long a name, or one with a zero byte
        return False


def _check_pictures(scenario: Scenario, names: Sequence[str]) -> None:
    """Raise InputError for a picture of an image that is not there; those beyond a limit are."""
    wanted = scenario.pictures.images if scenario.pictures else ()
    unknown = [name for name in wanted if name not in set(names)]
    if not unknown:
        return
    images = scenario.images
    if images.limit is not None:
        names = open_images(images.source, root=images.root, split=images.split).names
        unknown = [name for name in unknown if name not in set(names)]
    if unknown:
        close = difflib.get_close_matches(unknown[0], names, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {_some(names)}"
        raise InputError(f"pictures.images: {unknown[0]!r} is no image of this set; {hint}")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f", … ({len(names)} of them)" if len(names) > 3 else "")


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
