"""The selective scan on a GPU, side by side: Triton, torch.compile, mamba-ssm where installed."""

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from linksim.bench.scan import COMPILED, COMPILED_TOKENS, ScanSize
from linksim.errors import InputError
from linksim.selective_scan import cuda, selective_scan, triton


def bench_gpu_scan(
    sizes: list[ScanSize],
    *,
    device: torch.device,
    repetitions: int = 20,
    compiled: bool = False,
) -> pd.DataFrame:
    """Time the scan forward, and forward and backward, in bfloat16 with softplus, bias and skip.

    One row a size, backend and pass. Columns: scan, pass, batch, length, channels, states,
    median_ms, and for the forward pass gexp_per_s and gbyte_per_s (10^9 a second; bytes are the
    least traffic in bfloat16) with their shares of what the card can do, of_exp_limit and
    of_byte_limit (:func:`card_limits`), and copy_gbyte_per_s, a copy's rate on the same device.

    compiled: also torch.compile of our reference, which unrolls its loop, over the first tokens.

    Raises InputError where Triton cannot run.
    """
    missing = triton.why_unavailable()
    if missing is not None:
        raise InputError(f"bench scan: the triton backend is not available: {missing}")
    names = ["triton"] + (["cuda"] if cuda.why_unavailable() is None else [])
    entries: list[tuple[str, Callable[..., Tensor], ScanSize]] = [
        (name, partial(_scan, name), size) for size in sizes for name in names
    ]
    if compiled and sizes:
        scan = torch.compile(partial(_scan, "reference"), dynamic=False)
        entries.append((COMPILED, scan, replace(sizes[0], length=COMPILED_TOKENS)))
    limits = {}
    if device.type == "cuda":
        limits = card_limits(torch.cuda.get_device_properties(device))
    copy = _copy_rate(device)
    rows = []
    for name, scan, size in entries:
        inputs = _inputs(size, device)
        with torch.no_grad():
            seconds = _median(partial(scan, *inputs), device, repetitions)
        work = {"exp": size.pairs * size.states, "byte": size.bytes / 2}
        rates = {kind: amount / seconds / 1e9 for kind, amount in work.items()}
        common = {"scan": "mamba-ssm" if name == "cuda" else name, **asdict(size)}
        rows.append(
            {**common, "pass": "forward", "median_ms": 1e3 * seconds}
            | {f"g{kind}_per_s": rate for kind, rate in rates.items()}
            | {f"of_{kind}_limit": rates[kind] / most for kind, most in limits.items()}
        )
        seconds = _median(partial(_gradients, scan, inputs), device, repetitions)
        rows.append({**common, "pass": "forward+backward", "median_ms": 1e3 * seconds})
    return pd.DataFrame(rows).assign(copy_gbyte_per_s=copy, torch=torch.__version__)


def card_limits(card: Any) -> dict[str, float]:
    """10^9 a second that a card can do at most, from torch's properties of it.

    exp: exponentials, 16 a cycle and multiprocessor (CUDA C++ Programming Guide, throughput of
    native arithmetic instructions, compute capabilities 7.x to 9.0) at its highest clock. byte:
    bytes of its memory, two transfers a cycle of the memory's clock over its bus.
    """
    return {
        "exp": 16 * card.multi_processor_count * card.clock_rate / 1e6,
        "byte": 2 * card.memory_clock_rate * card.memory_bus_width / 8 / 1e6,
    }


def _scan(
    backend: str, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, bias: Tensor
) -> Tensor:
    return selective_scan(u, delta, A, B, C, D, bias, delta_softplus=True, backend=backend)


def _gradients(scan: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
    torch.autograd.grad(scan(*inputs).sum(), inputs)


def _inputs(size: ScanSize, device: torch.device) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype).requires_grad_()

    wide = (size.batch, size.length, size.channels)
    narrow = (size.batch, size.length, size.states)
    A = -torch.arange(1.0, size.states + 1, device=device).repeat(size.channels, 1)
    channels = [draw(size.channels, dtype=torch.float32) for _ in range(2)]
    return draw(*wide), draw(*wide), A.requires_grad_(), draw(*narrow), draw(*narrow), *channels


def _median(work: Callable[[], object], device: torch.device, repetitions: int) -> float:
    seconds = []
    for _ in range(repetitions + 1):
        _wait(device)
        start = perf_counter()
        work()
        _wait(device)
        seconds.append(perf_counter() - start)
    return median(seconds[1:])  # the first compiles


def _copy_rate(device: torch.device) -> float:
    source, target = torch.zeros(2, 2**24, device=device)
    return 2 * 4 * 2**24 / _median(partial(target.copy_, source), device, 10) / 1e9


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
