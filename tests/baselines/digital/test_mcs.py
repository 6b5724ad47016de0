"""Schemes and the choice among them, against the standard and by hand."""

import csv
from math import log2
from pathlib import Path

import pytest

from baselines.digital import mcs
from baselines.digital.__main__ import main
from baselines.digital.bler import MIN_BLER
from baselines.digital.ldpc import TransportPlan, plan_transport
from baselines.digital.mcs import MCS_TABLE, best_mcs, fixed_mcs, plans_by_payload
from linksim.errors import InputError


def test_the_table_has_the_efficiencies_of_the_standard() -> None:
    """Spectral efficiencies printed in TS 38.214 tables 5.1.3.1-3, -1 and -2."""
    assert 2 ** (mcs.MCS_INDEX_BITS - 1) < len(MCS_TABLE) <= 2**mcs.MCS_INDEX_BITS
    efficiencies = [s.bits_per_symbol * s.code_rate for s in MCS_TABLE]
    printed = [0.0586, 0.0781, 0.0977, 0.1250, 0.1523, 0.1934, 0.2344, 0.3066, 0.3770]
    printed += [0.4902, 0.6016, 0.7402, 0.8770, 1.0273, 1.1758, 1.3262]
    printed += [1.3281, 1.4766, 1.6953, 1.9141, 2.1602, 2.4063, 2.5703]
    printed += [2.5664, 2.7305, 3.0293, 3.3223, 3.6094, 3.9023, 4.2129, 4.5234, 4.8164, 5.1152]
    printed += [5.3320, 5.5547, 5.8906, 6.2266, 6.5703, 6.9141, 7.1602, 7.4063]
    assert efficiencies == pytest.approx(printed, abs=1e-4)


def plans_of(*payloads: int) -> list[tuple[int, TransportPlan]]:
    """Plans of given payloads, index 10, 11, …; nothing else of them matters here."""
    blank = plan_transport(200, 2, 0.5)
    fields = {k: v for k, v in blank.__dict__.items() if k != "payload_bits"}
    return [(10 + i, TransportPlan(payload_bits=p, **fields)) for i, p in enumerate(payloads)]


def test_the_choice_by_hand() -> None:
    """Expected quality 0.5*40 + 0.5*10 = 25, 0.9*36 + 1 = 33.4, then almost 33."""
    rates = {400: 1.0, 300: 0.5, 200: 0.1, 100: MIN_BLER}
    qualities = {400: 44.0, 300: 40.0, 200: 36.0, 100: 33.0}
    looked_at: list[int] = []

    def quality(plan: TransportPlan) -> float:
        looked_at.append(plan.payload_bits)
        return qualities[plan.payload_bits]

    def choose(rates: dict[int, float]) -> int:
        looked_at.clear()
        return best_mcs(
            plans_of(*rates),
            bler=lambda plan: rates[plan.payload_bits],
            quality=quality,
            failure_quality=10.0,
        )

    assert choose(rates) == 12
    assert choose({**rates, 200: 0.3}) == 13
    assert choose({**rates, 300: 0.01}) == 11
    assert choose({**rates, 300: MIN_BLER}) == 11
    assert looked_at == [300]  # no smaller payload can do better
    assert choose(dict.fromkeys(rates, 1.0)) == 13  # hopeless: the most robust
    assert not looked_at


def falling(snr_db: float) -> float:
    """A block error rate, from 1 to the lowest within 2 dB."""
    return min(1.0, max(MIN_BLER, 1 - snr_db / 2))


def test_expected_quality_never_falls_with_the_snr() -> None:
    """Curves that fall make the best expectation rise, whatever the pictures."""
    shifts = {300: 6.0, 200: 3.0, 100: 0.0}
    qualities = {300: 36.0, 200: 33.0, 100: 31.0}
    plans = plans_of(*shifts)
    expected = []
    for step in range(60):
        snr_db = -2 + step / 4
        rates = {payload: falling(snr_db - shift) for payload, shift in shifts.items()}
        index = best_mcs(
            plans,
            bler=lambda plan, rates=rates: rates[plan.payload_bits],
            quality=lambda plan: qualities[plan.payload_bits],
            failure_quality=10.0,
        )
        payload = dict(plans)[index].payload_bits
        expected.append((1 - rates[payload]) * qualities[payload] + rates[payload] * 10.0)
    assert expected == sorted(expected)
    assert expected[0] == 10
    assert expected[-1] > 35


def test_a_budget_takes_the_schemes_that_it_can() -> None:
    assert len(plans_by_payload(16384)) == 41
    few = plans_by_payload(12)
    assert 0 < len(few) < 41
    payloads = [plan.payload_bits for _, plan in few]
    assert payloads == sorted(payloads, reverse=True)
    with pytest.raises(InputError, match="cannot carry one byte"):
        plans_by_payload(2)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"modulation": "8psk", "rate": 0.5},
        {"modulation": "qpsk", "rate": "half"},
        {"modulation": "qpsk", "rate": 0.5, "code": "turbo"},
        {"modulation": "qpsk", "rate": 0.02},
        {"modulation": "qpsk", "rate": 0.99},
    ],
)
def test_bad_schemes_are_refused_in_one_line(options: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"allowed: ") as refusal:
        fixed_mcs(options)
    assert "\n" not in str(refusal.value)


def test_the_command_writes_the_rates_of_all_schemes(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    channel = ["--channel", "{type: awgn}", "--symbols", "500"]
    main([*channel, "--snr-db", "0", "5", "--out", str(table)])
    rows = list(csv.DictReader(table.open()))
    plans = dict(plans_by_payload(500))
    assert [float(row["snr_db"]) for row in rows] == [0.0] * len(plans) + [5.0] * len(plans)
    for row in rows:
        index, rate = int(row["mcs_index"]), float(row["bler"])
        efficiency = int(row["bits_per_symbol"]) * float(row["code_rate"])
        assert int(row["payload_bits"]) == plans[index].payload_bits
        if efficiency > log2(1 + 10 ** (float(row["snr_db"]) / 10)):
            assert rate == 1
        elif efficiency < log2(1 + 10 ** (float(row["snr_db"]) / 10 - 0.25)):  # 2.5 dB less
            assert rate == MIN_BLER


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"--channel": "{type: awng}"}, "--channel: unknown channel 'awng'; allowed are"),
        ({"--channel": "{type: ofdm"}, "--channel: not valid YAML"),
        ({"--channel": "awgn: {"}, "--channel: not valid YAML"),
        ({"--snr-db": "nan"}, "--snr_db[0]: "),
        ({"--symbols": "0"}, "--symbols: "),
        ({"--symbols": "3"}, "3 symbols"),
    ],
)
def test_a_mistake_is_one_line(
    changed: dict[str, str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.csv"
    usual = {"--channel": "{type: awgn}", "--symbols": "500", "--snr-db": "0", "--out": str(table)}
    with pytest.raises(SystemExit) as stop:
        main([word for pair in (usual | changed).items() for word in pair])
    assert stop.value.code == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert told in line
    assert not table.exists()
