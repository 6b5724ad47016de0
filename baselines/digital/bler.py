"""Block error rates of transport blocks over a channel.

    random QAM over the channel ─► LLRs ─► information of each code block ─► thresholds ─► rate

Nothing is decoded: each frame's code blocks get what information their log-likelihood ratios hold,
and :mod:`baselines.digital.thresholds` says what the decoder needs. Estimation errors, fading and
clipping are in the ratios. All schemes and SNRs meet the same fading and noise, so that what tells
them apart is not chance.
"""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr
from torch import Tensor

from baselines.digital.ldpc import ITERATIONS, Qam, TransportPlan
from baselines.digital.thresholds import ThresholdTable, information, shipped_table
from linksim.codec import ChannelProbe
from linksim.runtime.seeding import derive_seed

MIN_BLER = 1e-3  # below it, what is left out here counts

FRAMES, _FRAMES_ALIKE = 256, 32
_ALIKE = 0.02  # relative spread of the frames' capacities, at most, of a channel that averages out
_ALIKE_AT_DB = 5.0
_BATCHES = 8
_CHUNK = 32  # symbols, of which information is kept as one
_STEP_DB = 0.5

_SEEDS = tuple(derive_seed("bler", index) for index in range(_BATCHES))

Array = NDArray[np.float64]


class BlerTables:
    """Block error rates over one channel, worked out when they are asked for.

    At the SNRs of a grid of 0.5 dB; between them, information is interpolated. frames: of a channel
    that does not average out, over which rates are the mean.
    """

    def __init__(
        self,
        probe: ChannelProbe,
        *,
        iterations: int = ITERATIONS,
        device: str = "cpu",
        thresholds: ThresholdTable | None = None,
        frames: int = FRAMES,
    ) -> None:
        self._probe = probe
        self._device = device
        self._thresholds = thresholds or shipped_table()
        self._iterations = iterations
        self._frames = frames
        self._sums = lru_cache(maxsize=256)(self._information_sums)
        self._capacities = lru_cache(maxsize=256)(self._frame_capacities)
        self._rates = lru_cache(maxsize=2**15)(self._bler)

    def bler(self, plan: TransportPlan, snr_db: float) -> float:
        """Probability that a transport block fails after all its transmissions, at least
        ``MIN_BLER``; 1 where hardly any could pass."""
        return self._rates(plan, snr_db)

    def _bler(self, plan: TransportPlan, snr_db: float) -> float:
        length = plan.num_symbols * plan.transmissions
        if self._capacities(length, _ceil(snr_db)).max() * length < plan.payload_bits:
            return 1.0
        failing = 1 - float(self.passing(plan, snr_db).mean())
        return 1.0 if failing > 1 - MIN_BLER else max(failing, MIN_BLER)

    def passing(self, plan: TransportPlan, snr_db: float) -> Array:
        """How likely each of the frames, of which rates are the mean, gets through; [frames]."""
        needed, spread = self._needed(plan)
        blocks = self._information(plan, snr_db)
        likely: Array = ndtr((blocks - needed) / spread).prod(axis=1)
        return likely

    def _needed(self, plan: TransportPlan) -> tuple[Array, Array]:
        """Mean and standard deviation of the information that each code block needs, in bits."""
        rows = []
        for length in plan.coded_lengths:
            mean, spread = self._thresholds.needed(
                bits_per_symbol=plan.bits_per_symbol,
                base_graph=plan.segmentation.base_graph,
                block_bits=plan.segmentation.block_bits,
                coded_bits=length * plan.transmissions,
            )
            rows.append((mean * length * plan.transmissions, spread * length * plan.transmissions))
        means, spreads = np.array(rows).T
        return means, spreads

    def _information(self, plan: TransportPlan, snr_db: float) -> Array:
        """Information of each code block over all transmissions, in bits, [frames, blocks]."""
        low, high = _floor(snr_db), _ceil(snr_db)
        at_low = self._of_blocks(plan, low)
        if low == high:
            return at_low
        weight = (snr_db - low) / (high - low)
        return (1 - weight) * at_low + weight * self._of_blocks(plan, high)

    def _of_blocks(self, plan: TransportPlan, snr_db: float) -> Array:
        length = plan.num_symbols * plan.transmissions
        sums = self._sums(plan.bits_per_symbol, plan.num_symbols, plan.transmissions, snr_db)
        ends = np.cumsum([0, *plan.coded_lengths]) / plan.bits_per_symbol
        edges = np.minimum(np.arange(sums.shape[1]) * _CHUNK, length)
        total = np.zeros((len(sums), len(plan.coded_lengths)))
        for transmission in range(plan.transmissions):
            places = ends + transmission * plan.num_symbols
            total += np.diff([np.interp(places, edges, frame) for frame in sums], axis=1)
        return total

    def _information_sums(
        self, bits_per_symbol: int, num_symbols: int, transmissions: int, snr_db: float
    ) -> Array:
        """Information of each frame up to every ``_CHUNK``-th symbol, in bits, [frames, chunks]."""
        length = num_symbols * transmissions
        rounds = tuple(range(num_symbols, length + 1, num_symbols)) if transmissions > 1 else ()
        qam = Qam(bits_per_symbol, device=self._device)
        sums = []
        at_alike = self._capacities(length, _ALIKE_AT_DB)
        alike = at_alike.std() < _ALIKE * at_alike.mean()
        frames = (_FRAMES_ALIKE if alike else self._frames) // _BATCHES
        for seed in _SEEDS:
            generator = torch.Generator().manual_seed(seed)
            bits = torch.randint(0, 2, (frames, length * bits_per_symbol), generator=generator)
            bits = bits.to(self._device, torch.float32)
            received = self._probe(qam.symbols(bits), snr_db, seed, rounds)
            told = information(qam.llr(received.unbiased(), received.no_eff), bits)
            chunks = torch.split(told.double(), _CHUNK * bits_per_symbol, dim=1)
            sums.append(torch.stack([chunk.sum(dim=1) for chunk in chunks], dim=1).cpu().numpy())
        steps = np.concatenate(sums).cumsum(axis=1)
        return np.pad(steps, ((0, 0), (1, 0)))

    def _frame_capacities(self, length: int, snr_db: float) -> Array:
        """Of some frames of so many symbols, in bits a symbol."""
        frames = FRAMES // _BATCHES
        return frame_capacities(
            self._probe, length, snr_db, frames=frames, device=self._device
        ).numpy()


def frame_capacities(
    probe: ChannelProbe,
    num_symbols: int,
    snr_db: float,
    *,
    frames: int,
    device: str = "cpu",
) -> Tensor:
    """Mean of log2(1 + 1/no_eff) over each of some frames, in bits a symbol; float64 [frames].

    The capacity of a frame's channel for Gaussian symbols, the channel being known to the receiver
    (Tse and Viswanath, Fundamentals of Wireless Communication, section 5.4). No code of a higher
    rate gets through; over frames, its mean is the ergodic capacity.
    """
    symbols = torch.ones(frames, num_symbols, dtype=torch.complex64, device=device)
    received = probe(symbols, snr_db, derive_seed("bler", 0))
    return torch.log2(1 + 1 / received.no_eff.double()).mean(dim=1).cpu()


def _floor(snr_db: float) -> float:
    return float(np.floor(snr_db / _STEP_DB + 1e-9) * _STEP_DB)


def _ceil(snr_db: float) -> float:
    return float(np.ceil(snr_db / _STEP_DB - 1e-9) * _STEP_DB)
