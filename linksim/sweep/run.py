"""A scenario worked off point by point: codec, channel, CBR and SNR to rows, one a transmission."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from linksim.codec import Codec, Frame
from linksim.codec_lookup import codec_from_settings
from linksim.errors import InputError
from linksim.images.sets import ImageItem
from linksim.link.flat import FlatRealisation
from linksim.link.knowledge import EarlierFrames, SnrKnowledge
from linksim.link.link import Link, LinkProbe
from linksim.link.transmission import Transmission, encode, transmit, uniform_snr
from linksim.metrics.meter import Meter, verdicts
from linksim.seeding import derive_seed
from linksim.settings import CodecSettings
from linksim.sweep.plan import Plan, Point
from linksim.sweep.stopping import trial_means
from linksim.sweep.store import Store
from linksim.units import channel_bandwidth_ratio, esno_to_ebno_db, symbol_budget


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
        self._frames: dict[tuple[int, int], tuple[Any, Frame]] = {}

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
        needed = until.trials_needed(trial_means(table, until.column))
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
        scenario, link, known = self._plan.scenario, point.link, point.knowledge or SnrKnowledge()
        height, width = images.shape[-2:]
        budget = link.data_symbols(symbol_budget(point.cbr, height, width))
        if budget <= known.pilots:
            raise InputError(
                f"cbr {point.cbr:g} leaves no symbol for the {height}x{width} image {batch[0].name}"
                + (f" beside {known.pilots} pilots" if known.pilots else "")
            )
        draws = [(scenario.seed, item.name, trial) for item in batch]
        seeds = [derive_seed(*draw, link.channel.fading_name) for draw in draws]
        realisation, pilots = link.draw(seeds, budget, self._device), None
        if known.pilots:
            assert isinstance(realisation, FlatRealisation)  # scenarios see to that
            realisation, pilots = realisation.split(budget - known.pilots)
        snr_db = uniform_snr(point.snr_db, len(batch), self._device)
        tx_snr_db = known.told_to_tx(snr_db, draws)
        rx_snr_db = known.told_to_rx(snr_db, draws, pilots)
        sent = transmit(
            self._codec,
            self._frame((budget - known.pilots, index), images, tx_snr_db, snr_db, draws),
            link,
            snr_db=snr_db,
            realisation=realisation,
            rx_snr_db=rx_snr_db,
            image_size=(height, width),
        )
        return replace(sent, ledger=sent.ledger.with_pilots(known.pilots)), (
            {} if point.knowledge is None else _beliefs(tx_snr_db, rx_snr_db, len(batch))
        )

    def _frame(
        self,
        place: tuple[int, int],
        images: Tensor,
        snr_db: Tensor | None,
        true_snr_db: Tensor,
        draws: Sequence[tuple[str | int, ...]],
    ) -> Frame:
        """The frame of a batch, encoded again only where the codec looks at another SNR, or at
        other acknowledgements.

        place: (symbols an image, which batch). snr_db: what the transmitter is told, [B].
        """
        told: Any = None if snr_db is None or not self._codec.encoder_uses_snr else snr_db.tolist()
        if self._codec.encoder_uses_feedback:
            told = told, true_snr_db.tolist(), draws
        if place in self._frames and self._frames[place][0] == told:
            return self._frames[place][1]
        if self._codec.encoder_uses_snr:
            self._frames.clear()  # what is kept is for the other trials of this batch
        frame = encode(
            self._codec,
            images,
            snr_db=snr_db,
            max_symbols=place[0],
            feedback=EarlierFrames(true_snr_db, draws),
        )
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
        measured = self._meter.measure(sent.decoded.images, images, [item.name for item in batch])
        metrics = {name: values.tolist() for name, values in measured.items()}
        variants = self._meter.variants(*images.shape[-2:])
        report = dict(sent.decoded.report)
        labels = torch.tensor([item.label_index for item in batch], device=self._device)
        report |= verdicts(report, snr_db=point.snr_db, labels=labels)
        reported = {name: values.tolist() for name, values in report.items()}
        ledger = {name: values.tolist() for name, values in sent.ledger.columns().items()}
        for i, item in enumerate(batch):
            cost = {name: values[i] for name, values in ledger.items()}
            yield {
                "codec": point.codec.codec,
                "is_bound": self._codec.is_bound,
                "channel": point.link.shown_name,
                "snr_db": point.snr_db,
                "cbr": point.cbr,
                "image": item.name,
                "trial": trial,
                **{name: values[i] for name, values in told.items()},
                **{name: values[i] for name, values in metrics.items()},
                **variants,
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
