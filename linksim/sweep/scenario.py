"""A scenario: which images, codecs and channel, at which SNRs and bandwidths; YAML, validated."""

from math import prod
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from linksim.images.reading import MAX_PIXELS
from linksim.link.equalizer import Equalizer
from linksim.link.flat import FlatChannel
from linksim.link.knowledge import SnrKnowledge
from linksim.link.lookup import Channel
from linksim.metrics.table import MetricName, find_metric
from linksim.settings import (
    MAX_VALUES,
    Cbr,
    CbrList,
    CodecSettings,
    Db,
    Name,
    Settings,
    SnrList,
    load_settings,
)
from linksim.sweep.published import PublishedList
from linksim.sweep.stopping import MAX_TRIALS, Until

MAX_SIDE = 16_384
MAX_COMPLEXITY_SIDE = 2048
MAX_SEEDS = 100
_Number = Annotated[float, Field(strict=True)]  # neither yes nor '20'
_Pixels = Annotated[int, Field(gt=0, le=MAX_SIDE)]
Side = _Pixels | tuple[_Pixels, _Pixels]


class ImagesSettings(Settings):
    """Which images: ``kodak`` (shipped), ``folder`` or a data set's layout below ``root``.

    max_pixels: a file that holds a larger image is refused.
    """

    source: str = "kodak"
    root: Path | None = None
    split: str | None = None
    crop: Side | None = None
    resize: Side | None = None
    limit: PositiveInt | None = None
    max_pixels: PositiveInt = MAX_PIXELS


class PicturesSettings(Settings):
    """Which reconstructions, over the first channel, to keep as PNG files for the picture grid."""

    images: tuple[str, ...] = Field(min_length=1)
    snr_db: Db
    cbr: Cbr | None = None


class SweptCodec(CodecSettings):
    """A codec of a sweep.

    seeds: weights of several trainings of one recipe, in place of ``weights``: repetitions under
        one label, of which tables hold the mean, with intervals that cover both images and
        trainings.
    """

    seeds: Annotated[tuple[str, ...], Field(min_length=2, max_length=MAX_SEEDS)] | None = None

    @model_validator(mode="after")
    def _one_or_several(self) -> Self:
        if self.seeds is not None:
            if self.weights is not None:
                raise ValueError("weights and seeds: only one of them can name the weights")
            repeated = {one for one in self.seeds if self.seeds.count(one) > 1}
            if repeated:
                raise ValueError(f"seeds: {repeated.pop()!r} stands twice; a training counts once")
        return self

    def repetitions(self) -> tuple[CodecSettings, ...]:
        """One codec for each training; itself where there is but one."""
        if self.seeds is None:
            return (self,)
        return tuple(
            self.model_copy(update={"weights": weights, "seeds": None}) for weights in self.seeds
        )


def _knowledge_entries(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


KnowledgeList = Annotated[
    tuple[SnrKnowledge, ...], BeforeValidator(_knowledge_entries), Field(min_length=1)
]


def _channel_entries(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


def _codec_entry(value: object) -> object:
    return {"codec": value} if isinstance(value, str) else value


class Scenario(Settings):
    """One sweep: every codec at every SNR and CBR over the same images and the same channels.

    channel: one, or a list.
    seed: of all randomness. trials: independent channel realisations an image; until: as many as
        each point needs for a narrow interval, instead.
    snr_db: Es/N0 in dB, a list or {from, to, step}; left out where channels have their own by a
        link budget. cbr: channel uses over 3*H*W, a list or one.
    snr_knowledge: what either side believes of the SNR, one setting or a list to compare; the
        truth if left out.
    outage: for each metric named, what it must reach: tables then tell how often it does not.
    paired_seeds: whether codecs with ``seeds`` were trained alike in the order of these, over the
        same crops and noise, so that their trainings are compared in pairs.
    complexity: side in pixels of the square image at which parameters and multiply-accumulates of
        the codecs are counted, for a table and a figure of quality against cost.
    published: curves of others to draw beside ours, as points with their source.
    """

    name: Name
    seed: int = 0
    images: ImagesSettings = ImagesSettings()
    channel: Annotated[tuple[Channel, ...], BeforeValidator(_channel_entries), Field(min_length=1)]
    equalizer: Equalizer | None = None
    snr_db: SnrList = ()
    cbr: CbrList
    snr_knowledge: KnowledgeList | None = None
    trials: PositiveInt = Field(default=1, le=MAX_TRIALS)
    until: Until | None = None
    outage: Annotated[dict[MetricName, _Number], Field(min_length=1)] | None = None
    metrics: tuple[MetricName, ...] = Field(default=("psnr", "ms_ssim", "lpips"), min_length=1)
    codecs: tuple[Annotated[SweptCodec, BeforeValidator(_codec_entry)], ...] = Field(min_length=1)
    paired_seeds: bool = False
    pictures: PicturesSettings | None = None
    complexity: PositiveInt | None = Field(default=None, le=MAX_COMPLEXITY_SIDE)
    published: PublishedList = ()

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, data: Any) -> Any:
        if isinstance(data, dict) and "csi" in data:
            raise ValueError("csi: this key is called snr_knowledge now; its values are as before")
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        named = {
            "codecs": [codec.label for codec in self.codecs],
            "channel": [channel.shown_name for channel in self.channel],
            "snr_knowledge": [known.name for known in self.snr_knowledge or ()],
            "metrics": [find_metric(name).name for name in self.metrics],
        }
        for key, names in named.items():
            repeated = {name for name in names if names.count(name) > 1}
            if repeated:
                raise ValueError(f"{key}: {repeated.pop()!r} stands twice; give each its own label")
        if self.paired_seeds:
            trainings = {codec.label: len(codec.seeds) for codec in self.codecs if codec.seeds}
            if len(trainings) < 2 or len(set(trainings.values())) > 1:
                found = ", ".join(f"{label!r} {n}" for label, n in trainings.items()) or "none"
                raise ValueError(
                    "paired_seeds: at least two codecs must have seeds, and each as many; "
                    f"found: {found}"
                )
        codecs = [one for codec in self.codecs for one in codec.repetitions()]
        points = prod(
            map(
                len, (codecs, self.channel, self.cbr, self.snr_db or "1", self.snr_knowledge or "1")
            )
        )
        if points > MAX_VALUES:
            raise ValueError(f"{points:,} points; at most {MAX_VALUES:,} are allowed")
        own = [channel.own_snr_db is not None for channel in self.channel]
        if not all(own) and not self.snr_db:
            raise ValueError("snr_db: Field required; only sites with a link_budget do without")
        if any(own) and self.snr_db:
            raise ValueError("snr_db and link_budget: only one of them can say what the SNR is")
        if all(own) and self.pictures is not None:
            raise ValueError("pictures: of channels with a link_budget there are none yet")
        flat = all(
            isinstance(channel, FlatChannel) and getattr(channel, "antennas", None) is None
            for channel in self.channel
        )
        if not flat and any(known.pilots for known in self.snr_knowledge or ()):
            raise ValueError(
                "snr_knowledge: the SNR is estimated from pilots over flat channels of one antenna "
                "only; OFDM has pilots of its own"
            )
        if self.until is not None and "trials" in self.model_fields_set:
            raise ValueError("trials and until: only one of them can say how many trials there are")
        for key, metrics in (
            ("until.metric", [self.until.metric] if self.until else []),
            ("outage", list(self.outage or {})),
        ):
            for metric in metrics:
                if metric not in self.metrics:
                    raise ValueError(f"{key}: {metric} is not in metrics")
        if self.pictures is not None:
            if self.pictures.snr_db not in self.snr_db:
                raise ValueError(f"pictures.snr_db {self.pictures.snr_db:g} is not in snr_db")
            if self.pictures.cbr is not None and self.pictures.cbr not in self.cbr:
                raise ValueError(f"pictures.cbr {self.pictures.cbr:g} is not in cbr")
        return self


def load_scenario(path: Path) -> Scenario:
    """Read and validate a scenario file; raises InputError."""
    return load_settings(path, Scenario)


def as_data(scenario: Scenario) -> dict[str, Any]:
    """What the scenario says, as a file would: what it leaves to chance is left out."""
    data = scenario.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return {**data, "channel": [channel.as_data() for channel in scenario.channel]}
