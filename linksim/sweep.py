"""A scenario worked off point by point: codec, channel, CBR and SNR to rows, one a transmission."""

import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from linksim.channels import FlatRealisation
from linksim.codec import Codec, Frame
from linksim.codec_lookup import codec_from_settings, find_codec, resolved_options
from linksim.csi import Csi
from linksim.errors import InputError
from linksim.images import ImageItem, open_images
from linksim.link import Link, LinkProbe
from linksim.metrics import Meter, ms_ssim_variant, verdicts
from linksim.scenario import Scenario
from linksim.seeding import derive_seed
from linksim.settings import CodecSettings
from linksim.stopping import trial_means
from linksim.store import Store, content_key, file_digest
from linksim.transmission import Transmission, encode, transmit, uniform_snr
from linksim.units import channel_bandwidth_ratio, esno_to_ebno_db, symbol_budget
from linksim.zoo import weights_path

VERSIONED = ("linksim", "torch", "sionna")
KEPT_BYTES = 2 * 1024**3


@dataclass(frozen=True, kw_only=True)
class Point:
    """One codec over one channel at one CBR and one SNR; ``key`` names its rows in the store.

    csi: what each side believes of the SNR; None where the scenario says nothing of it.
    """

    codec: CodecSettings
    link: Link
    cbr: float
    snr_db: float
    csi: Csi | None
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
    if scenario.until is not None:
        common["until"] = scenario.until.model_dump()
    names = set(opened.names)
    codecs = {codec.name: codec_identity(codec) for codec in scenario.codecs}
    points = []
    for codec, link in product(scenario.codecs, links):
        for cbr, snr_db, csi in product(scenario.cbr, scenario.snr_db, scenario.csi or (None,)):
            first = link is links[0]
            pictures = _pictures_of(scenario, cbr, snr_db, csi, names) if first else ()
            what = {**common, "codec": codecs[codec.name], "cbr": cbr, "snr_db": snr_db}
            what |= {"channel": link.name, "pictures": pictures}
            if link.shown_name != link.name:
                what["channel_label"] = link.shown_name
            if csi is not None:
                what["csi"] = csi.model_dump(exclude={"label"})
            points.append(
                Point(
                    codec=codec,
                    link=link,
                    cbr=cbr,
                    snr_db=snr_db,
                    csi=csi,
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
    meter = Meter(plan.scenario.metrics)
    for settings in plan.scenario.codecs:
        missing = [p for p in plan.points if p.codec is settings and p.key not in store]
        if not missing:
            continue
        prepared = prepare(plan, settings, meter, device, batch_size)
        for point in missing:
            on_start(point)
            on_picture = partial(store.write_picture, point.key)
            store.write(point.key, prepared.rows(point, on_picture, on_image))


def prepare(
    plan: Plan, settings: CodecSettings, meter: Meter, device: torch.device, batch_size: int
) -> "PreparedCodec":
    """One of the plan's codecs, built; raises InputError."""
    with torch.random.fork_rng():  # a codec without weights is the same one every time
        torch.manual_seed(derive_seed(plan.scenario.seed, "init"))
        codec = codec_from_settings(settings)
    if isinstance(codec, torch.nn.Module):
        codec.to(device)
    return PreparedCodec(plan, codec, meter, device, batch_size)


class PreparedCodec:
    """One codec over the link; keeps frames that will be sent again: those of an encoder that does
    not look at the SNR, and of others the last one."""

    def __init__(
        self, plan: Plan, codec: Codec, meter: Meter, device: torch.device, batch_size: int
    ) -> None:
        self._plan = plan
        self._codec = codec
        self._meter = meter
        self._device = device
        self._batch_size = batch_size
        self._calibrated_to: Link | None = None
        self._frames: dict[tuple[int, int], tuple[list[float] | None, Frame]] = {}

    def rows(
        self,
        point: Point,
        on_picture: Callable[[str, Tensor], None],
        on_image: Callable[[int], None],
    ) -> pd.DataFrame:
        """The rows of a point. on_picture is told the name and the reconstruction [3, H, W] of
        each image that the point keeps, on_image how many transmissions were finished."""
        if point.link is not self._calibrated_to:
            self._codec.calibrate(LinkProbe(point.link))
            self._calibrated_to = point.link
        until = self._plan.scenario.until
        first = until.min_trials if until else self._plan.scenario.trials
        table = pd.DataFrame(self._trials(range(first), point, on_picture, on_image))
        if until is None:
            return table
        needed = until.trials_needed(trial_means(table, until.metric))
        more = pd.DataFrame(self._trials(range(first, needed), point, on_picture, on_image))
        return pd.concat([table, more], ignore_index=True) if needed > first else table

    def _trials(
        self,
        trials: range,
        point: Point,
        on_picture: Callable[[str, Tensor], None],
        on_image: Callable[[int], None],
    ) -> Iterator[dict[str, Any]]:
        for index, batch in enumerate(_batches(self._plan.items, self._batch_size)):
            images = torch.stack([item.image for item in batch]).to(self._device).float() / 255
            for trial in trials:
                with torch.inference_mode():
                    sent, told = self._transmit(point, index, batch, images, trial)
                    rows = list(self._rows(point, batch, images, trial, sent, told))
                if trial == 0:
                    for item, image in zip(batch, sent.decoded.images, strict=True):
                        if item.name in point.pictures:
                            on_picture(item.name, image)
                on_image(len(batch))
                yield from rows

    def _transmit(
        self, point: Point, index: int, batch: Sequence[ImageItem], images: Tensor, trial: int
    ) -> tuple[Transmission, dict[str, list[float]]]:
        """The batch sent once, and the columns that say what both sides believed."""
        scenario, link, csi = self._plan.scenario, point.link, point.csi or Csi()
        height, width = images.shape[-2:]
        budget = link.data_symbols(symbol_budget(point.cbr, height, width))
        if budget <= csi.pilots:
            raise InputError(
                f"cbr {point.cbr:g} leaves no symbol for the {height}x{width} image {batch[0].name}"
                + (f" beside {csi.pilots} pilots" if csi.pilots else "")
            )
        draws = [(scenario.seed, item.name, trial) for item in batch]
        seeds = [derive_seed(*draw, link.channel.fading_name) for draw in draws]
        realisation, pilots = link.draw(seeds, budget, self._device), None
        if csi.pilots:
            assert isinstance(realisation, FlatRealisation)  # scenarios see to that
            realisation, pilots = realisation.split(budget - csi.pilots)
        snr_db = uniform_snr(point.snr_db, len(batch), self._device)
        tx_snr_db = csi.told_to_tx(snr_db, draws)
        rx_snr_db = csi.told_to_rx(snr_db, draws, pilots)
        sent = transmit(
            self._codec,
            self._frame((budget - csi.pilots, index), images, tx_snr_db),
            link,
            snr_db=snr_db,
            realisation=realisation,
            rx_snr_db=rx_snr_db,
            image_size=(height, width),
        )
        return replace(sent, ledger=sent.ledger.with_pilots(csi.pilots)), (
            {} if point.csi is None else _beliefs(tx_snr_db, rx_snr_db, len(batch))
        )

    def _frame(self, place: tuple[int, int], images: Tensor, snr_db: Tensor | None) -> Frame:
        """The frame of a batch, encoded again only where the codec looks at another SNR.

        place: (symbols an image, which batch).
        """
        told = None if snr_db is None or not self._codec.encoder_uses_snr else snr_db.tolist()
        if place in self._frames and self._frames[place][0] == told:
            return self._frames[place][1]
        if self._codec.encoder_uses_snr:
            self._frames.clear()  # what is kept is for the other trials of this batch
        frame = encode(self._codec, images, snr_db=snr_db, max_symbols=place[0])
        self._frames[place] = told, frame
        return frame

    def _rows(
        self,
        point: Point,
        batch: Sequence[ImageItem],
        images: Tensor,
        trial: int,
        sent: Transmission,
        told: Mapping[str, Sequence[float]],
    ) -> Iterator[dict[str, Any]]:
        names = self._plan.scenario.metrics
        measured = self._meter.measure(sent.decoded.images, images, [item.name for item in batch])
        metrics = {name: values.tolist() for name, values in measured.items()}
        if "ms_ssim" in names:
            metrics["ms_ssim_variant"] = [ms_ssim_variant(*images.shape[-2:])] * len(batch)
        report = dict(sent.decoded.report)
        labels = torch.tensor([item.label_index for item in batch], device=self._device)
        report |= verdicts(report, snr_db=point.snr_db, labels=labels)
        reported = {name: values.tolist() for name, values in report.items()}
        costs = {name: values for name, values in vars(sent.ledger).items() if values is not None}
        ledger = {name: values.tolist() for name, values in costs.items()}
        for i, item in enumerate(batch):
            cost = {name: values[i] for name, values in ledger.items()}
            yield {
                "codec_name": point.codec.codec,
                "is_bound": self._codec.is_bound,
                "channel": point.link.shown_name,
                "snr_db": point.snr_db,
                "cbr": point.cbr,
                "image": item.name,
                "trial": trial,
                **{name: values[i] for name, values in told.items()},
                **{name: values[i] for name, values in metrics.items()},
                "failed": False,
                **{name: values[i] for name, values in reported.items()},
                **cost,
                "cbr_realised": channel_bandwidth_ratio(cost["symbols"], *images.shape[-2:]),
                "ebno_db": _ebno_db(point.snr_db, cost["payload_bits"], cost["symbols"]),
            }


def _beliefs(tx: Tensor | None, rx: Tensor | None, batch: int) -> dict[str, list[float]]:
    """What both sides believed, as columns; nothing (NaN) where a side knew nothing."""
    return {
        f"{side}_snr_db": [float("nan")] * batch if told is None else told.tolist()
        for side, told in (("tx", tx), ("rx", rx))
    }


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


def _pictures_of(
    scenario: Scenario, cbr: float, snr_db: float, csi: Csi | None, names: set[str]
) -> tuple[str, ...]:
    """Names of the images whose reconstructions this point keeps; of several csi, at the first."""
    pictures = scenario.pictures
    if pictures is None or (scenario.csi is not None and csi is not scenario.csi[0]):
        return ()
    wanted_cbr = scenario.cbr[0] if pictures.cbr is None else pictures.cbr
    if (snr_db, cbr) != (pictures.snr_db, wanted_cbr):
        return ()
    return tuple(name for name in pictures.images if name in names)
