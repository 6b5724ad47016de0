"""The selective scan timed side by side: its backends, and mamba-ssm's reference where it is.

mamba-ssm's reference scan is plain torch and runs on a CPU. The package installs without CUDA by
``MAMBA_SKIP_CUDA_BUILD=TRUE MAMBA_FORCE_BUILD=TRUE pip install --no-build-isolation --no-deps
mamba-ssm einops``.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import product
from statistics import median
from time import perf_counter
from types import ModuleType
from unittest.mock import MagicMock

import pandas as pd
import torch
from torch import Tensor

from linksim.provenance import machine
from linksim.selective_scan import selective_scan
from linksim.selective_scan.kernel import DETAIL, KERNEL, limit

Scan = Callable[..., Tensor]

PATIENCE_S = 5.0
"""A pass that takes longer is timed once: beside it, a warm-up is nothing."""

MAMBA_BACKWARD_TOKENS = 512
"""mamba-ssm's reference indexes its inputs token by token, so that its gradients take time in
proportion to the square of the length: a quarter of an hour for 4096 tokens."""


COMPILED_TOKENS = 16
"""torch.compile unrolls the reference's loop; 64 tokens were 4 minutes of compilation."""


@dataclass(frozen=True, kw_only=True)
class ScanSize:
    """A scan of the encoder's second half: 64x64 tokens, twice a width of 384, 16 states."""

    batch: int = 1
    length: int = 4096
    channels: int = 768
    states: int = 16

    @property
    def pairs(self) -> int:
        """(token, channel) pairs; each takes ``states`` exponentials."""
        return self.batch * self.length * self.channels

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the recurrence and the skip, exponentials apart."""
        return self.pairs * (3 * self.states + 1)

    @property
    def bytes(self) -> int:
        """Least traffic with memory in float32: u, delta, B and C in, y out."""
        return 4 * (3 * self.pairs + 2 * self.batch * self.length * self.states)


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """An implementation of the scan under one number of threads, timed this often.

    tokens, backward_tokens: most tokens of its passes, and of those with gradients.
    compiles: its first passes are not to be timed at all.
    """

    name: str
    scan: Scan
    threads: int
    repetitions: int
    tokens: int | None = None
    backward_tokens: int | None = None
    compiles: bool = False

    def length(self, tokens: int, which: str) -> int:
        """How many of a scan's tokens it takes in a pass."""
        limits = (self.tokens, self.backward_tokens if which == BOTH else None)
        return min([tokens, *(limit for limit in limits if limit is not None)])


def bench_scan(
    size: ScanSize | None = None,
    *,
    repetitions: int = 15,
    slow_repetitions: int = 3,
    compiled: bool = False,
) -> pd.DataFrame:
    """Time the scan forward, and forward and backward, with softplus, bias and skip, in float32.

    One row an implementation, pass and number of threads; the implementations take turns in one
    process. ``slow_repetitions`` are those of pure-torch scans.
    ``compiled`` adds torch.compile of our reference, over a few tokens only.

    Columns: scan, pass (forward, forward+backward), scan_threads, batch, length, channels, states,
    median_ms, fastest_ms, mpairs_per_s (million (token, channel) pairs a second, by the median),
    times_mamba_ref (speed in pairs over mamba-ssm's reference scan with as many threads as torch
    has; NaN where that is not installed), times_reference (the same over our own). For the native
    forward pass, gexp_per_s, gmac_per_s, gbyte_per_s (10^9 a second) and how much of the machine's
    limit each is: of_exp_limit, of_mac_limit, of_byte_limit, measured in the same process with as
    many threads. Then torch, instruction_set and those of :func:`linksim.provenance.machine`.
    """
    size = size or ScanSize()
    contestants = _contestants(repetitions, slow_repetitions, compiled)
    times = _times(contestants, _inputs(size))
    frame = pd.DataFrame(
        [_row(size, contestant, which, seconds) for (contestant, which), seconds in times.items()]
    )
    for column, rival in (("times_mamba_ref", MAMBA_REFERENCE), ("times_reference", REFERENCE)):
        speeds = frame[frame["scan"] == rival].set_index("pass")["mpairs_per_s"]
        frame[column] = frame["mpairs_per_s"] / frame["pass"].map(speeds)
    frame = _against_limits(frame, size)
    constants = {"torch": torch.__version__, "instruction_set": DETAIL, **machine()}
    return frame.assign(**constants)


def _row(
    size: ScanSize, contestant: Contestant, which: str, seconds: list[float]
) -> dict[str, object]:
    size = replace(size, length=contestant.length(size.length, which))
    return {
        "scan": contestant.name,
        "pass": which,
        "scan_threads": contestant.threads,
        **asdict(size),
        "median_ms": 1e3 * median(seconds),
        "fastest_ms": 1e3 * min(seconds),
        "mpairs_per_s": size.pairs / median(seconds) / 1e6,
    }


FORWARD, BOTH = "forward", "forward+backward"
NATIVE, REFERENCE, MAMBA_REFERENCE = "native", "reference", "mamba-ssm selective_scan_ref"
COMPILED = "torch.compile of the reference"


def _contestants(repetitions: int, slow_repetitions: int, compiled: bool) -> list[Contestant]:
    most = torch.get_num_threads()
    found = []
    if KERNEL is not None:
        native = partial(selective_scan, delta_softplus=True, backend="native")
        found += [
            Contestant(name=NATIVE, scan=native, threads=threads, repetitions=repetitions)
            for threads in sorted({1, most})
        ]
    slow = {REFERENCE: partial(selective_scan, delta_softplus=True, backend="reference")}
    mamba = mamba_reference()
    if mamba is not None:
        slow[MAMBA_REFERENCE] = partial(_channels_first, mamba)
    for name, scan in slow.items():
        tokens = MAMBA_BACKWARD_TOKENS if name == MAMBA_REFERENCE else None
        found.append(
            Contestant(
                name=name,
                scan=scan,
                threads=most,
                repetitions=slow_repetitions,
                backward_tokens=tokens,
            )
        )
    if compiled:
        found.append(
            Contestant(
                name=COMPILED,
                scan=torch.compile(slow[REFERENCE], dynamic=False),
                threads=most,
                repetitions=slow_repetitions,
                tokens=COMPILED_TOKENS,
                compiles=True,
            )
        )
    return found


def _inputs(size: ScanSize) -> dict[str, Tensor]:
    """Values as a trained network has them: A = -1..-N, step sizes mostly in 0.01 to 0.5."""
    generator = torch.Generator().manual_seed(0)
    batch, length, channels, states = size.batch, size.length, size.channels, size.states

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return {
        "u": draw(batch, length, channels),
        "delta": draw(batch, length, channels) - 2,
        "A": -torch.arange(1.0, states + 1).repeat(channels, 1),
        "B": draw(batch, length, states),
        "C": draw(batch, length, states),
        "D": draw(channels),
        "delta_bias": draw(channels) / 2,
    }


def _times(
    contestants: list[Contestant], inputs: Mapping[str, Tensor]
) -> dict[tuple[Contestant, str], list[float]]:
    times: dict[tuple[Contestant, str], list[float]] = {}
    for turn in range(1 + max(c.repetitions for c in contestants)):
        for contestant, which in product(contestants, (FORWARD, BOTH)):
            before = times.setdefault((contestant, which), [])
            taken = _first_tokens(inputs, contestant, which)
            if turn > contestant.repetitions or max(before, default=0) > PATIENCE_S:
                continue
            with _threads(contestant.threads):
                run = _forward if which == FORWARD else _forward_and_backward
                if contestant.compiles and turn == 0:
                    run(contestant.scan, taken)
                seconds = run(contestant.scan, taken)
            before.append(seconds)
    # The first is the warm-up, unless it was the only one.
    return {key: seconds[1:] or seconds for key, seconds in times.items()}


def _first_tokens(
    inputs: Mapping[str, Tensor], contestant: Contestant, which: str
) -> dict[str, Tensor]:
    length = contestant.length(inputs["u"].shape[1], which)
    return {name: t[:, :length] if t.ndim == 3 else t for name, t in inputs.items()}


def _forward(scan: Scan, inputs: Mapping[str, Tensor]) -> float:
    with torch.no_grad():
        start = perf_counter()
        scan(**inputs)
        return perf_counter() - start


def _forward_and_backward(scan: Scan, inputs: Mapping[str, Tensor]) -> float:
    leaves = {name: t.clone().requires_grad_() for name, t in inputs.items()}
    weights = torch.ones_like(leaves["u"])
    start = perf_counter()
    torch.autograd.grad(scan(**leaves), list(leaves.values()), weights)
    return perf_counter() - start


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --------------------------------------------------------------------------------------------------
# The limits of the machine.


def _against_limits(frame: pd.DataFrame, size: ScanSize) -> pd.DataFrame:
    native = (frame["scan"] == NATIVE) & (frame["pass"] == FORWARD)
    work = {"exp": size.pairs * size.states, "mac": size.macs, "byte": size.bytes}
    for name, amount in work.items():
        frame[f"g{name}_per_s"] = (amount / frame["median_ms"] / 1e6).where(native)
    for name in work:
        frame[f"of_{name}_limit"] = float("nan")
    for row in frame.index[native]:
        with _threads(int(frame.loc[row, "scan_threads"])):
            for name, most in machine_limits().items():
                frame.loc[row, f"of_{name}_limit"] = frame.loc[row, f"g{name}_per_s"] / most
    return frame


def machine_limits() -> dict[str, float]:
    """10^9 a second with torch's present threads: exponentials (``exp``) by the kernel's own
    function and multiply-accumulates (``mac``), both on registers alone, and bytes read and
    written (``byte``) in a copy of 256 MB."""
    source = torch.zeros(2**25)
    target = torch.ones(2**25)
    return {
        "exp": _most(lambda: limit("exponential", 20_000)),
        "mac": _most(lambda: limit("multiply_add", 100_000)),
        "byte": _most(lambda: target.copy_(source).numel() * 2 * 4),
    }


def _most(work: Callable[[], int], repetitions: int = 15) -> float:
    rates = []
    for _ in range(repetitions):
        start = perf_counter()
        amount = work()
        rates.append(amount / (perf_counter() - start) / 1e9)
    return max(rates)


# --------------------------------------------------------------------------------------------------
# mamba-ssm's reference scan.


def mamba_reference() -> Scan | None:
    """selective_scan_ref of an installed mamba-ssm, or None.

    Its module imports CUDA kernels that the reference does not use. Where they are missing they
    are replaced by stand-ins while it loads, and so is the package around it, which would load
    every model of mamba-ssm.
    """
    if find_spec("mamba_ssm") is None or find_spec("einops") is None:
        return None
    spec = find_spec("mamba_ssm")
    assert spec is not None
    package = ModuleType("mamba_ssm")
    package.__path__ = list(spec.submodule_search_locations or [])
    stand_ins: dict[str, ModuleType] = {"mamba_ssm": package}
    for name in ("selective_scan_cuda", "mamba_ssm.ops.triton.layer_norm", "causal_conv1d"):
        stand_ins[name] = MagicMock()
    before = dict(sys.modules)
    sys.modules.update(stand_ins)
    try:
        scan: Scan = import_module("mamba_ssm.ops.selective_scan_interface").selective_scan_ref
    finally:
        for name in set(sys.modules) - set(before):
            if name.startswith(("mamba_ssm", "causal_conv1d", "selective_scan_cuda")):
                del sys.modules[name]
        sys.modules.update(before)
    return scan


def _channels_first(
    scan: Scan,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    delta_bias: Tensor,
) -> Tensor:
    """mamba-ssm's layout is [batch, channels, L]; views, so that no copy is timed."""
    u, delta, B, C = (t.transpose(1, 2) for t in (u, delta, B, C))
    y = scan(u, delta, A, B, C, D, delta_bias=delta_bias, delta_softplus=True)
    return y.transpose(1, 2)
