"""One codec over the link, point by point: transmissions, what was measured of them, and rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from linksim.codec import Codec, Frame
from linksim.errors import InputError
from linksim.images.sets import ImageItem
from linksim.link.channel import ChannelSettings, Realisation
from linksim.link.flat import FlatRealisation
from linksim.link.knowledge import EarlierFrames, SnrKnowledge
from linksim.link.link import Link, LinkProbe
from linksim.link.transmission import Transmission, encode, transmit, uniform_snr
from linksim.metrics.meter import Meter, verdicts
from linksim.metrics.table import METRICS, find_metric
from linksim.runtime.seeding import derive_seed
from linksim.sweep.held import HeldCodec
from linksim.sweep.stopping import trial_means
from linksim.units import channel_bandwidth_ratio, esno_to_ebno_db, symbol_budget

if TYPE_CHECKING:  # what determines rows is what stands here and what it imports
    from linksim.sweep.plan import Plan, Point


class PreparedCodec:
    """One codec over the link; keeps frames that will be sent again: those of an encoder that does
    not look at the SNR, and of others the last one. Of one that draws random numbers it keeps none.
    """

    def __init__(
        self, plan: "Plan", codec: Codec, meter: Meter, device: torch.device, batch_size: int
    ) -> None:
        self._plan = plan
        self._codec = HeldCodec(codec, metrics=measured_names(plan.scenario.metrics), device=device)
        self._is_bound = codec.is_bound
        self._meter = meter
        self._device = device
        self._batch_size = batch_size
        self._calibrated_to: Link | None = None
        self._frames: dict[tuple[int, tuple[str, ...]], tuple[Any, Frame]] = {}

    def over(self, items: Sequence[ImageItem]) -> "PreparedCodec":
        """The same codec, as far as it is set up, for other images."""
        other = copy(self)
        other._plan = replace(self._plan, items=list(items))
        return other

    def rows(
        self,
        point: "Point",
        on_picture: Callable[[str, Tensor], None],
        on_image: Callable[[int], None],
    ) -> pd.DataFrame:
        """The rows of a point. on_picture is told the name and the reconstruction [3, H, W] of
        each image that the point keeps, on_image how many transmissions were finished."""
        if point.link is not self._calibrated_to:
            seed = derive_seed(self._plan.scenario.seed, "calibrate", point.link.name)
            self._codec.seeded(seed).calibrate(LinkProbe(point.link))
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
        point: "Point",
        on_picture: Callable[[str, Tensor], None],
        on_image: Callable[[int], None],
    ) -> Iterator[dict[str, Any]]:
        for batch in _batches(self._plan.items, self._batch_size):
            images = torch.stack([item.image for item in batch]).to(self._device).float() / 255
            for trial in trials:
                for part, originals, sent, told in self._sent(point, batch, images, trial):
                    with torch.inference_mode():
                        rows = list(self._rows(point, part, originals, trial, sent, told))
                    if trial == 0:
                        for item, image in zip(part, sent.decoded.images, strict=True):
                            if item.name in point.pictures:
                                on_picture(item.name, image)
                    on_image(len(part))
                    yield from rows

    def _sent(
        self, point: "Point", batch: list[ImageItem], images: Tensor, trial: int
    ) -> Iterator[tuple[list[ImageItem], Tensor, Transmission, dict[str, list[float]]]]:
        """The batch sent once: together, or one by one where the codec draws random numbers, which
        then depend on the image and not on its batch."""
        if len(batch) == 1 or not self._codec.drew:
            with torch.inference_mode():
                sent, told = self._transmit(point, batch, images, trial)
            if len(batch) == 1 or not self._codec.drew:
                yield batch, images, sent, told
                return
        for i, item in enumerate(batch):
            image = images[i : i + 1]
            with torch.inference_mode():
                yield [item], image, *self._transmit(point, [item], image, trial)

    def _transmit(
        self, point: "Point", batch: Sequence[ImageItem], images: Tensor, trial: int
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
        seeds = [
            link.channel.seed_of(derive_seed(*draw, link.channel.fading_name), trial)
            for draw in draws
        ]
        realisation, pilots = link.draw(seeds, budget, self._device), None
        if known.pilots:
            assert isinstance(realisation, FlatRealisation)  # scenarios see to that
            realisation, pilots = realisation.split(budget - known.pilots)
        snr_db = uniform_snr(point.snr_db, len(batch), self._device)
        if realisation.own_snr_db is not None:
            own = realisation.own_snr_db
            snr_db = torch.where(own.isnan(), snr_db, own)
        tx_snr_db = known.told_to_tx(snr_db, draws)
        rx_snr_db = known.told_to_rx(snr_db, draws, pilots)
        told = known.model_dump_json(exclude={"label"})
        what = (*draws[0], link.name, point.cbr, point.snr_db, told)
        place = (budget - known.pilots, tuple(item.name for item in batch))
        self._codec.seeded(derive_seed(*what, "encoder"))
        frame = self._frame(place, images, tx_snr_db, snr_db, draws)
        sent = transmit(
            self._codec.seeded(derive_seed(*what, "decoder")),
            frame,
            link,
            snr_db=snr_db,
            realisation=realisation,
            rx_snr_db=rx_snr_db,
            image_size=(height, width),
        )
        return replace(sent, ledger=sent.ledger.with_pilots(known.pilots)), (
            {} if point.knowledge is None else _beliefs(tx_snr_db, rx_snr_db, len(batch))
        ) | _place(link.channel, realisation, snr_db)

    def _frame(
        self,
        place: tuple[int, tuple[str, ...]],
        images: Tensor,
        snr_db: Tensor | None,
        true_snr_db: Tensor,
        draws: Sequence[tuple[str | int, ...]],
    ) -> Frame:
        """The frame of a batch, encoded again only where the codec looks at another SNR, or at
        other acknowledgements.

        place: (symbols an image, names of the images). snr_db: what the transmitter is told, [B].
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
        if not self._codec.drew:
            self._frames[place] = told, frame
        return frame

    def _rows(
        self,
        point: "Point",
        batch: Sequence[ImageItem],
        images: Tensor,
        trial: int,
        sent: Transmission,
        told: Mapping[str, Sequence[float]],
    ) -> Iterator[dict[str, Any]]:
        decoded, finite = sent.decoded, _are_finite(sent.decoded.images)
        shown = torch.where(finite[:, None, None, None], decoded.images, 0)
        measured = self._meter.measure(shown, images, [item.name for item in batch])
        failed = (
            ~finite
            | torch.as_tensor(
                decoded.report.get("failed", torch.zeros_like(finite)), device=finite.device
            ).bool()
        )
        for values in measured.values():
            failed = failed | ~values.isfinite()
        metrics = {
            name: torch.where(finite, values, torch.nan).tolist()
            for name, values in measured.items()
        }
        variants = self._meter.variants(*images.shape[-2:])
        report = {**decoded.report, "failed": failed}
        labels = torch.tensor([item.label_index for item in batch], device=self._device)
        snrs_db = told.get("position_snr_db") or [point.snr_db] * len(batch)
        true_snr_db = torch.tensor(snrs_db, dtype=torch.float64, device=self._device)
        report |= verdicts(report, snr_db=true_snr_db, labels=labels)
        reported = {name: values.tolist() for name, values in report.items()}
        ledger = {name: values.tolist() for name, values in sent.ledger.columns().items()}
        for i, item in enumerate(batch):
            cost = {name: values[i] for name, values in ledger.items()}
            yield {
                "is_bound": self._is_bound,
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
                "ebno_db": _ebno_db(snrs_db[i], cost["payload_bits"], cost["symbols"]),
            }


def measured_names(metrics: Sequence[str]) -> set[str]:
    """Names of quality, those that a scenario does not ask for included."""
    return {*METRICS, *(find_metric(name).name for name in metrics)}


def _are_finite(images: Tensor) -> Tensor:
    """Which of images [B, 3, H, W] hold no NaN and no infinity, bool [B]."""
    return images.isfinite().flatten(1).all(dim=1)


def _beliefs(tx: Tensor | None, rx: Tensor | None, batch: int) -> dict[str, list[float]]:
    """What both sides believed, as columns; nothing (NaN) where a side knew nothing."""
    return {
        f"{side}_snr_db": [float("nan")] * batch if told is None else told.tolist()
        for side, told in (("tx", tx), ("rx", rx))
    }


def _place(
    channel: ChannelSettings, realisation: Realisation, snr_db: Tensor
) -> dict[str, list[float]]:
    """Where each image was received and at which SNR, as columns; nothing without positions."""
    if realisation.positions is None:
        return {}
    return {**channel.columns(realisation), "position_snr_db": snr_db.tolist()}


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
