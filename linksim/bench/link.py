"""Where the time of a sweep goes: the codec's own, the link's, the metrics'."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import TypeVar

import pandas as pd
import torch
from torch import Tensor

from linksim.bench.codecs import PAPER_SIZE
from linksim.codec import ChannelProbe, Codec, Decoded, Frame, Received, RxInfo, TxInfo
from linksim.codec_lookup import codec_from_settings
from linksim.link.channel import Realisation
from linksim.link.flat import Rayleigh
from linksim.link.link import Ledger, Link
from linksim.metrics.meter import Meter
from linksim.provenance import machine
from linksim.settings import CodecSettings
from linksim.sweep.plan import Plan, plan_sweep
from linksim.sweep.prepared import PreparedCodec
from linksim.sweep.scenario import ImagesSettings, Scenario, SweptCodec

T = TypeVar("T")


def bench_link(
    contestants: Sequence[CodecSettings],
    *,
    size: int = PAPER_SIZE,
    images: int = 2,
    snr_db: Sequence[float] = tuple(range(1, 20, 2)),
) -> pd.DataFrame:
    """Where the time of a sweep goes, over some photographs of size x size: a row a part.

    Parts: encode and decode (the codec's own), channel and link (draws, power, noise, equaliser),
    metrics (PSNR, MS-SSIM and LPIPS, with what they need of the originals), and the rest. Columns:
    codec, preset, part, mean_ms (of a transmission), share, size, torch and those of
    :func:`linksim.provenance.machine`. Raises InputError for settings that do not fit.
    """
    rows = []
    for settings in contestants:
        scenario = Scenario(
            name="bench",
            images=ImagesSettings(resize=(size, size), limit=images),
            channel=(Rayleigh(),),
            snr_db=tuple(snr_db),
            cbr=(1 / 12,),
            codecs=(SweptCodec.model_validate(settings.model_dump(exclude_unset=True)),),
        )
        seconds = _seconds_by_part(plan_sweep(scenario))
        rows += [
            {
                "codec": settings.codec,
                "preset": settings.preset,
                "part": part,
                "mean_ms": 1e3 * spent / (images * len(snr_db)),
                "share": spent / sum(seconds.values()),
                "size": size,
                "torch": torch.__version__,
                **machine(),
            }
            for part, spent in seconds.items()
        ]
    return pd.DataFrame(rows)


def _seconds_by_part(plan: Plan) -> dict[str, float]:
    """Seconds spent on all points of a sweep of one codec, its first point done once before."""
    clock = _Clock()
    codec = _TimedCodec(codec_from_settings(plan.scenario.codecs[0]), clock)
    link = _TimedLink(plan.links[0], clock)
    all_points = [replace(point, link=link) for point in plan.points]
    for points in (all_points[:1], all_points):  # the first is the warm-up
        meter = _TimedMeter(plan.scenario.metrics, clock)
        prepared = PreparedCodec(plan, codec, meter, torch.device("cpu"), batch_size=1)
        clock.seconds.clear()
        start = perf_counter()
        for point in points:
            prepared.rows(point, lambda name, image: None, lambda count: None)
        total = perf_counter() - start
    return {**clock.seconds, "rest": total - sum(clock.seconds.values())}


class _Clock:
    """Seconds spent in each part so far."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, part: str, function: Callable[[], T]) -> T:
        start = perf_counter()
        result = function()
        self.seconds[part] = self.seconds.get(part, 0) + perf_counter() - start
        return result


class _TimedCodec(Codec):
    """A codec with a clock around it."""

    def __init__(self, codec: Codec, clock: _Clock) -> None:
        self._codec = codec
        self._clock = clock
        self.encoder_uses_snr = codec.encoder_uses_snr

    def calibrate(self, probe: ChannelProbe) -> None:
        self._codec.calibrate(probe)

    def encode(self, images: Tensor, tx: TxInfo) -> Frame:
        return self._clock.time("encode", partial(self._codec.encode, images, tx))

    def decode(self, received: Received, rx: RxInfo) -> Tensor | Decoded:
        return self._clock.time("decode", partial(self._codec.decode, received, rx))


class _TimedLink(Link):
    """A link with a clock around it."""

    def __init__(self, link: Link, clock: _Clock) -> None:
        super().__init__(link.channel, link.equalizer)
        self._clock = clock

    def transmit(
        self, frame: Frame, *, snr_db: Tensor, realisation: Realisation
    ) -> tuple[Received, Ledger]:
        send = partial(super().transmit, frame, snr_db=snr_db, realisation=realisation)
        return self._clock.time("link", send)

    def draw(self, seeds: Sequence[int], max_symbols: int, device: torch.device) -> Realisation:
        return self._clock.time("channel", partial(super().draw, seeds, max_symbols, device))


class _TimedMeter(Meter):
    """Metrics with a clock around them."""

    def __init__(self, names: Sequence[str], clock: _Clock) -> None:
        super().__init__(names)
        self._clock = clock

    def measure(self, images: Tensor, references: Tensor, keys: Sequence[str]) -> dict[str, Tensor]:
        return self._clock.time("metrics", partial(super().measure, images, references, keys))
