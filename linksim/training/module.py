"""One step of a training: crops through codec and link to a loss; and the same for validation.

The data, the SNRs, the rate and the channel of step k depend on the recipe's seed and on k alone,
whatever the number of devices and micro-batches that share its images.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from linksim.link.channel import Realisation
from linksim.link.link import Link
from linksim.link.transmission import Transmission, encode, transmit, uniform_snr
from linksim.metrics.meter import verdicts
from linksim.metrics.quality import psnr
from linksim.metrics.table import LOSSES
from linksim.neural_codec import NeuralCodec
from linksim.runtime.seeding import derive_seed
from linksim.training.recipe import CbrRange, Recipe, SnrRange
from linksim.units import symbol_budget

VALIDATION_SEED = 1


class Conditions:
    """What the images of a batch meet: SNRs [B] in dB, and a draw of the channel.

    (No dataclass: Lightning would take it apart.)
    """

    def __init__(self, snr_db: Tensor, realisation: Realisation) -> None:
        self.snr_db = snr_db
        self.realisation = realisation

    def of(self, first: int, last: int) -> "Conditions":
        """Those of the images from ``first`` to before ``last``."""
        h, noise = self.realisation.h[first:last], self.realisation.noise[first:last]
        return Conditions(self.snr_db[first:last], replace(self.realisation, h=h, noise=noise))


class Training(nn.Module):
    """A neural codec over a link, under a recipe: called with a batch, it gives the loss."""

    def __init__(self, recipe: Recipe, codec: NeuralCodec) -> None:
        super().__init__()
        self.codec = codec
        self._recipe = recipe
        self._link = Link(recipe.channel, recipe.equalizer)
        self._loss = LOSSES[recipe.loss]

    def conditions(self, step: int, side: int, device: torch.device) -> Conditions:
        """What the batch of a step meets, on crops of ``side``."""
        recipe = self._recipe
        seed = derive_seed(recipe.seed, "step", step)
        draw = torch.Generator().manual_seed(seed)
        snr_db = draw_snr(recipe, recipe.batch_size, draw).to(device)
        cbr = draw_cbr(recipe, 1 / (6 * self.codec.downsampling**2), draw)
        return self._conditions(snr_db, cbr, side, seed)

    def forward(self, images: Tensor, labels: Tensor, conditions: Conditions) -> Tensor:
        """The mean loss of images [B, 3, h, w] with labels [B], -1 where there are none."""
        sent = self.send(images, conditions)
        own_loss = self.codec.training_loss(
            decoded=sent.decoded,
            images=images,
            frame=sent.frame,
            received=sent.received,
            snr_db=conditions.snr_db,
            labels=labels,
        )
        return self._loss(sent.decoded.images, images).mean() if own_loss is None else own_loss

    def send(self, images: Tensor, conditions: Conditions) -> Transmission:
        """The images over the link."""
        height, width = images.shape[-2:]
        snr_db, realisation = conditions.snr_db, conditions.realisation
        frame = encode(self.codec, images, snr_db=snr_db, max_symbols=realisation.length)
        return transmit(
            self.codec,
            frame,
            self._link,
            snr_db=snr_db,
            realisation=realisation,
            rx_snr_db=snr_db,
            image_size=(height, width),
        )

    @torch.no_grad()
    def validation(
        self, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device
    ) -> dict[str, float]:
        """PSNR in dB and what else the codec reports: at each SNR of the recipe, and their mean."""
        totals: defaultdict[str, float] = defaultdict(float)
        count = 0
        for images, labels in batches:
            seed = derive_seed(VALIDATION_SEED, count)
            count += len(images)
            for name, value in self._measured(images.to(device), labels.to(device), seed):
                totals[name] += value * len(images)
        return {name: total / count for name, total in sorted(totals.items())}

    def _measured(self, images: Tensor, labels: Tensor, seed: int) -> list[tuple[str, float]]:
        points = self._recipe.validation.snr_db
        values = defaultdict(list)
        for snr in points:
            snr_db = uniform_snr(snr, len(images), images.device)
            conditions = self._conditions(
                snr_db, _validation_cbr(self._recipe), images.shape[-1], seed
            )
            sent = self.send(images, conditions)
            measured = {"psnr": psnr(sent.decoded.images, images)}
            measured |= verdicts(sent.decoded.report, snr_db=snr, labels=labels)
            for name, value in measured.items():
                values[name].append(float(value.float().mean()))
        at = [
            (f"{name}_{snr:g}dB", v)
            for name in values
            for snr, v in zip(points, values[name], strict=True)
        ]
        return at + [(f"val_{name}", sum(all_of) / len(all_of)) for name, all_of in values.items()]

    def _conditions(self, snr_db: Tensor, cbr: float, side: int, seed: int) -> Conditions:
        max_symbols = self._link.data_symbols(symbol_budget(cbr, side, side))
        draw = self._link.channel.draw_batch
        realisation = draw(seed, len(snr_db), max_symbols, snr_db.device)
        return Conditions(snr_db, realisation)


def draw_snr(recipe: Recipe, batch: int, draw: torch.Generator) -> Tensor:
    """SNRs [batch] in dB from the recipe's range or list."""
    if isinstance(recipe.snr_db, SnrRange):
        low, high = recipe.snr_db.low, recipe.snr_db.high
        return low + (high - low) * torch.rand(batch, generator=draw)
    choices = torch.tensor(recipe.snr_db)
    return choices[torch.randint(len(choices), (batch,), generator=draw)]


def draw_cbr(recipe: Recipe, step: float, draw: torch.Generator) -> float:
    """A multiple of ``step``, which is the CBR of one latent channel: both ends are drawn too."""
    if not isinstance(recipe.cbr, CbrRange):
        return recipe.cbr
    low = max(1, math.ceil(recipe.cbr.low / step - 1e-9))
    high = max(low, math.floor(recipe.cbr.high / step + 1e-9))
    if recipe.cbr.largest and float(torch.rand((), generator=draw)) < recipe.cbr.largest:
        return step * high
    return step * int(torch.randint(low, high + 1, (), generator=draw))


def _validation_cbr(recipe: Recipe) -> float:
    """The bandwidth to validate at: the recipe's own word, or the largest trained."""
    if recipe.validation.cbr is not None:
        return recipe.validation.cbr
    return recipe.cbr.high if isinstance(recipe.cbr, CbrRange) else recipe.cbr
