"""Parameters, multiply-accumulates and latency of any codec, encoder and decoder together."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import linksim.selective_scan  # noqa: F401 - registers the scan and its formula
from linksim.codec import Codec, Received, RxInfo, TxInfo
from linksim.link.link import unit_power
from linksim.neural_codec import NeuralCodec
from linksim.nn.layers import ONEDNN_LINEAR
from linksim.units import snr_db_to_no, symbol_budget

_SNR_DB = 10.0  # the cost of no neural codec depends on it


@dataclass(frozen=True, kw_only=True)
class Complexity:
    """What a codec costs for one image, encoder and decoder together.

    parameters: learned numbers; 0 for a classical codec.
    macs: multiply-accumulates of linear layers, projections, convolutions and attention products,
        which is what the counters used in papers see; None for a classical codec.
    scan_macs: multiply-accumulates of the selective scans, which those counters miss: 3 for each of
        the N states of every token, channel and direction (decay times state, input times B, state
        times C). Exponentials and the D skip are not in it. None for a classical codec.
    latency_ms: median time of encode and decode together.
    """

    parameters: int
    macs: int | None
    scan_macs: int | None
    latency_ms: float


def complexity(
    codec: Codec, size: int, *, cbr: float = 1 / 16, repetitions: int = 5, warm_up: int = 1
) -> Complexity:
    """Measure a codec on one random image of size x size.

    A neural codec sends its whole latent; any other gets a budget of ``cbr``, and must have been
    calibrated where it needs to be.
    """
    trip = RoundTrip(codec, size, cbr=cbr)
    macs, scan_macs = count_macs(trip.run) if isinstance(codec, nn.Module) else (None, None)
    times = [trip.seconds() for _ in range(warm_up + repetitions)]
    return Complexity(
        parameters=count_parameters(codec),
        macs=macs,
        scan_macs=scan_macs,
        latency_ms=1e3 * median(times[warm_up:]),
    )


class RoundTrip:
    """One random image through a codec's two sides, told 10 dB, over a channel that costs nothing.

    The channel scales to unit power and adds no noise: what is timed is the codec.
    """

    def __init__(self, codec: Codec, size: int, *, cbr: float = 1 / 16) -> None:
        self.codec = codec
        self.device = _device(codec)
        self.images = torch.rand(1, 3, size, size, device=self.device)
        whole_latent = isinstance(codec, NeuralCodec)
        told: dict[str, Any] = {
            "snr_db": torch.full((1,), _SNR_DB, device=self.device),
            "max_symbols": sys.maxsize if whole_latent else symbol_budget(cbr, size, size),
            "image_size": (size, size),
        }
        self.tx, self.rx = TxInfo(**told), RxInfo(**told)

    def run(self) -> None:
        """Encode and decode once."""
        with torch.inference_mode():
            self.codec.decode(self._channel(), self.rx)

    def seconds(self) -> float:
        """Time of one encode and decode."""
        start = self._now()
        self.run()
        return self._now() - start

    def _channel(self) -> Received:
        frame = self.codec.encode(self.images, self.tx)
        ones = torch.ones(frame.symbols.shape, device=self.device)
        return Received(
            symbols=unit_power(frame.symbols, frame.used),
            gain=ones,
            no_eff=ones * snr_db_to_no(_SNR_DB),
            used=frame.used,
            side_info=frame.side_info,
        )

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def count_parameters(codec: Codec) -> int:
    """Learned numbers of a codec; 0 where it has none."""
    return sum(p.numel() for p in codec.parameters()) if isinstance(codec, nn.Module) else 0


def count_macs(function: Callable[[], None]) -> tuple[int, int]:
    """(macs, scan_macs) of what ``function`` runs, as in :class:`Complexity`."""
    unknown_to_torch = {
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
        ONEDNN_LINEAR: _linear_flops,
    }
    with FlopCounterMode(display=False, custom_mapping=unknown_to_torch) as counter:
        function()
    scan = counter.get_flop_counts()["Global"].get(torch.ops.linksim.selective_scan, 0)
    return (counter.get_total_flops() - scan) // 2, scan // 2


def _linear_flops(x: torch.Size, weight: torch.Size, *_: Any, **__: Any) -> int:
    return 2 * prod(x) * weight[0]


def _attention_flops(q: torch.Size, k: torch.Size, v: torch.Size, *_: Any, **__: Any) -> int:
    return 2 * prod(q[:-1]) * k[-2] * (q[-1] + v[-1])  # QK^T and its product with V


def _device(codec: Codec) -> torch.device:
    parameters = codec.parameters() if isinstance(codec, nn.Module) else iter(())
    return next((p.device for p in parameters), torch.device("cpu"))
