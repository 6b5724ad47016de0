"""Schemes, measured block error rates and the choice, against closed forms and by hand."""

from concurrent.futures import ThreadPoolExecutor
from math import exp
from pathlib import Path
from time import sleep

import pytest
import torch
from scipy.special import exp1

from baselines.digital import bler, mcs
from baselines.digital.bler import (
    MIN_BLER,
    BlerCurve,
    BlerTables,
    CurveKey,
    frame_capacities,
    read_curves,
    write_curves,
)
from baselines.digital.ldpc import TransportPlan, plan_transport, transport_chain
from baselines.digital.mcs import MCS_TABLE, best_mcs, fixed_mcs, plans_by_payload
from linksim.codec import Received
from linksim.errors import InputError
from linksim.link.flat import Awgn, FlatChannel, Rayleigh
from linksim.link.link import Link, LinkProbe

SMALL = plan_transport(200, 2, 0.5)


def probe_of(channel: FlatChannel) -> LinkProbe:
    return LinkProbe(Link(channel))


class CountingProbe:
    """A channel's probe that counts its uses."""

    def __init__(self, channel: FlatChannel) -> None:
        self._probe = probe_of(channel)
        self.name = self._probe.name
        self.calls = 0

    def __call__(self, symbols: torch.Tensor, snr_db: float, seed: int) -> Received:
        self.calls += 1
        return self._probe(symbols, snr_db, seed)


@pytest.fixture(scope="module")
def awgn_curve() -> BlerCurve:
    return BlerTables(probe_of(Awgn()), iterations=20).measure(SMALL)


def test_the_table_has_the_efficiencies_of_the_standard() -> None:
    """Spectral efficiencies printed in TS 38.214 tables 5.1.3.1-1 and -2; five bits of index."""
    assert len(MCS_TABLE) == 2**mcs.MCS_INDEX_BITS
    efficiencies = [s.bits_per_symbol * s.code_rate for s in MCS_TABLE]
    printed = [0.4902, 0.6016, 0.7402, 0.8770, 1.0273, 1.1758, 1.3262]
    printed += [1.3281, 1.4766, 1.6953, 1.9141, 2.1602, 2.4063, 2.5703]
    printed += [2.5664, 2.7305, 3.0293, 3.3223, 3.6094, 3.9023, 4.2129, 4.5234, 4.8164, 5.1152]
    printed += [5.3320, 5.5547, 5.8906, 6.2266, 6.5703, 6.9141, 7.1602, 7.4063]
    assert efficiencies == pytest.approx(printed, abs=1e-4)


def test_a_curve_counts_what_was_not_seen_and_falls() -> None:
    curve = BlerCurve(frames=50, snr_db=(3.0, 3.5, 4.0), failures=(25, 5, 0))
    assert curve(2.99) == 1
    assert curve(3.0) == 26 / 52
    assert curve(3.25) == pytest.approx((26 / 52 + 6 / 52) / 2)
    assert curve(4.0) == curve(90.0) == 1 / 52


def test_awgn_rate_is_that_of_independent_blocks(awgn_curve: BlerCurve) -> None:
    """The threshold counting against plain counting with fresh noise at one SNR."""
    snr_db = next(
        snr for snr, n in zip(awgn_curve.snr_db, awgn_curve.failures, strict=True) if n < 25
    )
    payload = torch.randint(0, 2, (400, SMALL.payload_bits), generator=torch.manual_seed(0))
    chain = transport_chain(SMALL, iterations=20, device="cpu")
    no = 10 ** (-snr_db / 10)
    received = chain.encode(payload) + no**0.5 * torch.randn(400, 200, dtype=torch.complex64)
    passed = chain.decode(received, torch.full(received.shape, no))[1]
    counted = 1 - float(passed.float().mean())
    assert awgn_curve(snr_db) == pytest.approx(counted, abs=4 * (counted / 50) ** 0.5)


def test_awgn_curve_is_a_waterfall_beyond_capacity(awgn_curve: BlerCurve) -> None:
    assert list(awgn_curve.failures) == sorted(awgn_curve.failures, reverse=True)
    assert awgn_curve.failures[-1] == 0
    limit_db = 10 * torch.log10(torch.tensor(2**SMALL.info_bits_per_symbol - 1)).item()
    assert limit_db < awgn_curve.snr_db[0] < awgn_curve.snr_db[-1] < limit_db + 4


def test_one_gain_a_frame_gives_the_outage_probability(awgn_curve: BlerCurve) -> None:
    """P = 1 - exp(-threshold/SNR): Rayleigh power falls below what AWGN needs (Tse, eq. 5.54)."""
    tables = BlerTables(probe_of(Rayleigh(coherence="frame")), iterations=20)
    curve = tables.measure(SMALL)
    needed = 10 ** (awgn_curve.snr_db[len(awgn_curve.snr_db) // 2] / 10)
    for snr_db in (4.0, 10.0, 16.0):
        outage = 1 - exp(-needed / 10 ** (snr_db / 10))
        spread = (outage * (1 - outage) / 50) ** 0.5
        assert curve(snr_db) == pytest.approx(outage, abs=3 * spread + MIN_BLER)


def test_capacities_are_the_closed_forms() -> None:
    for snr_db in (0.0, 10.0):
        snr = 10 ** (snr_db / 10)
        awgn = frame_capacities(probe_of(Awgn()), 100, snr_db)
        torch.testing.assert_close(awgn, torch.log2(torch.tensor(1 + snr)).double().expand(10))
        rayleigh = frame_capacities(probe_of(Rayleigh()), 256, snr_db, frames=1024).mean()
        wanted = exp(1 / snr) * exp1(1 / snr) / torch.log(torch.tensor(2.0)).item()
        assert float(rayleigh) == pytest.approx(wanted, rel=0.01)


def test_tables_are_measured_once_and_kept(
    tmp_path: Path, awgn_curve: BlerCurve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    probe = CountingProbe(Awgn())
    tables = BlerTables(probe, iterations=20)
    assert tables.curve(SMALL) == awgn_curve
    assert tables.bler(SMALL, 30.0) == MIN_BLER
    used = probe.calls
    assert tables.bler(SMALL, 30.0) == MIN_BLER
    assert BlerTables(probe, iterations=20).curve(SMALL) == awgn_curve
    assert probe.calls == used
    assert len(list(tmp_path.rglob("*.csv"))) == 1


def test_a_curve_that_several_want_at_once_is_measured_once(
    tmp_path: Path, awgn_curve: BlerCurve, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def measure(tables: BlerTables, plan: TransportPlan) -> BlerCurve:
        measured.append(plan)
        sleep(0.2)
        return awgn_curve

    monkeypatch.setattr(BlerTables, "measure", measure)
    wanting = [BlerTables(probe_of(Awgn()), iterations=20, cache=tmp_path) for _ in range(4)]
    with ThreadPoolExecutor(len(wanting)) as pool:
        curves = list(pool.map(lambda tables: tables.curve(SMALL), wanting))
    assert curves == [awgn_curve] * 4
    assert measured == [SMALL]


def test_no_curve_is_measured_to_say_that_all_fail(tmp_path: Path, awgn_curve: BlerCurve) -> None:
    probe = CountingProbe(Awgn())
    tables = BlerTables(probe, iterations=20, cache=tmp_path)
    assert tables.bler(SMALL, -9.0) == 1
    assert probe.calls == 1
    assert tables.bler(SMALL, awgn_curve.snr_db[0] - 0.01) == 1
    assert not list(tmp_path.rglob("*.csv"))


def test_a_cache_that_cannot_be_written_costs_no_result(
    tmp_path: Path, awgn_curve: BlerCurve, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("not a folder")
    tables = BlerTables(probe_of(Awgn()), iterations=20, cache=tmp_path / "file")
    assert tables.curve(SMALL) == awgn_curve
    assert "cannot keep" in caplog.text


def test_tables_survive_a_file(tmp_path: Path, awgn_curve: BlerCurve) -> None:
    curves = {
        CurveKey.of("awgn, zf", SMALL, 20): awgn_curve,
        CurveKey.of("rician(k_db=3.0, coherence=symbol), mmse", SMALL, 20): BlerCurve(
            frames=7, snr_db=(1.25,), failures=(0,)
        ),
    }
    write_curves(tmp_path / "a" / "table.csv", curves)
    assert read_curves(tmp_path / "a" / "table.csv") == curves
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["table.csv"]


@pytest.mark.parametrize(("channel", "first_db"), [(Awgn(), -1), (Rayleigh(), 1)])
def test_shipped_tables_serve_the_scenarios(channel: FlatChannel, first_db: int) -> None:
    """256x256 images at CBR 1/12, up to 19 dB: some scheme that never failed comes near capacity,
    and none comes beyond it."""
    probe = LinkProbe(Link(channel, "mmse"))
    curves = {
        key: curve
        for key, curve in read_curves(bler.SHIPPED_TABLES).items()
        if key.channel == probe.name and key.num_symbols == 16384 and key.iterations == 20
    }
    for snr_db in range(first_db, 20, 2):
        capacity = float(frame_capacities(probe, 16384, snr_db).mean())
        efficiencies = {
            key.payload_bits / 16384: curve(snr_db)
            for key, curve in curves.items()
            if curve(snr_db) < 1
        }
        assert max(efficiencies) < capacity
        assert max(e for e, rate in efficiencies.items() if rate == MIN_BLER) > 0.55 * capacity


def test_shipped_tables_are_sound() -> None:
    """A higher rate of the same modulation and code needs a higher SNR; every curve ends at 0."""
    needed: dict[tuple[object, ...], list[tuple[int, float]]] = {}
    for key, curve in read_curves(bler.SHIPPED_TABLES).items():
        assert curve.frames == bler.FRAMES
        assert curve.failures[-1] == 0
        assert list(curve.failures) == sorted(curve.failures, reverse=True)
        same = (key.channel, key.num_symbols, key.bits_per_symbol, key.base_graph, key.iterations)
        needed.setdefault(same, []).append((key.payload_bits, curve.snr_db[-1]))
    assert needed
    for series in needed.values():
        thresholds = [snr_db for _, snr_db in sorted(series)]
        assert thresholds == sorted(thresholds)


def plans_of(*payloads: int) -> list[tuple[int, TransportPlan]]:
    """Plans of given payloads, index 10, 11, …; nothing else of them matters here."""
    blank = plan_transport(200, 2, 0.5)
    fields = {k: v for k, v in blank.__dict__.items() if k != "payload_bits"}
    return [(10 + i, TransportPlan(payload_bits=p, **fields)) for i, p in enumerate(payloads)]


def test_the_choice_by_hand() -> None:
    """Expected quality 0.5*40 + 0.5*10 = 25, 0.9*36 + 1 = 33.4, then 0.98*33 + 0.02*10 = 32.5."""
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


def test_expected_quality_never_falls_with_the_snr(awgn_curve: BlerCurve) -> None:
    """Curves that fall make the best expectation rise, whatever the pictures."""
    shifts = {300: 6.0, 200: 3.0, 100: 0.0}
    qualities = {300: 36.0, 200: 33.0, 100: 31.0}
    plans = plans_of(*shifts)
    expected = []
    for step in range(60):
        snr_db = -2 + step / 4
        rates = {payload: awgn_curve(snr_db - shift) for payload, shift in shifts.items()}
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
    assert len(plans_by_payload(16384)) == 32
    few = plans_by_payload(12)
    assert 0 < len(few) < 32
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
        {"modulation": "qpsk", "rate": 0.1},
        {"modulation": "qpsk", "rate": 0.99},
    ],
)
def test_bad_schemes_are_refused_in_one_line(options: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"allowed: ") as refusal:
        fixed_mcs(options)
    assert "\n" not in str(refusal.value)


def test_the_command_adds_to_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    table = tmp_path / "table.csv"
    command = ["--channel", "{type: awgn}", "--symbols", "100", "--out", str(table)]
    mcs.main([*command, "--snr-db", "2"])
    first = read_curves(table)
    assert {(key.channel, key.num_symbols) for key in first} == {("awgn, zf", 100)}
    assert any(curve(2.0) == MIN_BLER for curve in first.values())
    mcs.main([*command, "--snr-db", "3", "--equalizer", "mmse"])
    both = read_curves(table)
    assert both.items() > first.items()
    assert {key.channel for key in both} == {"awgn, zf", "awgn, mmse"}
