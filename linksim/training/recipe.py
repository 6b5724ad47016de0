"""A training recipe: which codec, on which data, over which channel, for how long; YAML."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from linksim.images.reading import MAX_PIXELS
from linksim.link.equalizer import Equalizer
from linksim.link.lookup import Channel
from linksim.settings import Cbr, CodecSettings, Db, Precision, Settings, SnrList, load_settings

Loss = Literal["mse", "ms_ssim", "lpips"]
Stored = Literal["fp32", "fp16"]


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
    """

    low: Cbr
    high: Cbr


class LastCrops(Settings):
    """Larger crops for the last steps, once the small ones have taught what is local.

    crop: their side in pixels. steps: how many of the recipe's steps take them.
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


class Validation(Settings):
    """How validation measures: every so many steps, on centre crops, at these points."""

    every: PositiveInt = 1000
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
    lr: peak learning rate of AdamW, after ``warmup`` steps, then a cosine to ``lr_final``.
    lr_transform: the same for the layers that ``initial: transform`` filled; lr if left out.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    seed: int = 0
    codec: CodecSettings
    initial: Literal["random", "transform"] = "random"
    channel: Channel
    equalizer: Equalizer | None = None
    snr_db: SnrRange | SnrList
    cbr: CbrRange | Cbr
    images: TrainingImages
    validation: Validation = Validation()
    loss: Loss = "mse"
    steps: PositiveInt
    batch_size: PositiveInt = 16
    lr: float = Field(default=2e-4, gt=0)
    lr_transform: float | None = Field(default=None, gt=0)
    lr_final: float = Field(default=1e-6, ge=0)
    warmup: int = Field(default=500, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    ema: float | None = Field(default=0.999, gt=0, lt=1)
    precision: Precision = "fp32"
    stored_as: Stored = "fp32"
    checkpoint_every: PositiveInt = 500
    devices: int | Literal["auto"] = "auto"
    strategy: str = "auto"

    @property
    def largest_crop(self) -> int:
        """Side of the largest crops, at which validation measures too."""
        last = self.images.last
        return self.images.crop if last is None else max(self.images.crop, last.crop)

    def crop_of(self, step: int) -> int:
        """Side of the crops of a step, counted from 0."""
        last = self.images.last
        return last.crop if last and step >= self.steps - last.steps else self.images.crop

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.codec.weights is not None and self.initial != "random":
            raise ValueError(f"initial is {self.initial!r}, but codec.weights says where to start")
        if self.lr_transform is not None and self.initial != "transform":
            raise ValueError(f"lr_transform is given, but initial is {self.initial!r}")
        last = self.images.last
        if last is not None and last.steps > self.steps:
            raise ValueError(f"images.last.steps is {last.steps}, but steps is {self.steps}")
        return self


def load_recipe(path: Path) -> Recipe:
    """Read and validate a recipe; raises InputError."""
    return load_settings(path, Recipe)
