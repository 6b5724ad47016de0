r"""How much information a code block needs to get through: the decoder's thresholds.

What a block's coded bits are told by their log-likelihood ratios L is, on average over them,

    I = 1 - E[log2(1 + exp(-(2c - 1) L))]  bit a coded bit c,

the generalised mutual information (A. Alvarado et al., Replacing the soft-decision FEC limit
paradigm, Journal of Lightwave Technology 33(20), 2015, equation 30). A block of rate R passes as
soon as I exceeds a threshold a little above R, whatever channel the ratios come from: fading,
estimated or known (link-to-system mapping by mutual information: K. Brueninghaus et al., Link
performance models, PIMRC 2005). So one small table, measured over AWGN, serves every channel.

    python -m baselines.digital.thresholds

measures what the shipped table, ``thresholds.csv``, lacks. The effective SNR of sionna.sys (EESM)
would do the same for tables 1 and 2 of TS 38.214, but has no parameters for the low rates of table
3, and takes the channel for known.
"""

import argparse
import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from functools import lru_cache
from math import log, pi
from pathlib import Path

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor
from torch.nn import functional as F

from baselines.digital.ldpc import ITERATIONS, TransportChain, TransportPlan, plan_transport
from linksim.files import write_atomically
from linksim.runtime.seeding import derive_seed

SHIPPED = Path(__file__).with_name("thresholds.csv")

_COUNTS = ("bits_per_symbol", "base_graph", "block_bits", "coded_bits", "iterations", "words")

_WORDS = 8  # whose thresholds are bisected
_COUNTED = 32  # more, which are counted; of short blocks the shipped table has 64
_LARGEST_GAP = 0.4
_BISECTIONS = 5
_SNR_RANGE_DB = (-30.0, 60.0)

# (base graph, K'): rates a modulation, in 1/1024. Each graph's thresholds at one size over the
# rates of TS 38.214, and a few at other sizes.
_MEASURED: Mapping[tuple[int, int], Mapping[int, Sequence[float]]] = {
    (2, 1000): {
        2: (30, 40, 50, 64, 78, 99, 120, 157, 193, 251, 379, 526, 679),
        4: (378, 490, 658),
        6: (438, 567, 666),
    },
    (2, 3000): {2: (64, 120, 193, 251, 449), 4: (490,)},
    (1, 1000): {6: (719, 873), 8: (711, 841, 948)},
    (1, 4200): {
        2: (308, 449, 679),
        4: (340, 490, 658),
        6: (438, 567, 666, 772, 873),
        8: (682.5, 797, 885, 948),
    },
    (1, 8400): {4: (553,), 6: (616,), 8: (841,)},
}
_REFERENCE_SIZE = {1: 4200, 2: 1000}


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """What code blocks of one kind need.

    block_bits: K', its CRC included. coded_bits: of a block. information, spread: mean and standard
    deviation over blocks of the information in bits a coded bit at which each passes; words: how
    many blocks were looked at.
    """

    bits_per_symbol: int
    base_graph: int
    block_bits: int
    coded_bits: int
    iterations: int
    words: int
    information: float
    spread: float

    @property
    def rate(self) -> float:
        """R, of the block."""
        return self.block_bits / self.coded_bits

    @property
    def gap(self) -> float:
        """(I - R) / (R (1 - R)): nearly alike for all rates."""
        return (self.information - self.rate) / _scale(self.rate)


def information(llr: Tensor, bits: Tensor) -> Tensor:
    """1 - log2(1 + exp(-(2c - 1) L)) of each bit c with log-likelihood ratio L, log p(1)/p(0)."""
    return 1 - F.softplus((1 - 2 * bits) * llr) / log(2)


class _Words:
    """Random words of a plan of one code block, and their noise."""

    def __init__(self, plan: TransportPlan, *, iterations: int, words: int, seed: int) -> None:
        self._chain = TransportChain(plan, iterations=iterations)
        generator = torch.Generator().manual_seed(seed)
        payload = torch.randint(0, 2, (words, plan.payload_bits), generator=generator)
        self._bits = self._chain.coded_bits(payload)
        self._symbols = self._chain.qam.symbols(self._bits)
        self._noise = torch.randn(self._symbols.shape, dtype=torch.complex64, generator=generator)

    def pass_at(self, wanted: Tensor) -> Tensor:
        """Which of the words pass at the SNR that leaves each ``wanted`` information, bool [W]."""
        low, high = (torch.full(wanted.shape, end) for end in _SNR_RANGE_DB)
        for _ in range(20):
            middle = (low + high) / 2
            llr = self._chain.qam.llr(*self._received(middle))
            short = information(llr, self._bits).mean(dim=1) < wanted
            low, high = torch.where(short, middle, low), torch.where(short, high, middle)
        return self._chain.decode(*self._received((low + high) / 2))[1]

    def _received(self, snr_db: Tensor) -> tuple[Tensor, Tensor]:
        no = 10 ** (-snr_db[:, None] / 10)
        return self._symbols + no.sqrt() * self._noise, no.expand(self._symbols.shape)


def measure(plan: TransportPlan, *, iterations: int = ITERATIONS, words: int = _WORDS) -> Threshold:
    """The threshold of a plan of one code block, by bisection of each word over AWGN."""
    drawn = _Words(plan, iterations=iterations, words=words, seed=derive_seed("thresholds"))
    rate = plan.segmentation.block_bits / plan.coded_bits
    low = torch.full((words,), rate)
    high = low + _LARGEST_GAP * rate * (1 - rate)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        passed = drawn.pass_at(middle)
        low, high = torch.where(passed, low, middle), torch.where(passed, middle, high)
    needed = (low + high) / 2
    return Threshold(
        bits_per_symbol=plan.bits_per_symbol,
        base_graph=plan.segmentation.base_graph,
        block_bits=plan.segmentation.block_bits,
        coded_bits=plan.coded_bits,
        iterations=iterations,
        words=words,
        information=round(float(needed.mean()), 5),
        spread=round(float(needed.std()), 5),
    )


def refine(plan: TransportPlan, known: Threshold, *, words: int = _COUNTED) -> Threshold:
    """A threshold made more exact by how many more words pass at the information known so far.

    Thresholds of words being Gaussian, the share that passes tells their mean, 2/pi times as well
    as thresholds of as many words would, for a fifth of the decoding.
    """
    seed = derive_seed("thresholds", "refined", known.words)
    drawn = _Words(plan, iterations=known.iterations, words=words, seed=seed)
    passed = int(drawn.pass_at(torch.full((words,), known.information)).sum())
    share = min(max(passed, 0.5), words - 0.5) / words
    found = known.information - float(ndtri(share)) * known.spread
    weight = words * 2 / pi
    mean = (known.words * known.information + weight * found) / (known.words + weight)
    return replace(known, words=known.words + words, information=round(mean, 5))


class ThresholdTable:
    """Thresholds between the measured ones.

    Over the rate, the gap is interpolated linearly between those of the same base graph and
    modulation at the graph's reference size; over the size, it moves with 1/sqrt(K'), as fast as
    the other sizes tell. The spread of a single kind of block, of few words, says little: what
    serves is R (1 - R) K'^(-1/2) times what fits all blocks of a graph.
    """

    def __init__(self, rows: Sequence[Threshold]) -> None:
        self._gaps: dict[int, dict[int, tuple[list[float], list[float]]]] = {}
        self._slopes: dict[int, float] = {}
        self._spreads: dict[int, float] = {}
        for graph, size in _REFERENCE_SIZE.items():
            own = sorted((r for r in rows if r.base_graph == graph), key=lambda r: r.rate)
            at_size = [r for r in own if abs(r.block_bits / size - 1) < 0.1]
            self._gaps[graph] = {
                bits: (
                    [r.rate for r in at_size if r.bits_per_symbol == bits],
                    [r.gap for r in at_size if r.bits_per_symbol == bits],
                )
                for bits in {r.bits_per_symbol for r in at_size}
            }
            others = [r for r in own if r not in at_size]
            steps = np.array([_root_from(size, r.block_bits) for r in others])
            moved = np.array([r.gap - self._gap(r.bits_per_symbol, graph, r.rate) for r in others])
            self._slopes[graph] = float(moved @ steps / (steps @ steps)) if others else 0.0
            relative = [r.spread / _scale(r.rate) * r.block_bits**0.5 for r in own]
            self._spreads[graph] = float(np.sqrt(np.mean(np.square(relative))))

    def needed(
        self, *, bits_per_symbol: int, base_graph: int, block_bits: int, coded_bits: int
    ) -> tuple[float, float]:
        """(mean, standard deviation) of the information in bits a coded bit at which blocks pass.

        Of a modulation that was not measured over the base graph, those of the next lower one.
        """
        rate = block_bits / coded_bits
        step = _root_from(_REFERENCE_SIZE[base_graph], block_bits)
        gap = self._gap(bits_per_symbol, base_graph, rate) + self._slopes[base_graph] * step
        spread = self._spreads[base_graph] * block_bits**-0.5
        return rate + gap * _scale(rate), spread * _scale(rate)

    def _gap(self, bits_per_symbol: int, base_graph: int, rate: float) -> float:
        """At the reference size."""
        curves = self._gaps[base_graph]
        lower = [bits for bits in curves if bits <= bits_per_symbol]
        return float(np.interp(rate, *curves[max(lower, default=min(curves))]))


def _scale(rate: float) -> float:
    return rate * (1 - rate)


def _root_from(size: int, block_bits: int) -> float:
    return float(block_bits**-0.5 - size**-0.5)


@lru_cache
def shipped_table() -> ThresholdTable:
    """The table that comes with the package."""
    return ThresholdTable(read(SHIPPED))


def read(path: Path) -> list[Threshold]:
    """The rows of a table."""
    with path.open(newline="") as file:
        return [
            Threshold(
                **{name: int(row[name]) for name in _COUNTS},
                information=float(row["information"]),
                spread=float(row["spread"]),
            )
            for row in csv.DictReader(file)
        ]


def write(path: Path, rows: Sequence[Threshold]) -> None:
    """Write a table, whole or not at all; raises InputError where the disk refuses."""

    def fill(place: Path) -> None:
        with place.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([field.name for field in fields(Threshold)])
            writer.writerows(map(astuple, rows))

    write_atomically(path, fill)


_Kind = tuple[int, int, int, int]


def _kind(row: Threshold) -> _Kind:
    return row.bits_per_symbol, row.base_graph, row.block_bits, row.coded_bits


def _kind_of(plan: TransportPlan) -> _Kind:
    blocks = plan.segmentation
    return plan.bits_per_symbol, blocks.base_graph, blocks.block_bits, plan.coded_bits


def measured_plans() -> Iterator[TransportPlan]:
    """A plan of one code block for each entry of the shipped table."""
    for (_, block_bits), rates in _MEASURED.items():
        for bits, listed in rates.items():
            for rate in listed:
                yield plan_transport(round(block_bits * 1024 / rate / bits), bits, rate / 1024)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the thresholds that a table lacks, and refine those of few words."""
    from rich.console import Console

    from linksim.progress import counting_progress

    parser = argparse.ArgumentParser(
        prog="python -m baselines.digital.thresholds", description=main.__doc__
    )
    parser.add_argument("--iterations", type=int, default=ITERATIONS, help="of the LDPC decoder")
    parser.add_argument("--words", type=int, default=_WORDS, help="code blocks to bisect")
    parser.add_argument("--counted", type=int, default=_COUNTED, help="code blocks to count")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="by default the shipped table")
    options = parser.parse_args(arguments)
    known = {_kind(row): row for row in (read(options.out) if options.out.is_file() else [])}
    enough = options.words + options.counted
    with counting_progress(Console(stderr=True), "thresholds") as progress:
        for plan in progress.track(list(measured_plans())):
            row = known.get(_kind_of(plan))
            if row is None:
                row = measure(plan, iterations=options.iterations, words=options.words)
            if row.words < enough:
                row = refine(plan, row, words=enough - row.words)
            known[_kind(row)] = row
            write(options.out, list(known.values()))


if __name__ == "__main__":
    main()
