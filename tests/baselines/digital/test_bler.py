"""Block error rates over channels, against closed forms and against decoding."""

from math import exp
from pathlib import Path

import pandas as pd
import pytest
import torch
from scipy.special import exp1

from baselines.digital.bler import MIN_BLER, BlerTables, frame_capacities
from baselines.digital.ldpc import TransportPlan, plan_transport, transport_chain
from baselines.digital.mcs import plans_by_payload
from linksim.link.channel import ChannelSettings
from linksim.link.flat import Awgn, Rayleigh
from linksim.link.link import Link, LinkProbe
from linksim.link.ofdm import Ofdm
from linksim.link.pilots import PilotPattern
from tests.helpers.small import rows

SMALL = plan_transport(500, 2, 0.5)
OFDM = Ofdm(
    model="TDL-C",
    delay_spread_ns=250,
    speed_mps=3,
    subcarriers=48,
    pilots=PilotPattern(symbols=(2, 11), spacing=2),
    estimation="ls",
)


def probe_of(channel: ChannelSettings) -> LinkProbe:
    return LinkProbe(Link(channel))


def counted(channel: ChannelSettings, plan: TransportPlan, snr_db: float, frames: int) -> float:
    """The share of frames that fail when they are sent and decoded."""
    probe, chain = probe_of(channel), transport_chain(plan, iterations=50, device="cpu")
    generator = torch.Generator().manual_seed(3)
    payload = torch.randint(0, 2, (frames, plan.payload_bits), generator=generator)
    received = probe(chain.encode(payload), snr_db, 17)
    return 1 - float(chain.decode(received.unbiased(), received.no_eff)[1].float().mean())


def snr_at(tables: BlerTables, plan: TransportPlan, rate: float) -> float:
    """The SNR in dB at which a plan's block error rate falls to ``rate``."""
    low, high = -20.0, 50.0
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (middle, high) if tables.bler(plan, middle) > rate else (low, middle)
    return (low + high) / 2


def test_awgn_rate_is_the_counted_one() -> None:
    tables = BlerTables(probe_of(Awgn()))
    snr_db = round(snr_at(tables, SMALL, 0.4), 1)
    assert counted(Awgn(), SMALL, snr_db, 64) == pytest.approx(tables.bler(SMALL, snr_db), abs=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("channel", [Rayleigh(), Rayleigh(coherence="frame"), OFDM])
@pytest.mark.parametrize(("bits_per_symbol", "code_rate"), [(2, 0.1), (2, 0.5), (4, 0.6), (8, 0.8)])
def test_a_rate_is_the_counted_one_on_every_channel(
    channel: ChannelSettings, bits_per_symbol: int, code_rate: float
) -> None:
    plan = plan_transport(OFDM.data_per_slot, bits_per_symbol, code_rate)
    tables = BlerTables(probe_of(channel))
    for rate in (0.8, 0.2):
        snr_db = round(snr_at(tables, plan, rate), 1)
        known = tables.bler(plan, snr_db)
        spread = (known * (1 - known) / 96) ** 0.5
        assert counted(channel, plan, snr_db, 96) == pytest.approx(known, abs=3 * spread + 0.1)


def test_awgn_rates_are_waterfalls_beyond_capacity() -> None:
    tables = BlerTables(probe_of(Awgn()))
    for _, plan in plans_by_payload(1000)[::8]:
        limit_db = 10 * torch.log10(torch.tensor(2**plan.info_bits_per_symbol - 1)).item()
        rates = [tables.bler(plan, limit_db + gap) for gap in (0.0, 0.5, 1, 1.5, 2, 3, 6)]
        assert rates == sorted(rates, reverse=True)
        assert rates[0] > 0.95
        assert rates[-1] == MIN_BLER


def test_one_gain_a_frame_gives_the_outage_probability() -> None:
    """P = 1 - exp(-threshold/SNR): Rayleigh power falls below what AWGN needs (Tse, eq. 5.54)."""
    needed = 10 ** (snr_at(BlerTables(probe_of(Awgn())), SMALL, 0.5) / 10)
    tables = BlerTables(probe_of(Rayleigh(coherence="frame")))
    for snr_db in (4.0, 10.0, 16.0):
        outage = 1 - exp(-needed / 10 ** (snr_db / 10))
        spread = (outage * (1 - outage) / 256) ** 0.5
        assert tables.bler(SMALL, snr_db) == pytest.approx(outage, abs=3 * spread)


def test_retransmissions_add_what_they_bring() -> None:
    """Two transmissions of a block over AWGN are one of twice the symbols."""
    tables = BlerTables(probe_of(Awgn()))
    twice = plan_transport(250, 2, 0.6, transmissions=2)
    once = plan_transport(500, 2, 0.3)
    assert twice.payload_bits == pytest.approx(once.payload_bits, rel=0.03)
    assert snr_at(tables, twice, 0.1) == pytest.approx(snr_at(tables, once, 0.1), abs=0.2)
    over_fades = BlerTables(probe_of(Rayleigh(coherence=250)))
    assert over_fades.bler(twice, 8.0) < 0.5 * over_fades.bler(plan_transport(250, 2, 0.6), 8.0)


def test_between_the_grids_snrs_a_rate_lies_between() -> None:
    tables = BlerTables(probe_of(Awgn()))
    snr_db = snr_at(tables, SMALL, 0.5)
    low, high = int(snr_db // 0.5) * 0.5, int(snr_db // 0.5) * 0.5 + 0.5
    rates = [tables.bler(SMALL, low + i * 0.05) for i in range(11)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == tables.bler(SMALL, high)


def test_capacities_are_the_closed_forms() -> None:
    for snr_db in (0.0, 10.0):
        snr = 10 ** (snr_db / 10)
        awgn = frame_capacities(probe_of(Awgn()), 100, snr_db, frames=10)
        torch.testing.assert_close(awgn, torch.log2(torch.tensor(1 + snr)).double().expand(10))
        rayleigh = frame_capacities(probe_of(Rayleigh()), 256, snr_db, frames=1024).mean()
        wanted = exp(1 / snr) * exp1(1 / snr) / torch.log(torch.tensor(2.0)).item()
        assert float(rayleigh) == pytest.approx(wanted, rel=0.01)


def test_estimation_costs_what_it_costs() -> None:
    """Over the same fades, LS estimation needs some dB more than perfect knowledge."""
    plan = plan_transport(OFDM.data_per_slot, 2, 0.5)
    perfect = OFDM.model_copy(update={"estimation": "perfect"})
    needed = [snr_at(BlerTables(probe_of(c)), plan, 0.3) for c in (perfect, OFDM)]
    assert 0.5 < needed[1] - needed[0] < 4


def test_no_cache_is_read_or_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Earlier versions kept block error rates there, and a damaged file never healed."""
    own = {"codec": "bpg_ldpc", "options": {"mcs": "best"}}
    found = rows(tmp_path / "before", own, snr_db=7, cbr=1 / 12)
    cache = tmp_path / "cache"
    damaged = cache / "linksim" / "bler" / "sionna-2.2.0" / "7b06f757ae6b55bf.csv"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"\xff\x00 half of a ta")
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, str(cache))
    again = rows(tmp_path / "after", own, snr_db=7, cbr=1 / 12)
    pd.testing.assert_frame_equal(again, found, check_exact=True)
    assert [path for path in cache.rglob("*") if path.is_file()] == [damaged]
