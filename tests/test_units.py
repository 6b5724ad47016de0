"""Definitions, by hand."""

import pytest
import torch

from linksim.runtime.seeding import derive_seed
from linksim.units import (
    channel_bandwidth_ratio,
    db_to_linear,
    esno_to_ebno_db,
    linear_to_db,
    snr_db_to_no,
    symbol_budget,
)


def test_decibels() -> None:
    assert db_to_linear(3.0) == pytest.approx(1.9952623)
    assert linear_to_db(100.0) == pytest.approx(20)
    assert snr_db_to_no(10.0) == pytest.approx(0.1)
    torch.testing.assert_close(snr_db_to_no(torch.tensor([0.0, 20.0])), torch.tensor([1.0, 0.01]))


def test_ebno() -> None:
    """QPSK at rate 1/2 carries one bit a symbol: Eb/N0 is Es/N0. 16-QAM at 3/4 carries three."""
    assert esno_to_ebno_db(5.0, 1.0) == 5
    assert esno_to_ebno_db(5.0, 3.0) == pytest.approx(5 - 4.771213, abs=1e-6)


@pytest.mark.parametrize(
    ("cbr", "height", "width", "symbols"),
    [
        (1 / 48, 256, 256, 4096),
        (1 / 6, 512, 768, 196608),
        (1 / 3, 1, 1, 1),
        (0.0208, 256, 256, 4089),
        (1 / 12, 31, 33, 255),
    ],
)
def test_symbol_budget(cbr: float, height: int, width: int, symbols: int) -> None:
    assert symbol_budget(cbr, height, width) == symbols
    assert channel_bandwidth_ratio(symbols, height, width) <= cbr + 1e-9


def test_seeds_depend_on_every_part() -> None:
    seeds = {
        derive_seed(*parts)
        for parts in ((1, "a"), (1, "b"), (2, "a"), ("1", "a"), (1, "a", 0), ("1a",), (1.0, "a"))
    }
    assert len(seeds) == 7
    assert all(0 <= seed < 2**63 for seed in seeds)
    # printf 'int:1\\x1fstr:a' | sha256sum, the first 16 digits, halved
    assert derive_seed(1, "a") == 9068971922568923937
