"""The selective scan's GPU backends timed side by side: Triton, and mamba-ssm where installed."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from statistics import median
from time import perf_counter

import pandas as pd
import torch
from torch import Tensor

from linksim.bench.scan import ScanSize
from linksim.errors import InputError
from linksim.selective_scan import cuda, selective_scan, triton


def bench_gpu_scan(
    sizes: list[ScanSize], *, device: torch.device, repetitions: int = 20
) -> pd.DataFrame:
    """Time the scan forward, and forward and backward, in bfloat16 with softplus, bias and skip.

    One row a size, backend and pass. Columns: scan, pass, batch, length, channels, states,
    median_ms, and for the forward pass gexp_per_s and gbyte_per_s (10^9 a second; bytes are the
    least traffic in bfloat16) and copy_gbyte_per_s, a copy's rate on the same device.

    Raises InputError where Triton cannot run.
    """
    missing = triton.why_unavailable()
    if missing is not None:
        raise InputError(f"bench scan: the triton backend is not available: {missing}")
    names = ["triton"] + (["cuda"] if cuda.why_unavailable() is None else [])
    copy = _copy_rate(device)
    rows = []
    for size in sizes:
        inputs = _inputs(size, device)
        for name in names:
            scan = partial(_scan, inputs, name)
            with torch.no_grad():
                seconds = _median(scan, device, repetitions)
            work = {"gexp_per_s": size.pairs * size.states, "gbyte_per_s": size.bytes / 2}
            rates = {key: amount / seconds / 1e9 for key, amount in work.items()}
            common = {"scan": "mamba-ssm" if name == "cuda" else name, **asdict(size)}
            rows.append({**common, "pass": "forward", "median_ms": 1e3 * seconds, **rates})

            seconds = _median(partial(_gradients, inputs, name), device, repetitions)
            rows.append({**common, "pass": "forward+backward", "median_ms": 1e3 * seconds})
    return pd.DataFrame(rows).assign(copy_gbyte_per_s=copy, torch=torch.__version__)


def _scan(inputs: tuple[Tensor, ...], backend: str) -> Tensor:
    u, delta, A, B, C, D, bias = inputs
    return selective_scan(u, delta, A, B, C, D, bias, delta_softplus=True, backend=backend)


def _gradients(inputs: tuple[Tensor, ...], backend: str) -> None:
    torch.autograd.grad(_scan(inputs, backend).sum(), inputs)


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
