"""A scenario worked off point by point: codec, channel, CBR and SNR to rows, one a transmission."""

import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby, product
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from linksim.codec import Codec, Frame
from linksim.codec_lookup import codec_from_settings, find_codec, resolved_options
from linksim.errors import InputError
from linksim.images import ImageItem, open_images
from linksim.link import Link, LinkProbe
from linksim.metrics import measure, ms_ssim_variant
from linksim.scenario import Scenario
from linksim.seeding import derive_seed
from linksim.settings import CodecSettings
from linksim.store import Store, content_key, file_digest
from linksim.transmission import Transmission, encode, transmit, uniform_snr
from linksim.units import channel_bandwidth_ratio, esno_to_ebno_db, symbol_budget
from linksim.zoo import weights_path

VERSIONED = ("linksim", "torch", "sionna")
KEPT_BYTES = 2 * 1024**3


@dataclass(frozen=True, kw_only=True)
class Point:
    """One codec over one channel at one CBR and one SNR; ``key`` names its rows in the store."""

    codec: CodecSettings
    link: Link
    cbr: float
    snr_db: float
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
    names = set(opened.names)
    codecs = {codec.name: codec_identity(codec) for codec in scenario.codecs}
    points = []
    for codec, link in product(scenario.codecs, links):
        for cbr, snr_db in product(scenario.cbr, scenario.snr_db):
            pictures = _pictures_of(scenario, cbr, snr_db, names) if link is links[0] else ()
            what = {**common, "codec": codecs[codec.name], "cbr": cbr, "snr_db": snr_db}
            what |= {"channel": link.name, "pictures": pictures}
            if link.shown_name != link.name:
                what["channel_label"] = link.shown_name
            points.append(
                Point(
                    codec=codec,
                    link=link,
                    cbr=cbr,
                    snr_db=snr_db,
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


def run_points(
    plan: Plan,
    store: Store,
    *,
    device: torch.device,
    batch_size: int = 1,
    on_start: Callable[[Point], None] = lambda point: None,
    on_image: Callable[[int], None] = lambda count: None,
) -> None:
    """Compute the points that the store does not hold.

    on_start is told each point as it begins, on_image how many transmissions were finished.
    """
    for settings in plan.scenario.codecs:
        missing = [p for p in plan.points if p.codec is settings and p.key not in store]
        if not missing:
            continue
        with torch.random.fork_rng():  # a codec without weights is the same one every time
            torch.manual_seed(derive_seed(plan.scenario.seed, "init"))
            codec = codec_from_settings(settings)
        if isinstance(codec, torch.nn.Module):
            codec.to(device)
        worker = _Worker(plan, codec, device, batch_size)
        for link, points in groupby(missing, lambda point: point.link):
            codec.calibrate(LinkProbe(link))
            for point in points:
                on_start(point)
                store.write(point.key, worker.rows(point, store, on_image))


class _Worker:
    """One codec over the link; keeps the frames of an encoder that does not look at the SNR."""

    def __init__(self, plan: Plan, codec: Codec, device: torch.device, batch_size: int) -> None:
        self._plan = plan
        self._codec = codec
        self._device = device
        self._batch_size = batch_size
        self._frames: dict[tuple[int, int], Frame] = {}

    def rows(self, point: Point, store: Store, on_image: Callable[[int], None]) -> pd.DataFrame:
        rows: list[dict[str, Any]] = []
        for index, batch in enumerate(_batches(self._plan.items, self._batch_size)):
            images = torch.stack([item.image for item in batch]).to(self._device).float() / 255
            for trial in range(self._plan.scenario.trials):
                with torch.inference_mode():
                    sent = self._transmit(point, index, batch, images, trial)
                    rows += self._rows(point, batch, images, trial, sent)
                if trial == 0:
                    for item, image in zip(batch, sent.decoded.images, strict=True):
                        if item.name in point.pictures:
                            store.write_picture(point.key, item.name, image)
                on_image(len(batch))
        return pd.DataFrame(rows)

    def _transmit(
        self, point: Point, index: int, batch: Sequence[ImageItem], images: Tensor, trial: int
    ) -> Transmission:
        scenario, link = self._plan.scenario, point.link
        height, width = images.shape[-2:]
        max_symbols = link.data_symbols(symbol_budget(point.cbr, height, width))
        if max_symbols < 1:
            raise InputError(
                f"cbr {point.cbr:g} leaves no symbol for the {height}x{width} image {batch[0].name}"
            )
        snr_db = uniform_snr(point.snr_db, len(batch), self._device)
        frame = self._frames.get((max_symbols, index))
        if frame is None or self._codec.encoder_uses_snr:
            frame = encode(self._codec, images, snr_db=snr_db, max_symbols=max_symbols)
            self._frames[max_symbols, index] = frame
        fading = link.channel.fading_name
        seeds = [derive_seed(scenario.seed, item.name, trial, fading) for item in batch]
        return transmit(
            self._codec,
            frame,
            link,
            snr_db=snr_db,
            realisation=link.draw(seeds, max_symbols, self._device),
            rx_snr_db=snr_db,
            image_size=(height, width),
        )

    def _rows(
        self,
        point: Point,
        batch: Sequence[ImageItem],
        images: Tensor,
        trial: int,
        sent: Transmission,
    ) -> Iterator[dict[str, Any]]:
        names = self._plan.scenario.metrics
        measured = measure(names, sent.decoded.images, images)
        metrics = {name: values.tolist() for name, values in measured.items()}
        if "ms_ssim" in names:
            metrics["ms_ssim_variant"] = [ms_ssim_variant(*images.shape[-2:])] * len(batch)
        report = {name: values.tolist() for name, values in sent.decoded.report.items()}
        costs = {name: values for name, values in vars(sent.ledger).items() if values is not None}
        ledger = {name: values.tolist() for name, values in costs.items()}
        for i, item in enumerate(batch):
            cost = {name: values[i] for name, values in ledger.items()}
            reported = {name: values[i] for name, values in report.items()}
            yield {
                "codec_name": point.codec.codec,
                "is_bound": self._codec.is_bound,
                "channel": point.link.shown_name,
                "snr_db": point.snr_db,
                "cbr": point.cbr,
                "image": item.name,
                "trial": trial,
                **{name: values[i] for name, values in metrics.items()},
                "failed": False,
                **reported,
                **_verdicts(reported, point, item),
                **cost,
                "cbr_realised": channel_bandwidth_ratio(cost["symbols"], *images.shape[-2:]),
                "ebno_db": _ebno_db(point.snr_db, cost["payload_bits"], cost["symbols"]),
            }


def _verdicts(report: Mapping[str, Any], point: Point, item: ImageItem) -> dict[str, float]:
    """What a codec reported, held against the truth: |SNR error| in dB, right class or not."""
    verdicts = {}
    if "snr_db_estimate" in report:
        verdicts["snr_error_db"] = abs(report["snr_db_estimate"] - point.snr_db)
    if "class_index" in report and item.label is not None:
        verdicts["accuracy"] = float(report["class_index"] == item.label)
    return verdicts


def _ebno_db(snr_db: float, payload_bits: int, symbols: int) -> float:
    """Eb/N0 of a coded frame; nothing (NaN) where no bits are counted."""
    return esno_to_ebno_db(snr_db, payload_bits / symbols) if payload_bits else float("nan")


def _batches(items: Sequence[ImageItem], batch_size: int) -> Iterator[list[ImageItem]]:
    """Neighbouring images of one size, at most batch_size at a time."""
    batch: list[ImageItem] = []
    for item in items:
        if batch and (len(batch) == batch_size or item.image.shape != batch[0].image.shape):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


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


def _pictures_of(scenario: Scenario, cbr: float, snr_db: float, names: set[str]) -> tuple[str, ...]:
    """Names of the images whose reconstructions this point keeps."""
    pictures = scenario.pictures
    if pictures is None:
        return ()
    wanted_cbr = scenario.cbr[0] if pictures.cbr is None else pictures.cbr
    if (snr_db, cbr) != (pictures.snr_db, wanted_cbr):
        return ()
    return tuple(name for name in pictures.images if name in names)
