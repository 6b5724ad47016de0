"""What code blocks need, against capacity, against counted errors and against Sionna's tables."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from baselines.digital import thresholds
from baselines.digital.ldpc import MAX_CODE_RATE, plan_transport
from baselines.digital.thresholds import (
    Threshold,
    ThresholdTable,
    information,
    measure,
    refine,
)

SHIPPED = thresholds.read(thresholds.SHIPPED)


def test_information_is_the_capacity_of_the_binary_channel() -> None:
    """BPSK over AWGN: C = 1 - E[log2(1 + exp(-L))], 0.4859 bit at Es/N0 = -2.8232 dB (R = 1/2
    needs Eb/N0 = 0.187 dB: S. Lin and D. Costello, Error Control Coding, table 1.3)."""
    bits = torch.randint(0, 2, (400_000,), generator=torch.Generator().manual_seed(0)).float()
    noise = torch.randn(bits.shape, generator=torch.Generator().manual_seed(1))
    variance = 1 / (2 * 0.5 * 10**0.0187)
    received = 2 * bits - 1 + variance**0.5 * noise
    assert float(information(2 * received / variance, bits).mean()) == pytest.approx(0.5, abs=2e-3)
    assert float(information(torch.zeros(4), torch.tensor([0.0, 1, 0, 1])).abs().max()) < 1e-6


def test_a_measured_threshold_lies_a_little_above_the_rate() -> None:
    row = measure(plan_transport(300, 2, 0.4), iterations=40, words=4)
    assert row.block_bits == 256
    assert row.rate < row.information < row.rate + 0.15
    assert 0 < row.spread < 0.04


def test_more_iterations_need_less() -> None:
    plan = plan_transport(300, 2, 0.4)
    few, many = (measure(plan, iterations=n, words=4).information for n in (5, 50))
    assert many < few - 0.01


def test_counting_corrects_a_threshold_that_is_off() -> None:
    plan = plan_transport(300, 2, 0.4)
    good = measure(plan, iterations=20, words=32)
    off = replace(good, words=1, information=good.information + 1.5 * good.spread)
    found = refine(plan, off, words=128)
    assert found.words == 129
    assert found.information == pytest.approx(good.information, abs=0.5 * good.spread)


def test_the_shipped_table_is_sound() -> None:
    """Every row is above its rate, below what a bad code would need, and rests on 40 words or more.

    QPSK at K' = 8400 is not measured: its words take longest, and what moves with the size is told
    by the other modulations at that size."""
    assert len(SHIPPED) == sum(1 for _ in thresholds.measured_plans())
    for row in SHIPPED:
        assert row.iterations == 50
        assert row.words >= 40
        assert 0.03 < row.gap < 0.35
        assert row.information < 1


def test_between_rows_the_table_interpolates() -> None:
    rows = [
        Threshold(
            bits_per_symbol=2,
            base_graph=graph,
            block_bits=size,
            coded_bits=coded,
            iterations=50,
            words=8,
            information=size / coded + gap * size / coded * (1 - size / coded),
            spread=0.01,
        )
        for graph, size, coded, gap in [
            (2, 1000, 4000, 0.2),
            (2, 1000, 2000, 0.1),
            (2, 2500, 5000, 0.08),
            (1, 4200, 8400, 0.1),
        ]
    ]
    table = ThresholdTable(rows)

    def gap(size: int, coded: int, bits: int = 2) -> float:
        mean, spread = table.needed(
            bits_per_symbol=bits, base_graph=2, block_bits=size, coded_bits=coded
        )
        assert 0 < spread < 0.05
        rate = size / coded
        return (mean - rate) / (rate * (1 - rate))

    assert gap(1000, 4000) == pytest.approx(0.2)
    assert gap(3000, 8000) - gap(3000, 6000) == pytest.approx(0.05)  # rates 3/8 and 1/2
    assert gap(2500, 5000) == pytest.approx(0.08)
    assert gap(2500, 10000) == pytest.approx(0.18)
    assert gap(1000, 4000, bits=6) == pytest.approx(0.2)  # as the modulation below


def test_tables_survive_a_file(tmp_path: Path) -> None:
    thresholds.write(tmp_path / "a" / "table.csv", SHIPPED[:3])
    assert thresholds.read(tmp_path / "a" / "table.csv") == SHIPPED[:3]


def test_the_command_measures_what_a_table_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = [plan_transport(100, 2, 0.4), plan_transport(100, 2, MAX_CODE_RATE)]
    monkeypatch.setattr(thresholds, "measured_plans", lambda: iter(plans))
    table = tmp_path / "table.csv"
    command = ["--iterations", "4", "--words", "2", "--counted", "4", "--out", str(table)]
    thresholds.main(command)
    first = thresholds.read(table)
    assert [(row.coded_bits, row.words) for row in first] == [(200, 6)] * 2
    monkeypatch.setattr(thresholds, "measure", lambda *_, **__: pytest.fail("measured again"))
    thresholds.main(command)
    assert thresholds.read(table) == first
