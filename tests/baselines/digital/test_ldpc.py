"""The transport block chain against TS 38.212 worked by hand and against Sionna's own blocks."""

from math import log10

import pytest
import torch

from baselines.digital.ldpc import (
    BITS_PER_SYMBOL,
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
        for code_rate in (0.35, 0.5, 0.75, 0.9):
            size, block_bits, num_blocks, crc_bits, block_crc_bits = calculate_tb_size(
                4, code_rate, num_coded_bits=coded_bits, return_cw_length=False, device="cpu"
            )
            blocks = segment(int(size), code_rate)
            assert blocks.num_blocks == int(num_blocks)
            assert blocks.block_bits == int(block_bits)
            assert blocks.crc_bits == int(crc_bits)
            assert blocks.block_crc_bits == int(block_crc_bits)


@pytest.mark.parametrize("bits_per_symbol", BITS_PER_SYMBOL)
@pytest.mark.parametrize("code_rate", [0.2, 251 / 1024, 0.334, 0.5, 0.67, 0.68, 948 / 1024])
def test_a_plan_spends_every_bit_and_stays_codable(bits_per_symbol: int, code_rate: float) -> None:
    for num_symbols in (*range(120, 9000, 371), 16384, 98304):
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
        lowest = {1: 1 / 3, 2: 1 / 5}[blocks.base_graph]
        assert lowest <= blocks.block_bits / plan.coded_lengths[-1]
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

    plan = plan_transport(300, bits_per_symbol, 0.5)
    chain = TransportChain(plan)
    received, _ = awgn(chain.encode(random_payload(2, plan.payload_bits)), 8, seed=3)
    no_eff = torch.rand(received.shape, generator=torch.Generator().manual_seed(4)) + 0.05
    wanted = Demapper("app", "qam", bits_per_symbol, device="cpu")(received, no_eff)
    signs = 1 - 2 * chain._scrambling
    torch.testing.assert_close(
        chain._llr(received, no_eff, 0, plan.segmentation.num_blocks) * signs,
        wanted,
        rtol=1e-4,
        atol=1e-4,
    )


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
            resumable, llr, CRCDecoder(crc, device="cpu"), iterations=iterations
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
        ((100, 2, 0.1), "code rate is 0.1"),
        ((100, 2, 1.0), "code rate is 1.0"),
    ],
)
def test_bad_plans_are_refused(arguments: tuple[int, int, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan_transport(*arguments)
