"""A training recipe: which codec, on which data, over which channel, for how long; YAML."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from linksim.equalizer import Equalizer
from linksim.link import Channel
from linksim.neural_codec import Precision
from linksim.settings import Cbr, CodecSettings, Db, Settings, SnrList, load_settings

Loss = Literal["mse", "ms_ssim", "lpips"]


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
    """CBRs drawn log-uniformly between two ends, for each batch anew: for ``rate: nested``."""

    low: Cbr
    high: Cbr


class TrainingImages(Settings):
    """Photographs to cut crops from.

    root: a folder, searched with its subfolders. about: what it holds, for the card.
    crop: side of the square crops in pixels. downscale: each photograph is scaled by a random
    factor between the two before it is cropped (it removes JPEG artefacts).
    holdout: how many photographs are kept for validation.
    """

    root: Path
    about: str = ""
    crop: PositiveInt = 128
    downscale: tuple[float, float] | None = (0.5, 1.0)
    flip: bool = True
    holdout: PositiveInt = 16


class Validation(Settings):
    """How validation measures: every so many steps, on centre crops, at these points."""

    every: PositiveInt = 1000
    snr_db: SnrList = (1.0, 7.0, 13.0, 19.0)
    cbr: Cbr | None = None


class Recipe(Settings):
    """One training run.

    snr_db: a list to draw from, or {low, high}; drawn for each image.
    cbr: the symbol budget; one value, or {low, high} for a codec of nested rate.
    codec.weights: weights to start from. ema: decay of the averaged weights, which are kept.
    lr: peak learning rate of AdamW, after ``warmup`` steps, then a cosine to ``lr_final``.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    seed: int = 0
    codec: CodecSettings
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
    lr_final: float = Field(default=1e-6, ge=0)
    warmup: int = Field(default=500, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    ema: float | None = Field(default=0.999, gt=0, lt=1)
    precision: Precision = "fp32"
    checkpoint_every: PositiveInt = 500
    devices: int | Literal["auto"] = "auto"
    strategy: str = "auto"


def load_recipe(path: Path) -> Recipe:
    """Read and validate a recipe; raises InputError."""
    return load_settings(path, Recipe)
