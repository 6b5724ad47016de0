"""A training recipe: which codec, on which data, over which channel, for how long; YAML."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from linksim.images.reading import MAX_PIXELS
from linksim.link.equalizer import Equalizer
from linksim.link.lookup import Channel
from linksim.metrics.table import LossName
from linksim.settings import (
    Cbr,
    CodecSettings,
    Db,
    Name,
    Precision,
    Settings,
    SnrList,
    load_settings,
)

Stored = Literal["fp32", "fp16"]
Schedule = Literal["cosine", "wsd"]
TrainingPrecision = Precision | Literal["auto"]
OptimizerName = Literal["adamw", "muon"]

_FILES_OF_FOLDERS = ("training", "curve")  # beside which <name>.json and <name>.csv are written


class _Range(Settings):
    """Two ends, the lower one first."""

    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.high < self.low:
            raise ValueError(f"low ({self.low:g}) is above high ({self.high:g})")
        return self


class SnrRange(_Range):
    """SNRs drawn uniformly in dB between two ends, for each image anew."""

    low: Db
    high: Db


class CbrRange(_Range):
    """CBRs between two ends, for each batch anew: for ``rate: nested``.

    Drawn uniformly, in whole latent channels, both ends included.
    largest: share of the batches that take the largest rate without drawing one.
    """

    low: Cbr
    high: Cbr
    largest: float = Field(default=0.0, ge=0, le=1)


class LastCrops(Settings):
    """Larger crops for the last steps, once the small ones have taught what is local.

    crop: their side in pixels. steps: how many steps take them; with ``schedule: wsd``, of the
    decay.
    """

    crop: PositiveInt
    steps: PositiveInt


class TrainingImages(Settings):
    """Images to cut crops from.

    source, root, split: as in a scenario's images; ``folder`` searches ``root`` with its
    subfolders. about: what it holds, for the card.
    crop: side of the square crops in pixels; ``last`` may enlarge them.
    downscale: each image is scaled by a random factor between the two before it is cropped (it
    removes JPEG artefacts).
    holdout: how many images are kept for validation; of labelled ones, as many of each class.
    max_pixels: a file that holds a larger image is refused.
    """

    source: str = "folder"
    root: Path | None = None
    split: str | None = None
    about: str = ""
    crop: PositiveInt = 128
    last: LastCrops | None = None
    downscale: tuple[float, float] | None = (0.5, 1.0)
    flip: bool = True
    holdout: PositiveInt = 16
    max_pixels: PositiveInt = MAX_PIXELS

    @property
    def largest_crop(self) -> int:
        """Side of the largest crops of training."""
        return max(self.crop, self.last.crop if self.last else 0)


class Validation(Settings):
    """How validation measures: every so many steps, on centre crops, at these points.

    crop: their side in pixels; that of the largest crops if left out.
    """

    every: PositiveInt = 1000
    crop: PositiveInt | None = None
    snr_db: SnrList = (1.0, 7.0, 13.0, 19.0)
    cbr: Cbr | None = None


class Recipe(Settings):
    """One training run.

    snr_db: a list to draw from, or {low, high}; drawn for each image.
    cbr: the symbol budget; one value, or {low, high} for a codec of nested rate.
    codec.weights: weights to start from. Without them, initial: ``random`` weights as the codec is
    built, or a linear ``transform`` codec (:mod:`linksim.nn.transform_init`).
    loss: of the images; a codec with a training loss of its own (MVSC) is trained on that.
    ema: decay of the averaged weights, which are kept. stored_as: in which precision.
    optimizer: ``adamw``, or ``muon`` for the weights of linear and convolutional layers and AdamW
        for the rest (:mod:`linksim.training.optimizers`).
    lr: peak learning rate, after ``warmup`` steps.
    lr_transform: the same for the layers that ``initial: transform`` filled; lr if left out.
    schedule: ``cosine`` falls to ``lr_final`` at the last step. ``wsd`` stays at lr, so that
    ``steps`` can be raised at any time; a decay from any checkpoint, of ``decay_steps``, makes the
    weights to release (:mod:`linksim.training.schedule`).
    batch_size: images a step, whatever the number of devices that share them.
    micro_batch: how many of them a device takes at once, by its memory; gradients are added up.
        Of crops smaller than the largest it takes as many as hold the same pixels.
    precision: ``auto`` takes bf16 where the device computes in it, else fp32.
    checkpoint_every: steps; the last two are kept, and those at multiples of ``keep_every``.
    """

    name: Name
    seed: int = 0
    codec: CodecSettings
    initial: Literal["random", "transform"] = "random"
    channel: Channel
    equalizer: Equalizer | None = None
    snr_db: SnrRange | SnrList
    cbr: CbrRange | Cbr
    images: TrainingImages
    validation: Validation = Validation()
    loss: LossName = "mse"
    steps: PositiveInt
    batch_size: PositiveInt = 16
    micro_batch: PositiveInt | None = None
    optimizer: OptimizerName = "adamw"
    lr: float = Field(default=2e-4, gt=0)
    lr_transform: float | None = Field(default=None, gt=0)
    lr_final: float = Field(default=1e-6, ge=0)
    schedule: Schedule = "cosine"
    decay_steps: PositiveInt | None = None
    warmup: int = Field(default=500, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    ema: float | None = Field(default=0.999, gt=0, lt=1)
    precision: TrainingPrecision = "fp32"
    stored_as: Stored = "fp32"
    checkpoint_every: PositiveInt = 500
    keep_every: PositiveInt | None = None
    devices: int | Literal["auto"] = "auto"
    strategy: str = "auto"

    @property
    def largest_crop(self) -> int:
        """Side of the largest crops, of training and of validation."""
        return max(self.images.largest_crop, self.validation.crop or 0)

    def crops_at_once(self, side: int) -> int:
        """How many training crops of ``side`` pixels a device takes at once."""
        if self.micro_batch is None:
            return self.batch_size
        return min(self.micro_batch * self.images.largest_crop**2 // side**2, self.batch_size)

    @property
    def validation_crop(self) -> int:
        """Side of the crops that validation measures at."""
        return self.validation.crop or self.largest_crop

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.name in _FILES_OF_FOLDERS:
            raise ValueError(
                f"name: every training's folder holds a file {self.name!r}; call it otherwise"
            )
        if self.codec.weights is not None and self.initial != "random":
            raise ValueError(f"initial is {self.initial!r}, but codec.weights says where to start")
        if self.lr_transform is not None and self.initial != "transform":
            raise ValueError(f"lr_transform is given, but initial is {self.initial!r}")
        self._check_schedule()
        return self

    def _check_schedule(self) -> None:
        decay, last = self.decay_steps, self.images.last
        if (decay is None) == (self.schedule == "wsd"):
            need = "wsd needs decay_steps" if decay is None else "decay_steps is for wsd"
            raise ValueError(f"schedule is {self.schedule!r}; {need}")
        if decay is not None and decay > self.steps:
            raise ValueError(f"decay_steps is {decay}, longer than the run: steps is {self.steps}")
        name, length = ("steps", self.steps) if decay is None else ("decay_steps", decay)
        if last is not None and last.steps > length:
            raise ValueError(f"images.last.steps is {last.steps}, but {name} is {length}")


def load_recipe(path: Path) -> Recipe:
    """Read and validate a recipe; raises InputError."""
    return load_settings(path, Recipe)
