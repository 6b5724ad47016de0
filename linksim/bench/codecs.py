"""Codecs timed side by side in one process, so that all meet whatever else the machine does."""

from collections.abc import Sequence
from itertools import product
from statistics import median
from typing import TypeVar

import pandas as pd
import torch

from linksim.codec_lookup import codec_from_settings
from linksim.provenance import machine
from linksim.runtime.compiled import compile_parts
from linksim.runtime.devices import pick_device
from linksim.settings import CodecSettings
from linksim.sweep.complexity import RoundTrip

T = TypeVar("T")

PAPER_SIZE = 256
"""Side in pixels of the images that the papers' tables are about."""


def bench_codecs(
    contestants: Sequence[CodecSettings],
    *,
    sizes: Sequence[int] = (PAPER_SIZE,),
    repetitions: int = 9,
    warm_up: int = 2,
    compiled: bool = False,
    device: str = "cpu",
) -> pd.DataFrame:
    """Time of encode and decode of one square image, a row a size and contestant.

    The contestants take turns, compiled where asked for. Columns: codec, preset, precision, size,
    median_ms, fastest_ms, ns_per_pixel (of the median), repetitions, compiled, device, torch and
    those of
    :func:`linksim.provenance.machine`. Raises InputError for settings that do not fit.
    """
    codecs, place = [codec_from_settings(settings) for settings in contestants], pick_device(device)
    for codec in codecs:
        if isinstance(codec, torch.nn.Module):
            codec.to(place)
        if compiled:
            compile_parts(codec)
    entries = list(product(sizes, zip(contestants, codecs, strict=True)))
    trips = [RoundTrip(codec, size) for size, (_, codec) in entries]
    rounds = [[trip.seconds() for trip in trips] for _ in range(warm_up + repetitions)]
    times = zip(*rounds[warm_up:], strict=True)
    rows = [
        {
            "codec": settings.codec,
            "preset": settings.preset,
            "precision": settings.precision,
            "size": size,
            "median_ms": 1e3 * median(seconds),
            "fastest_ms": 1e3 * min(seconds),
            "ns_per_pixel": 1e9 * median(seconds) / size**2,
            "repetitions": repetitions,
            "compiled": compiled,
            "device": place.type,
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
