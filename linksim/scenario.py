"""A scenario: which images, codecs and channel, at which SNRs and bandwidths; YAML, validated."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from linksim.equalizer import Equalizer
from linksim.link import Channel
from linksim.settings import (
    Cbr,
    CbrList,
    CodecSettings,
    Db,
    Settings,
    SnrList,
    load_settings,
)

Metric = Literal["psnr", "ssim", "ms_ssim", "lpips"]
Side = PositiveInt | tuple[PositiveInt, PositiveInt]


class ImagesSettings(Settings):
    """Which images: ``kodak`` (shipped), ``folder`` or a data set's layout below ``root``."""

    source: str = "kodak"
    root: Path | None = None
    split: str | None = None
    crop: Side | None = None
    resize: Side | None = None
    limit: PositiveInt | None = None


class PicturesSettings(Settings):
    """Which reconstructions, over the first channel, to keep as PNG files for the picture grid."""

    images: tuple[str, ...] = Field(min_length=1)
    snr_db: Db
    cbr: Cbr | None = None


def _channel_entries(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


def _codec_entry(value: object) -> object:
    return {"codec": value} if isinstance(value, str) else value


class Scenario(Settings):
    """One sweep: every codec at every SNR and CBR over the same images and the same channels.

    channel: one, or a list.
    seed: of all randomness. trials: independent channel realisations an image.
    snr_db: Es/N0 in dB, a list or {from, to, step}. cbr: channel uses over 3*H*W, a list or one.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    seed: int = 0
    images: ImagesSettings = ImagesSettings()
    channel: Annotated[tuple[Channel, ...], BeforeValidator(_channel_entries), Field(min_length=1)]
    equalizer: Equalizer | None = None
    snr_db: SnrList
    cbr: CbrList
    trials: PositiveInt = 1
    metrics: tuple[Metric, ...] = Field(default=("psnr", "ms_ssim", "lpips"), min_length=1)
    codecs: tuple[Annotated[CodecSettings, BeforeValidator(_codec_entry)], ...] = Field(
        min_length=1
    )
    pictures: PicturesSettings | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [codec.name for codec in self.codecs]
        repeated = {name for name in names if names.count(name) > 1}
        if repeated:
            raise ValueError(f"codecs: {repeated.pop()!r} stands twice; give each its own label")
        channels = [channel.shown_name for channel in self.channel]
        repeated = {name for name in channels if channels.count(name) > 1}
        if repeated:
            raise ValueError(f"channel: {repeated.pop()!r} stands twice; give each its own label")
        if self.pictures is not None:
            if self.pictures.snr_db not in self.snr_db:
                raise ValueError(f"pictures.snr_db {self.pictures.snr_db:g} is not in snr_db")
            if self.pictures.cbr is not None and self.pictures.cbr not in self.cbr:
                raise ValueError(f"pictures.cbr {self.pictures.cbr:g} is not in cbr")
        return self


def load_scenario(path: Path) -> Scenario:
    """Read and validate a scenario file; raises InputError."""
    return load_settings(path, Scenario)
