"""The transport block chain against TS 38.212 worked by hand and against Sionna's own blocks."""

import json
from math import log10
from pathlib import Path

import pytest
import torch

from baselines.digital.ldpc import (
    BITS_PER_SYMBOL,
    Qam,
    TransportChain,
    decode_with_early_stopping,
    plan_transport,
    segment,
)
from linksim.errors import InputError


def awgn(symbols: torch.Tensor, snr_db: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    no = 10 ** (-snr_db / 10)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(symbols.shape, dtype=torch.complex64, generator=generator)
    return symbols + no**0.5 * noise, torch.full(symbols.shape, no)


def random_payload(batch: int, bits: int) -> torch.Tensor:
    return torch.randint(0, 2, (batch, bits), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("payload_bits", "code_rate", "base_graph", "crc_bits", "num_blocks", "block_bits"),
    [
        # TS 38.212 clauses 7.2.2, 7.2.1 and 5.2.2, by hand.
        (8, 0.5, 2, 16, 1, 24),
        (292, 0.9, 2, 16, 1, 308),  # A <= 292: base graph 2 at every rate
        (296, 0.9, 1, 16, 1, 312),
        (296, 0.67, 2, 16, 1, 312),  # A <= 3824 and R <= 0.67
        (3824, 0.5, 2, 16, 1, 3840),  # the largest that CRC16 and one block of graph 2 take
        (3840, 0.5, 1, 24, 1, 3864),
        (3840, 0.25, 2, 24, 2, 1956),  # B = 3864 > 3840, C = ceil(3864/3816) = 2, K' = 1932 + 24
        (3840, 0.3, 1, 24, 1, 3864),  # R > 1/4: base graph 1, whose bits are then repeated
        (960, 30 / 1024, 2, 16, 1, 976),
        (8424, 0.5, 1, 24, 1, 8448),  # B = Kcb
        (8448, 0.5, 1, 24, 2, 4260),  # B = 8472, C = ceil(8472/8424) = 2, K' = 4236 + 24
        (117936, 0.9, 1, 24, 15, 7888),  # B = 117960, C = ceil(14.003) = 15, K' = 7864 + 24
    ],
)
def test_segmentation_by_hand(
    payload_bits: int,
    code_rate: float,
    base_graph: int,
    crc_bits: int,
    num_blocks: int,
    block_bits: int,
) -> None:
    blocks = segment(payload_bits, code_rate)
    assert blocks.base_graph == base_graph
    assert blocks.crc_bits == crc_bits
    assert blocks.num_blocks == num_blocks
    assert blocks.block_crc_bits == (24 if num_blocks > 1 else 0)
    assert blocks.block_bits == block_bits


def test_segmentation_is_that_of_sionna_for_the_sizes_of_the_standard() -> None:
    from sionna.phy.nr.utils import calculate_tb_size

    for coded_bits in (600, 5000, 20000, 65536, 131072):
        for code_rate in (0.1, 0.3, 0.5, 0.75, 0.9):
            size, block_bits, num_blocks, crc_bits, block_crc_bits = calculate_tb_size(
                4, code_rate, num_coded_bits=coded_bits, return_cw_length=False, device="cpu"
            )
            blocks = segment(int(size), code_rate)
            assert blocks.num_blocks == int(num_blocks)
            assert blocks.block_bits == int(block_bits)
            assert blocks.crc_bits == int(crc_bits)
            assert blocks.block_crc_bits == int(block_crc_bits)


@pytest.mark.parametrize("bits_per_symbol", BITS_PER_SYMBOL)
@pytest.mark.parametrize(
    "code_rate", [30 / 1024, 0.1, 251 / 1024, 0.3, 0.334, 0.5, 0.67, 0.68, 948 / 1024]
)
def test_a_plan_spends_every_bit_and_stays_codable(bits_per_symbol: int, code_rate: float) -> None:
    for num_symbols in (*range(430, 9000, 371), 16384, 98304):
        plan = plan_transport(num_symbols, bits_per_symbol, code_rate)
        blocks = plan.segmentation
        assert plan.coded_bits == num_symbols * bits_per_symbol
        assert plan.payload_bits + plan.crc_bits + plan.parity_bits == plan.coded_bits
        assert plan.payload_bits % 8 == 0
        assert plan.payload_bits <= code_rate * plan.coded_bits
        assert blocks.num_blocks * (blocks.block_bits - blocks.block_crc_bits) == (
            plan.payload_bits + blocks.crc_bits
        )
        assert all(length % bits_per_symbol == 0 for length in plan.coded_lengths)
        assert blocks.block_bits / plan.coded_lengths[0] <= 948 / 1024
        # Less than a byte a block, and what the CRCs cost a rate near the highest, is left unused.
        unused = min(code_rate, 948 / 1024 - plan.crc_bits / plan.coded_bits) * plan.coded_bits
        assert unused - plan.payload_bits < 8 * (bits_per_symbol + 1) * blocks.num_blocks + 8


@pytest.mark.parametrize(
    ("num_symbols", "bits_per_symbol", "code_rate", "blocks"),
    [(500, 4, 0.5, 1), (3001, 6, 0.75, 2), (7001, 4, 0.6, 3), (4001, 8, 0.85, 4)],
)
def test_symbols_are_those_of_sionnas_transport_block(
    num_symbols: int, bits_per_symbol: int, code_rate: float, blocks: int
) -> None:
    """CRCs, segmentation, rate matching, interleaver, concatenation and scrambling as one."""
    from sionna.phy.mapping import Mapper
    from sionna.phy.nr import TBEncoder
    from sionna.phy.nr.utils import calculate_tb_size

    def is_a_size_of_the_standard(symbols: int) -> bool:
        plan = plan_transport(symbols, bits_per_symbol, code_rate)
        size = calculate_tb_size(
            bits_per_symbol,
            code_rate,
            target_tb_size=plan.payload_bits,
            num_coded_bits=plan.coded_bits,
            return_cw_length=False,
            device="cpu",
        )[0]
        return int(size) == plan.payload_bits

    fitting = next(n for n in range(num_symbols, num_symbols + 200) if is_a_size_of_the_standard(n))
    plan = plan_transport(fitting, bits_per_symbol, code_rate)
    assert plan.segmentation.num_blocks == blocks
    reference = TBEncoder(
        target_tb_size=plan.payload_bits,
        num_coded_bits=plan.coded_bits,
        target_coderate=code_rate,
        num_bits_per_symbol=bits_per_symbol,
        n_rnti=1,
        n_id=1,
        device="cpu",
    )
    payload = random_payload(2, plan.payload_bits)
    # TBEncoder takes [batch, transmitters, bits].
    wanted = Mapper("qam", bits_per_symbol, device="cpu")(reference(payload[:, None].float()))
    assert torch.equal(TransportChain(plan).encode(payload), wanted[:, 0])


@pytest.mark.parametrize("bits_per_symbol", BITS_PER_SYMBOL)
def test_llrs_are_those_of_sionnas_qam_demapper(bits_per_symbol: int) -> None:
    from sionna.phy.mapping import Demapper

    qam = Qam(bits_per_symbol)
    symbols = qam.symbols(random_payload(2, 300 * bits_per_symbol).float())
    received, _ = awgn(symbols, 8, seed=3)
    no_eff = torch.rand(received.shape, generator=torch.Generator().manual_seed(4)) + 0.05
    wanted = Demapper("app", "qam", bits_per_symbol, device="cpu")(received, no_eff)
    torch.testing.assert_close(qam.llr(received, no_eff), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("bits_per_symbol", "k", "n", "base_graph", "snr_db"),
    [(4, 1000, 2000, "bg2", 5.6), (6, 4000, 6000, "bg1", 13.2)],
)
def test_early_stopping_gives_the_bits_of_a_fixed_number_of_iterations(
    bits_per_symbol: int, k: int, n: int, base_graph: str, snr_db: float
) -> None:
    from sionna.phy.fec.crc import CRCDecoder, CRCEncoder
    from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder
    from sionna.phy.mapping import Demapper, Mapper

    crc = CRCEncoder("CRC24B", device="cpu")
    encoder = LDPC5GEncoder(k, n, num_bits_per_symbol=bits_per_symbol, bg=base_graph, device="cpu")
    bits = crc(random_payload(24, k - 24).float())
    received, no = awgn(Mapper("qam", bits_per_symbol, device="cpu")(encoder(bits)), snr_db, 5)
    llr = Demapper("app", "qam", bits_per_symbol, device="cpu")(received, no)
    resumable = LDPC5GDecoder(encoder, return_state=True, device="cpu")
    for iterations in (7, 20):
        wanted = LDPC5GDecoder(encoder, num_iter=iterations, device="cpu")(llr)
        decoded, passed = decode_with_early_stopping(
            resumable,
            llr[:, None],
            CRCDecoder(crc, device="cpu"),
            iterations=iterations,
            redundancy=[0],
        )
        assert torch.equal(decoded, wanted)
        assert torch.equal(passed, (wanted == bits).all(dim=1))
    assert 0 < int(passed.sum()) < len(passed)  # the test saw words of both kinds


def test_a_word_does_not_depend_on_its_batch() -> None:
    plan = plan_transport(700, 4, 0.5)
    chain = TransportChain(plan)
    received, no = awgn(chain.encode(random_payload(10, plan.payload_bits)), 5.6, seed=6)
    together, passed = chain.decode(received, no)
    for i in range(10):
        alone, passes = chain.decode(received[i : i + 1], no[i : i + 1])
        assert torch.equal(alone[0], together[i])
        assert passes[0] == passed[i]


@pytest.mark.parametrize(
    ("num_symbols", "bits_per_symbol", "code_rate", "gap_db"),
    # QAM without shaping: the gap to the capacity of Gaussian symbols widens with the order.
    [(6000, 2, 0.3, 1.5), (4000, 2, 0.5, 1.6), (4000, 4, 0.6, 2.2), (3000, 6, 0.75, 2.6)],
)
def test_blocks_pass_a_little_above_capacity_and_fail_at_it(
    num_symbols: int, bits_per_symbol: int, code_rate: float, gap_db: float
) -> None:
    plan = plan_transport(num_symbols, bits_per_symbol, code_rate)
    chain = TransportChain(plan)
    payload = random_payload(6, plan.payload_bits)
    limit_db = 10 * log10(2**plan.info_bits_per_symbol - 1)
    decoded, passed = chain.decode(*awgn(chain.encode(payload), limit_db + gap_db, seed=7))
    assert passed.all()
    assert torch.equal(decoded, payload.to(torch.uint8))
    assert not chain.decode(*awgn(chain.encode(payload), limit_db, seed=7))[1].any()


@pytest.mark.parametrize(
    ("code_rate", "transmissions", "redundancy"),
    [
        (0.5, 1, [[0]]),
        (0.1, 1, [[0, 2]]),
        (0.06, 1, [[0, 2, 3]]),
        (0.03, 1, [[0, 2, 3, 1, 0, 2]]),
        (0.5, 3, [[0], [2], [3]]),
        (0.1, 2, [[0, 2], [3, 1]]),
    ],
)
def test_coded_bits_are_sionnas_redundancy_versions(
    code_rate: float, transmissions: int, redundancy: list[list[int]]
) -> None:
    """A transmission holds whole versions but for its end, and the next one goes on with them."""
    from sionna.phy.fec.crc import CRCEncoder
    from sionna.phy.fec.ldpc import LDPC5GEncoder
    from sionna.phy.nr.utils import generate_prng_seq

    plan = plan_transport(1001, 2, code_rate, transmissions=transmissions)
    length = -(-1001 // len(redundancy[0])) * 2
    payload = random_payload(2, plan.payload_bits).float()
    block = CRCEncoder("CRC16", device="cpu")(payload)
    encoder = LDPC5GEncoder(block.shape[1], length, num_bits_per_symbol=2, bg="bg2", device="cpu")
    scrambling = torch.as_tensor(generate_prng_seq(2002, 2**15 + 1)).float()
    wanted = [
        (encoder(block, rv=versions).flatten(1)[:, :2002] - scrambling).abs()
        for versions in redundancy
    ]
    chain = TransportChain(plan)
    assert torch.equal(chain.coded_bits(payload), torch.cat(wanted, dim=1))
    symbols = chain.encode(payload)
    assert symbols.shape == (2, 1001 * transmissions)
    decoded, passed = chain.decode(symbols, torch.full(symbols.shape, 0.1))
    assert passed.all()
    assert torch.equal(decoded, payload.to(torch.uint8))


def test_a_rate_of_a_tenth_gets_through_at_minus_six_db() -> None:
    """Capacity is 0.32 bit a symbol there, and 0.2 are sent; at a rate of 1/5 it is 0.4."""
    low, high = plan_transport(2000, 2, 0.1), plan_transport(2000, 2, 0.2)
    for plan, passes in ((low, True), (high, False)):
        chain = TransportChain(plan)
        symbols = chain.encode(random_payload(4, plan.payload_bits))
        assert bool(chain.decode(*awgn(symbols, -6, seed=8))[1].all()) == passes


def test_more_transmissions_need_less_snr() -> None:
    plan = plan_transport(500, 4, 0.6, transmissions=3)
    chain = TransportChain(plan)
    received, no = awgn(chain.encode(random_payload(6, plan.payload_bits)), 4.0, seed=9)
    passed = [
        int(chain.decode(received[:, : 500 * t], no[:, : 500 * t])[1].sum()) for t in (1, 2, 3)
    ]
    assert passed == [0, 6, 6]


@pytest.mark.parametrize(
    ("table", "mcs", "bits_per_symbol", "rate", "snr_index"),
    [(1, 8, 2, 602, 4), (1, 11, 4, 378, 5), (2, 24, 8, 841, 17)],
)
def test_block_error_rates_are_those_that_sionna_ships(
    table: int, mcs: int, bits_per_symbol: int, rate: int, snr_index: int
) -> None:
    """sionna.sys's PDSCH tables, code blocks of 500 bits, 20 iterations, within the waterfall."""
    import sionna.sys

    path = Path(sionna.sys.__path__[0], "bler_tables", f"PDSCH_table{table}.json")
    entry = json.loads(path.read_text())["category"]["1"]["index"][str(table)]["MCS"][str(mcs)]
    wanted, snr_db = entry["CBS"]["500"]["BLER"][snr_index], entry["SNR_db"][snr_index]
    assert 0.2 < wanted < 0.8
    symbols = round(504 * 1024 / rate / bits_per_symbol)
    plan = plan_transport(symbols, bits_per_symbol, 489 / (symbols * bits_per_symbol))
    assert plan.segmentation.block_bits == 504
    chain, words = TransportChain(plan, iterations=20), 96
    payload = random_payload(words, plan.payload_bits)
    passed = chain.decode(*awgn(chain.encode(payload), snr_db, seed=10))[1]
    spread = (wanted * (1 - wanted) / words) ** 0.5
    # 4 bits more a block and the rounding of its length are worth about 0.05 of this rate
    assert 1 - float(passed.float().mean()) == pytest.approx(wanted, abs=3 * spread + 0.05)


def test_a_payload_of_zeros_has_unit_power() -> None:
    """Scrambling: padding must not change the power, which the link takes out unseen."""
    plan = plan_transport(16384, 8, 0.75)
    symbols = TransportChain(plan).encode(torch.zeros(1, plan.payload_bits))
    assert float(symbols.abs().square().mean()) == pytest.approx(1, abs=0.03)


def test_nothing_received_fails() -> None:
    plan = plan_transport(400, 4, 0.5)
    chain = TransportChain(plan)
    nothing = torch.zeros(2, 400, dtype=torch.complex64)
    assert not chain.decode(nothing, torch.full((2, 400), torch.inf))[1].any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((5, 2, 0.5), "5 symbols of 2 bits at rate 0.500 cannot carry one byte"),
        ((0, 2, 0.5), "cannot carry one byte"),
        ((100, 3, 0.5), "bits_per_symbol is 3"),
        ((100, 2, 0.02), "code rate is 0.02"),
        ((100, 2, 1.0), "code rate is 1.0"),
    ],
)
def test_bad_plans_are_refused(arguments: tuple[int, int, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan_transport(*arguments)
