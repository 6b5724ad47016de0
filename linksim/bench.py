"""Codecs timed side by side in one process, so that all meet whatever else the machine does."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from statistics import median
from time import perf_counter
from typing import TypeVar

import pandas as pd
import torch

from linksim.channels import Rayleigh
from linksim.codec import Decoded, RxInfo
from linksim.codec_lookup import codec_from_settings
from linksim.complexity import RoundTrip
from linksim.link import Link, LinkProbe
from linksim.metrics import measure
from linksim.provenance import machine
from linksim.settings import CodecSettings
from linksim.transmission import encode, uniform_snr
from linksim.units import symbol_budget

T = TypeVar("T")

PAPER_SIZE = 256
"""Side in pixels of the images that the papers' tables are about."""


def bench_codecs(
    contestants: Sequence[CodecSettings],
    *,
    sizes: Sequence[int] = (PAPER_SIZE,),
    repetitions: int = 9,
    warm_up: int = 2,
) -> pd.DataFrame:
    """Time of encode and decode of one square image, a row a size and contestant.

    The contestants take turns. Columns: codec, preset, precision, size, median_ms, fastest_ms,
    ns_per_pixel (of the median), repetitions, torch and those of
    :func:`linksim.provenance.machine`. Raises InputError for settings that do not fit.
    """
    codecs = [codec_from_settings(settings) for settings in contestants]
    entries = list(product(sizes, zip(contestants, codecs, strict=True)))
    trips = [RoundTrip(codec, size) for size, (_, codec) in entries]
    rounds = [[trip.seconds() for trip in trips] for _ in range(warm_up + repetitions)]
    times = zip(*rounds[warm_up:], strict=True)
    rows = [
        {
            "codec": settings.name,
            "preset": settings.preset,
            "precision": settings.precision,
            "size": size,
            "median_ms": 1e3 * median(seconds),
            "fastest_ms": 1e3 * min(seconds),
            "ns_per_pixel": 1e9 * median(seconds) / size**2,
            "repetitions": repetitions,
            "torch": torch.__version__,
            **machine(),
        }
        for (size, (settings, _)), seconds in zip(entries, times, strict=True)
    ]
    return pd.DataFrame(rows)


def in_both_precisions(codecs: Sequence[tuple[str, str]]) -> list[CodecSettings]:
    """Settings of neural (codec, preset) pairs, each in fp32 and in bf16."""
    return [
        CodecSettings(codec=codec, preset=preset, precision=precision)
        for codec, preset in codecs
        for precision in ("fp32", "bf16")
    ]


def bench_link(settings: CodecSettings, *, size: int = PAPER_SIZE, images: int = 8) -> pd.DataFrame:
    """Where the time of a sweep goes, over some images of a size: a row a part.

    Parts: encode and decode (the codec's own), channel and link (draws, power, noise, equaliser),
    metrics (PSNR, MS-SSIM and LPIPS). Columns: part, median_ms, share, torch and those of
    :func:`linksim.provenance.machine`. Raises InputError for settings that do not fit.
    """
    codec = codec_from_settings(settings)
    link = Link(Rayleigh())
    codec.calibrate(LinkProbe(link))
    max_symbols = symbol_budget(1 / 12, size, size)
    times: dict[str, list[float]] = {}

    def timed(part: str, function: Callable[[], T]) -> T:
        start = perf_counter()
        result = function()
        times.setdefault(part, []).append(perf_counter() - start)
        return result

    snr_db = uniform_snr(10, 1, "cpu")
    for index in range(images + 1):
        generator = torch.Generator().manual_seed(index)
        image = torch.rand(1, 3, size, size, generator=generator)
        if index == 1:  # the first was the warm-up
            times.clear()
        with torch.inference_mode():
            frame = timed(
                "encode",
                partial(encode, codec, image, snr_db=snr_db, max_symbols=max_symbols),
            )
            drawn = timed("channel", partial(link.draw, [index], max_symbols, torch.device("cpu")))
            received, _ = timed(
                "link", partial(link.transmit, frame, snr_db=snr_db, realisation=drawn)
            )
            rx = RxInfo(snr_db=snr_db, max_symbols=max_symbols, image_size=(size, size))
            out = timed("decode", partial(codec.decode, received, rx))
            decoded = out.images if isinstance(out, Decoded) else out
            timed("metrics", partial(measure, ("psnr", "ms_ssim", "lpips"), decoded, image))
    medians = {part: median(seconds) for part, seconds in times.items()}
    rows = [
        {
            "part": part,
            "median_ms": 1e3 * seconds,
            "share": seconds / sum(medians.values()),
            "torch": torch.__version__,
            **machine(),
        }
        for part, seconds in medians.items()
    ]
    return pd.DataFrame(rows)
