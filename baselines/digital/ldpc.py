"""A transport block of 5G NR: CRC, segmentation, LDPC, rate matching, scrambling, QAM and back.

    payload -> CRC -> code blocks, each with a CRC -> LDPC, rate matching, interleaver
            -> concatenation -> scrambling -> QAM

as in 3GPP TS 38.212 clauses 5.1 to 5.5 and 7.2, with the coders, mapper and demapper of Sionna.
A rate below that of the base graph repeats coded bits: a block then sends several redundancy
versions at once, in the order 0, 2, 3, 1 that retransmissions take them in. Where it departs from
the standard: those versions share a block's coded bits evenly, instead of one version that goes
round the circular buffer; the payload fills the symbols at the code rate to within the
segmentation, without the coarser grid of sizes of TS 38.214.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from linksim.errors import InputError

BITS_PER_SYMBOL = (2, 4, 6, 8)
MIN_CODE_RATE = 30 / 1024
MAX_CODE_RATE = 948 / 1024
BLOCK_CRC_BITS = 24
ITERATIONS = 50
ITERATIONS_PER_CHECK = 2
REDUNDANCY_VERSIONS = (0, 2, 3, 1)  # in the order of TS 38.214 table 5.1.2.1-2

_MOTHER_RATE = {1: 1 / 3, 2: 1 / 5}

_LARGEST_BLOCK = {1: 8448, 2: 3840}  # Kcb, TS 38.212 clause 5.2.2
_SMALL_TRANSPORT_BLOCK = 3824  # up to here CRC16 and one code block, clause 7.2.1
_SCRAMBLING_SEED = 2**15 + 1  # c_init of TS 38.211 clause 7.3.1.1 with n_RNTI = n_ID = 1
_WORDS_AT_ONCE = {"cpu": 8, "cuda": 256}  # what a cache and a GPU's memory hold


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """How a transport block falls into code blocks (TS 38.212 clauses 5.2.2, 7.2.1 to 7.2.3).

    base_graph: 1 or 2. crc_bits: L, of the transport block. num_blocks: C.
    block_crc_bits: of each code block, 0 if there is only one. block_bits: K', a block's bits with
    its CRC, before the filler bits that are not sent.
    """

    base_graph: Literal[1, 2]
    crc_bits: int
    num_blocks: int
    block_crc_bits: int
    block_bits: int


@dataclass(frozen=True, kw_only=True)
class TransportPlan:
    """Everything that both ends must agree on, in bits and symbols of one transport block.

    coded_lengths: E_r, the coded bits of each block, of at most two lengths, the shorter first.
    transmissions: how often the block can be sent, each time on ``num_symbols`` symbols and with
        the redundancy versions that come next (hybrid ARQ); all else is of one transmission.
    """

    num_symbols: int
    bits_per_symbol: int
    payload_bits: int
    segmentation: Segmentation
    coded_lengths: tuple[int, ...]
    transmissions: int = 1

    @property
    def coded_bits(self) -> int:
        """All bits that the symbols carry: payload + CRC + parity."""
        return sum(self.coded_lengths)

    @property
    def crc_bits(self) -> int:
        """Of the transport block and of all code blocks."""
        blocks = self.segmentation
        return blocks.crc_bits + blocks.num_blocks * blocks.block_crc_bits

    @property
    def parity_bits(self) -> int:
        """Of the LDPC code, after rate matching."""
        return self.coded_bits - self.crc_bits - self.payload_bits

    @property
    def info_bits_per_symbol(self) -> float:
        """Payload bits a symbol."""
        return self.payload_bits / self.num_symbols


def segment(payload_bits: int, code_rate: float) -> Segmentation:
    """Segmentation of a transport block; its bits must divide evenly (see plan_transport)."""
    small = payload_bits <= _SMALL_TRANSPORT_BLOCK
    graph_2 = payload_bits <= 292 or (small and code_rate <= 0.67) or code_rate <= 1 / 4
    base_graph: Literal[1, 2] = 2 if graph_2 else 1
    crc_bits = 16 if small else 24
    with_crc = payload_bits + crc_bits
    largest = _LARGEST_BLOCK[base_graph]
    one = with_crc <= largest
    num_blocks = 1 if one else -(-with_crc // (largest - BLOCK_CRC_BITS))
    block_crc_bits = 0 if one else BLOCK_CRC_BITS
    return Segmentation(
        base_graph=base_graph,
        crc_bits=crc_bits,
        num_blocks=num_blocks,
        block_crc_bits=block_crc_bits,
        block_bits=with_crc // num_blocks + block_crc_bits,
    )


@lru_cache(maxsize=1024)
def plan_transport(
    num_symbols: int, bits_per_symbol: int, code_rate: float, *, transmissions: int = 1
) -> TransportPlan:
    """The largest transport block of at most ``code_rate`` payload bits a coded bit.

    All symbols are used. The payload is a whole number of bytes and divides evenly into the code
    blocks, and no block passes rate 948/1024 with its CRCs. transmissions: of the plan. Raises
    InputError for a modulation or rate that there is none of, and where not even one byte fits.
    """
    if bits_per_symbol not in BITS_PER_SYMBOL:
        raise InputError(f"bits_per_symbol is {bits_per_symbol}; allowed: {BITS_PER_SYMBOL}")
    if not MIN_CODE_RATE <= code_rate <= MAX_CODE_RATE:
        raise InputError(
            f"code rate is {code_rate}; allowed: {MIN_CODE_RATE:.3f} (30/1024) to "
            f"{MAX_CODE_RATE:.3f} (948/1024)"
        )
    coded_bits = num_symbols * bits_per_symbol
    payload_bits = int(code_rate * coded_bits) // 8 * 8
    while payload_bits >= 8:
        blocks = segment(payload_bits, code_rate)
        spare = (payload_bits + blocks.crc_bits) % (8 * blocks.num_blocks)
        if spare == 0:
            lengths = _coded_lengths(num_symbols, bits_per_symbol, blocks.num_blocks)
            if blocks.block_bits <= MAX_CODE_RATE * lengths[0]:
                return TransportPlan(
                    num_symbols=num_symbols,
                    bits_per_symbol=bits_per_symbol,
                    payload_bits=payload_bits,
                    segmentation=blocks,
                    coded_lengths=lengths,
                    transmissions=transmissions,
                )
        payload_bits -= spare or 8 * blocks.num_blocks
    raise InputError(
        f"{num_symbols} symbols of {bits_per_symbol} bits at rate {code_rate:.3f} "
        "cannot carry one byte and its CRC; allow more symbols"
    )


def _coded_lengths(num_symbols: int, bits_per_symbol: int, num_blocks: int) -> tuple[int, ...]:
    """E_r, TS 38.212 clause 5.4.2.1: whole symbols a block, as equal as they go."""
    symbols, longer = divmod(num_symbols, num_blocks)
    shorter = num_blocks - longer
    return (symbols * bits_per_symbol,) * shorter + ((symbols + 1) * bits_per_symbol,) * longer


class Qam:
    """Gray QAM of TS 38.211 clause 5.1, as bits and as log-likelihood ratios."""

    def __init__(self, bits_per_symbol: int, *, device: str = "cpu") -> None:
        from sionna.phy.mapping import Demapper, Mapper

        settings = {"precision": "single", "device": device}
        self.bits_per_symbol = bits_per_symbol
        self._mapper = Mapper("qam", bits_per_symbol, **settings)
        self._demapper = Demapper("app", "pam", bits_per_symbol // 2, **settings)

    def symbols(self, bits: Tensor) -> Tensor:
        """Symbols complex64 [B, n] of bits float32 [B, n * bits_per_symbol]."""
        symbols: Tensor = self._mapper(bits)
        return symbols

    def llr(self, symbols: Tensor, no_eff: Tensor) -> Tensor:
        """log p(1)/p(0) of each bit, float32 [B, n * bits_per_symbol].

        symbols: complex64 [B, n], unbiased. no_eff: float32 [B, n], the variance of their noise.
        Gray QAM is two PAMs, of the even bits and of the odd ones: demapped as such it costs
        2*2^(m/2) distances a symbol instead of 2^m, for the same LLRs.
        """
        pam = torch.view_as_real(symbols).mT * 2**0.5
        no = 2 * no_eff.clamp(min=1e-9)
        of_both: Tensor = self._demapper(pam.to(torch.complex64), no[:, None])
        bits = of_both.reshape(*of_both.shape[:2], -1, self.bits_per_symbol // 2)
        return bits.permute(0, 2, 3, 1).flatten(1)


@dataclass(frozen=True)
class _Group:
    """Neighbouring code blocks of one coded length, and their coders.

    versions: how many redundancy versions of ``encoder.n`` bits one transmission holds, the last of
    them cut to the coded length.
    """

    blocks: slice
    coded_length: int
    versions: int
    encoder: Any
    decoder: Any

    def redundancy(self, first: int, end: int) -> list[int]:
        """The redundancy versions of transmissions first to end."""
        cycle = len(REDUNDANCY_VERSIONS)
        return [
            REDUNDANCY_VERSIONS[i % cycle]
            for i in range(first * self.versions, end * self.versions)
        ]

    def encode(self, blocks: Tensor, transmission: int) -> Tensor:
        """Coded bits [W, coded_length] of blocks [W, k]."""
        versions = self.encoder(blocks, rv=self.redundancy(transmission, transmission + 1))
        coded: Tensor = versions.flatten(1)[:, : self.coded_length]
        return coded

    def versions_of(self, llr: Tensor) -> Tensor:
        """LLRs of all versions, [W, transmissions * versions, n], of [W, transmissions, length]."""
        missing = self.versions * self.encoder.n - self.coded_length
        return F.pad(llr, (0, missing)).reshape(len(llr), -1, self.encoder.n)


class TransportChain:
    """Sends and receives the transport blocks of one plan, a batch at a time.

    iterations: of belief propagation, at most, for a block whose CRC does not pass earlier.
    Building one takes some tenths of a second: :func:`transport_chain` keeps them.
    """

    def __init__(
        self, plan: TransportPlan, *, iterations: int = ITERATIONS, device: str = "cpu"
    ) -> None:
        from sionna.phy.fec.crc import CRCDecoder, CRCEncoder
        from sionna.phy.nr.utils import generate_prng_seq

        self.plan = plan
        self.qam = Qam(plan.bits_per_symbol, device=device)
        self._iterations = iterations
        settings = {"precision": "single", "device": device}
        blocks = plan.segmentation
        self._crc = CRCEncoder("CRC16" if blocks.crc_bits == 16 else "CRC24A", **settings)
        self._crc_check = CRCDecoder(self._crc, **settings)
        if blocks.block_crc_bits:
            self._block_crc = CRCEncoder("CRC24B", **settings)
            self._block_check = CRCDecoder(self._block_crc, **settings)
        else:
            self._block_crc, self._block_check = None, self._crc_check
        self._groups = tuple(_groups(plan, settings))
        scrambling = generate_prng_seq(plan.coded_bits, _SCRAMBLING_SEED)
        self._scrambling = torch.as_tensor(scrambling, dtype=torch.float32, device=device)
        self._edges = [0]
        for length in plan.coded_lengths:
            self._edges.append(self._edges[-1] + length)

    def encode(self, payload: Tensor) -> Tensor:
        """Symbols complex64 [B, transmissions * num_symbols] of payload bits [B, payload_bits]."""
        return self.qam.symbols(self.coded_bits(payload))

    def coded_bits(self, payload: Tensor) -> Tensor:
        """The scrambled bits that the symbols carry, float32 [B, transmissions * coded_bits]."""
        blocks = self._crc(payload.to(self._scrambling))
        blocks = blocks.reshape(len(payload), self.plan.segmentation.num_blocks, -1)
        if self._block_crc is not None:
            blocks = self._block_crc(blocks)
        sent = []
        for transmission in range(self.plan.transmissions):
            coded = [
                g.encode(blocks[:, g.blocks].flatten(0, 1), transmission) for g in self._groups
            ]
            joined = torch.cat([bits.reshape(len(payload), -1) for bits in coded], dim=1)
            sent.append((joined - self._scrambling).abs())
        return torch.cat(sent, dim=1)

    def decode(self, symbols: Tensor, no_eff: Tensor) -> tuple[Tensor, Tensor]:
        """Payload bits uint8 [B, payload_bits], and whether every CRC passes, bool [B].

        symbols: complex64 [B, t * num_symbols], unbiased, of the first t transmissions. no_eff:
        float32 of that shape, the variance of their noise; infinite where nothing is known.
        """
        batch = len(symbols)
        llr = self.qam.llr(symbols, no_eff).reshape(batch, -1, self.plan.coded_bits)
        llr = llr * (1 - 2 * self._scrambling)
        decoded, passed = [], []
        for group in self._groups:
            part = llr[..., self._edges[group.blocks.start] : self._edges[group.blocks.stop]]
            words = part.reshape(*part.shape[:2], -1, group.coded_length)
            words = words.transpose(1, 2).flatten(0, 1)
            bits, ok = self._decode_words(group, words)
            decoded.append(bits.reshape(batch, -1, bits.shape[1]))
            passed.append(ok.reshape(batch, -1))
        blocks = torch.cat(decoded, dim=1)
        kept = blocks[..., : blocks.shape[-1] - self.plan.segmentation.block_crc_bits]
        payload, crc_ok = self._crc_check(kept.flatten(1))
        all_passed = torch.cat(passed, dim=1).all(dim=1) & crc_ok[:, 0]
        return payload.to(torch.uint8), all_passed

    def _decode_words(self, group: _Group, llr: Tensor) -> tuple[Tensor, Tensor]:
        redundancy = group.redundancy(0, llr.shape[1])
        decoded = [
            decode_with_early_stopping(
                group.decoder,
                words,
                self._block_check,
                iterations=self._iterations,
                redundancy=redundancy,
            )
            for words in torch.split(
                group.versions_of(llr), _WORDS_AT_ONCE.get(llr.device.type, 32)
            )
        ]
        return torch.cat([bits for bits, _ in decoded]), torch.cat([ok for _, ok in decoded])


@lru_cache(maxsize=12)
def transport_chain(plan: TransportPlan, *, iterations: int, device: str) -> TransportChain:
    """A chain for a plan; each takes some 15 MB, so that few are kept."""
    return TransportChain(plan, iterations=iterations, device=device)


def decode_with_early_stopping(
    decoder: Any, llr: Tensor, crc_check: Any, *, iterations: int, redundancy: list[int]
) -> tuple[Tensor, Tensor]:
    """Information bits float32 [W, k] of LLRs [W, versions, n], and whether their CRC passes, bool
    [W].

    decoder: Sionna's LDPC5GDecoder with flooding and ``return_state``, which goes on exactly where
    it stopped; in ``harq_mode`` unless ``redundancy`` is [0]. A word leaves as soon as its CRC
    passes, so its bits are those of ``iterations`` iterations in one call, unless a CRC of a word
    that is still wrong passes by accident.
    """
    bits = llr.new_zeros(len(llr), decoder.encoder.k)
    passed = torch.zeros(len(llr), dtype=torch.bool, device=llr.device)
    waiting = torch.arange(len(llr), device=llr.device)
    llr = llr[:, 0] if len(redundancy) == 1 else llr
    state = None
    for done in range(0, iterations, ITERATIONS_PER_CHECK):
        if not len(waiting):
            break
        step = min(ITERATIONS_PER_CHECK, iterations - done)
        bits[waiting], state = decoder(llr[waiting], num_iter=step, msg_v2c=state, rv=redundancy)
        ok = crc_check(bits[waiting])[1][:, 0]
        passed[waiting] = ok
        waiting, state = waiting[~ok], state[~ok]
    return bits, passed


def versions_needed(plan: TransportPlan, coded_length: int) -> int:
    """How many redundancy versions one transmission of a code block holds.

    One, unless the block's rate falls below that of the base graph: Sionna's coder repeats none of
    a version's bits.
    """
    blocks = plan.segmentation
    longest = int(blocks.block_bits / _MOTHER_RATE[blocks.base_graph] + 1e-9)
    longest -= longest % plan.bits_per_symbol
    return -(-coded_length // longest)


def _groups(plan: TransportPlan, settings: dict[str, str]) -> Iterator[_Group]:
    from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder

    lengths, m = plan.coded_lengths, plan.bits_per_symbol
    starts = [0, *(i for i, (a, b) in enumerate(pairwise(lengths), 1) if a != b), len(lengths)]
    for start, stop in pairwise(starts):
        versions = versions_needed(plan, lengths[start])
        encoder = LDPC5GEncoder(
            plan.segmentation.block_bits,
            -(-lengths[start] // (versions * m)) * m,
            num_bits_per_symbol=m,
            bg=f"bg{plan.segmentation.base_graph}",
            check_input=False,
            **settings,
        )
        decoder = LDPC5GDecoder(
            encoder,
            return_state=True,
            harq_mode=versions * plan.transmissions > 1,
            **settings,
        )
        yield _Group(slice(start, stop), lengths[start], versions, encoder, decoder)
