"""Block error rates of transport blocks, measured over a channel and kept.

A frame is tried at rising SNR with the same payload, fading and noise, so it has one threshold:
below it fails, above it passes. The table counts thresholds, falls with the SNR by construction,
and costs little more than one decoding a code block.
"""

import csv
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from baselines.digital.ldpc import TransportChain, TransportPlan, transport_chain
from linksim.codec import ChannelProbe, Received
from linksim.errors import InputError
from linksim.files import locked, write_atomically
from linksim.seeding import derive_seed

FRAMES = 50
MIN_BLER = 1 / (FRAMES + 2)  # what no measurement of FRAMES frames can go below
SHIPPED_TABLES = Path(__file__).with_name("bler_tables.csv")

_BATCH = 10
_FINE_STEP_DB, _COARSE_STEP_DB, _FINE_STEPS = 0.25, 1.0, 12
_SNR_RANGE_DB = (-10.0, 60.0)
_COLUMNS = (
    "channel",
    "num_symbols",
    "bits_per_symbol",
    "base_graph",
    "num_blocks",
    "payload_bits",
    "iterations",
    "frames",
    "snr_db",
    "failures",
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class BlerCurve:
    """Of ``frames`` frames, how many failed at each SNR (rising; failures fall)."""

    frames: int
    snr_db: tuple[float, ...]
    failures: tuple[int, ...]

    def __call__(self, snr_db: float) -> float:
        """Block error rate, (failures + 1) / (frames + 2), linear between the measured SNRs.

        That is the mean of what the frames leave possible (Laplace's rule of succession): no
        failure in 50 frames is not a rate of zero. Below the first SNR it is 1.
        """
        if snr_db < self.snr_db[0]:
            return 1.0
        rates = (np.array(self.failures) + 1) / (self.frames + 2)
        return float(np.interp(snr_db, self.snr_db, rates))


@dataclass(frozen=True)
class CurveKey:
    """What a curve was measured for; the first columns of a table."""

    channel: str
    num_symbols: int
    bits_per_symbol: int
    base_graph: int
    num_blocks: int
    payload_bits: int
    iterations: int

    @classmethod
    def of(cls, channel: str, plan: TransportPlan, iterations: int) -> "CurveKey":
        """Key of a plan's transport blocks over a channel."""
        blocks = plan.segmentation
        return cls(
            channel=channel,
            num_symbols=plan.num_symbols,
            bits_per_symbol=plan.bits_per_symbol,
            base_graph=blocks.base_graph,
            num_blocks=blocks.num_blocks,
            payload_bits=plan.payload_bits,
            iterations=iterations,
        )


class BlerTables:
    """Block error rates over one channel: shipped with the package, cached, or measured now.

    device: where to measure. cache: folder of measured curves; by default ``linksim/bler`` in the
        user's cache folder ($XDG_CACHE_HOME or ~/.cache). ``curves``: those looked at so far.
    """

    def __init__(
        self,
        probe: ChannelProbe,
        *,
        iterations: int,
        device: str = "cpu",
        cache: Path | None = None,
    ) -> None:
        self._probe = probe
        self._iterations = iterations
        self._device = device
        self._cache = (cache or _user_cache()) / f"sionna-{version('sionna')}"
        self.curves: dict[CurveKey, BlerCurve] = {}
        self._onsets: dict[CurveKey, float] = {}
        self._capacities: dict[tuple[int, float], float] = {}

    def bler(self, plan: TransportPlan, snr_db: float) -> float:
        """Probability that a transport block fails. No curve is measured to say that it is 1."""
        if self._best_capacity(plan.num_symbols, snr_db) < plan.info_bits_per_symbol:
            return 1.0
        if self._known(plan) is None and snr_db < self._onset(plan):
            return 1.0
        return self.curve(plan)(snr_db)

    def curve(self, plan: TransportPlan) -> BlerCurve:
        """The whole curve of a plan."""
        known = self._known(plan)
        if known is not None:
            return known
        key = self.key(plan)
        with locked(self._path(key)):
            known = self._known(plan)  # another process may have measured it in the meantime
            if known is not None:
                return known
            _log.info("measuring the block error rate of %s, to be kept in %s", key, self._cache)
            curve = self.curves[key] = self.measure(plan)
            try:
                write_curves(self._path(key), {key: curve})
            except InputError as error:
                _log.warning("cannot keep the block error rate of %s: %s", key, error)
        return curve

    def measure(self, plan: TransportPlan, frames: int = FRAMES) -> BlerCurve:
        """Measure a curve, whether known or not, and keep nothing.

        It starts where a frame of the first batch passes (below, it says 1) and ends where none
        fails; in steps of 0.25 dB and, far up on channels with outage, of 1 dB.
        """
        counts = [min(_BATCH, frames - done) for done in range(0, frames, _BATCH)]
        batches = [self._batch(plan, i, count) for i, count in enumerate(counts)]
        snrs: list[float] = []
        failures: list[int] = []
        for snr_db in _snr_steps(self._onset(plan)):
            snrs.append(snr_db)
            failures.append(sum(batch.failing(snr_db) for batch in batches))
            if failures[-1] == 0:
                break
        return BlerCurve(frames=frames, snr_db=tuple(snrs), failures=tuple(failures))

    def key(self, plan: TransportPlan) -> CurveKey:
        """The name of a plan's curve over this channel."""
        return CurveKey.of(self._probe.name, plan, self._iterations)

    def _known(self, plan: TransportPlan) -> BlerCurve | None:
        key = self.key(plan)
        if key not in self.curves:
            path = self._path(key)
            kept = read_curves(path) if path.is_file() else {}
            found = _shipped().get(key) or kept.get(key)
            if found is None:
                return None
            self.curves[key] = found
        return self.curves[key]

    def _onset(self, plan: TransportPlan) -> float:
        """The lowest SNR of the grid at which the first batch's best frame passes."""
        key = self.key(plan)
        if key not in self._onsets:
            batch = self._batch(plan, 0, _BATCH)
            snr_db = self._shannon_limit(plan)
            while not batch.best_passes(snr_db) and snr_db < _SNR_RANGE_DB[1]:
                snr_db += _FINE_STEP_DB
            self._onsets[key] = snr_db
        return self._onsets[key]

    def _shannon_limit(self, plan: TransportPlan) -> float:
        """The lowest SNR of the grid at which some frame's capacity reaches the plan's rate."""
        low, high = (round(snr / _FINE_STEP_DB) for snr in _SNR_RANGE_DB)
        while low < high:
            middle = (low + high) // 2
            capacity = self._best_capacity(plan.num_symbols, middle * _FINE_STEP_DB)
            if capacity >= plan.info_bits_per_symbol:
                high = middle
            else:
                low = middle + 1
        return low * _FINE_STEP_DB

    def _best_capacity(self, num_symbols: int, snr_db: float) -> float:
        at = (num_symbols, snr_db)
        if at not in self._capacities:
            frames = frame_capacities(self._probe, num_symbols, snr_db, device=self._device)
            self._capacities[at] = float(frames.max())
        return self._capacities[at]

    def _batch(self, plan: TransportPlan, index: int, frames: int) -> "_Batch":
        chain = transport_chain(plan, iterations=self._iterations, device=self._device)
        return _Batch(chain, self._probe, derive_seed("bler", index), frames, self._device)

    def _path(self, key: CurveKey) -> Path:
        return self._cache / f"{derive_seed(repr(key)):016x}.csv"


def frame_capacities(
    probe: ChannelProbe,
    num_symbols: int,
    snr_db: float,
    *,
    frames: int = _BATCH,
    device: str = "cpu",
) -> Tensor:
    """Mean of log2(1 + 1/no_eff) over each of some frames, in bits a symbol; float64 [frames].

    The capacity of a frame's channel for Gaussian symbols, the channel being known to the receiver
    (Tse and Viswanath, Fundamentals of Wireless Communication, section 5.4). No code of a higher
    rate gets through; over frames, its mean is the ergodic capacity.
    """
    symbols = torch.ones(frames, num_symbols, dtype=torch.complex64, device=device)
    return _capacities(probe(symbols, snr_db, derive_seed("bler", 0)))


class _Batch:
    """Some frames of random payload, and which of their code blocks have passed."""

    def __init__(
        self, chain: TransportChain, probe: ChannelProbe, seed: int, frames: int, device: str
    ) -> None:
        self._chain = chain
        self._probe = probe
        self._seed = seed
        generator = torch.Generator().manual_seed(seed)
        payload = torch.randint(0, 2, (frames, chain.plan.payload_bits), generator=generator)
        self._symbols = chain.encode(payload.to(device))
        blocks = chain.plan.segmentation.num_blocks
        self._passed = torch.zeros(frames, blocks, dtype=torch.bool)

    def best_passes(self, snr_db: float) -> bool:
        """Whether the frame with the best channel passes at this SNR."""
        received = self._probe(self._symbols, snr_db, self._seed)
        best = torch.zeros(len(self._passed), dtype=torch.bool)
        best[_capacities(received).argmax()] = True
        return bool(self._try(received, best).any())

    def failing(self, snr_db: float) -> int:
        """How many frames fail at this SNR; one that passed at a lower one does not."""
        pending = ~self._passed.all(dim=1)
        if not pending.any():
            return 0
        received = self._probe(self._symbols, snr_db, self._seed)
        able = _capacities(received) >= self._chain.plan.info_bits_per_symbol
        passing = self._try(received, pending & able)
        return int((pending & ~passing).sum())

    def _try(self, received: Received, frames: Tensor) -> Tensor:
        """Which of the frames pass, both bool [frames]."""
        symbols, no_eff = received.unbiased(), received.no_eff
        alive = frames.clone()
        for block in range(self._passed.shape[1]):
            # One failing block fails its frame: the others can wait for a higher SNR.
            trying = torch.nonzero(alive & ~self._passed[:, block])[:, 0]
            if len(trying):
                rows = trying.to(symbols.device)
                passes = self._chain.block_passes(symbols[rows], no_eff[rows], block).cpu()
                self._passed[trying, block] = passes
                alive[trying] = passes
        return alive


def _capacities(received: Received) -> Tensor:
    return torch.log2(1 + 1 / received.no_eff.double()).mean(dim=1).cpu()


def _snr_steps(start_db: float) -> Iterator[float]:
    snr_db, steps = start_db, 0
    while snr_db <= _SNR_RANGE_DB[1]:
        yield snr_db
        steps += 1
        snr_db += _FINE_STEP_DB if steps < _FINE_STEPS else _COARSE_STEP_DB


def read_curves(path: Path) -> dict[CurveKey, BlerCurve]:
    """The curves of a table, as :func:`write_curves` wrote it."""
    points: dict[tuple[CurveKey, int], list[tuple[float, int]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            counts = (int(row[column]) for column in _COLUMNS[1:7])
            key = CurveKey(row["channel"], *counts)
            points.setdefault((key, int(row["frames"])), []).append(
                (float(row["snr_db"]), int(row["failures"]))
            )
    return {
        key: BlerCurve(
            frames=frames,
            snr_db=tuple(snr_db for snr_db, _ in curve),
            failures=tuple(failures for _, failures in curve),
        )
        for (key, frames), curve in points.items()
    }


def write_curves(path: Path, curves: dict[CurveKey, BlerCurve]) -> None:
    """Write a table, whole or not at all; raises InputError where the disk refuses."""

    def write(place: Path) -> None:
        with place.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_COLUMNS)
            writer.writerows(_rows(curves))

    write_atomically(path, write)


def _rows(curves: dict[CurveKey, BlerCurve]) -> Iterable[Sequence[object]]:
    for key, curve in curves.items():
        start = [getattr(key, column) for column in _COLUMNS[:7]]
        for snr_db, failures in zip(curve.snr_db, curve.failures, strict=True):
            yield [*start, curve.frames, snr_db, failures]


@lru_cache
def _shipped() -> dict[CurveKey, BlerCurve]:
    return read_curves(SHIPPED_TABLES) if SHIPPED_TABLES.is_file() else {}


def _user_cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "linksim" / "bler"
