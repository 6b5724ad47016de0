"""The scheme that information and thresholds choose, against the one that counted errors choose."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from baselines.digital.bler import MIN_BLER, BlerTables
from baselines.digital.ldpc import TransportPlan, transport_chain
from baselines.digital.mcs import plans_by_payload
from linksim.link.link import Link, LinkProbe
from linksim.link.ofdm import Ofdm
from linksim.link.pilots import PilotPattern
from linksim.runtime.seeding import derive_seed

PILOTS = PilotPattern(symbols=(2, 11), spacing=2)
CHANNELS = [
    Ofdm(model="TDL-C", delay_spread_ns=250, subcarriers=48, pilots=PILOTS, estimation="ls"),
    Ofdm(
        model="TDL-A",
        speed_mps=30,
        delay_spread_ns=100,
        subcarriers=48,
        pilots=PILOTS,
        estimation="lmmse",
    ),
]
BATCHES, FRAMES = 8, 256
SURE = 5e-4
LOST_DB = 14.0
CLOSE_DB = 0.2  # no scheme that looks worse than the best by more than this is counted
FRESH = range(1, 7)  # payloads of the second look

Array = NDArray[np.float64]


def gain_db(plan: TransportPlan) -> float:
    """PSNR as it rises with the bits of a small picture, 3 dB for twice as many, above that of a
    lost one."""
    return 20 + 3 * float(np.log2(plan.payload_bits / 400)) - LOST_DB


@dataclass
class Counted:
    """Words that were sent and decoded, over the fades and the noise that the tables look at: what
    differs is the mapping alone. Frames that the mapping has no doubt of are not decoded."""

    probe: LinkProbe
    tables: BlerTables

    def passed(self, plan: TransportPlan, snr_db: float, payloads: Iterable[int]) -> Array:
        """Which frames get through, 0 or 1; [payloads, frames]."""
        likely = self.tables.passing(plan, snr_db)
        open_ = np.abs(likely - 0.5) < 0.5 - SURE
        return np.stack([self._passed(plan, snr_db, one, likely, open_) for one in payloads])

    def _passed(
        self, plan: TransportPlan, snr_db: float, payload: int, likely: Array, open_: Array
    ) -> Array:
        passed = (likely > 0.5).astype(float)
        if not open_.any():
            return passed
        chain = transport_chain(plan, iterations=50, device="cpu")
        generator = torch.Generator().manual_seed(derive_seed("payload", payload))
        size = int(open_.sum()), plan.payload_bits
        symbols = torch.ones(FRAMES, plan.num_symbols, dtype=torch.complex64)
        symbols[open_] = chain.encode(torch.randint(0, 2, size, generator=generator))
        arrived, no_eff = [], []
        for index, batch in enumerate(symbols.split(FRAMES // BATCHES)):
            received = self.probe(batch, snr_db, derive_seed("bler", index))
            arrived.append(received.unbiased())
            no_eff.append(received.no_eff)
        passed[open_] = chain.decode(torch.cat(arrived)[open_], torch.cat(no_eff)[open_])[1]
        return passed


@dataclass
class Compared:
    """Indices of the scheme by the tables and by counting; what the former loses, over words that
    did not choose, and the standard deviation of that, in dB."""

    by_tables: int
    by_counting: int
    lost_db: float = 0.0
    deviation_db: float = 0.0

    @property
    def alike(self) -> bool:
        """Whether they are the same, or counting cannot tell them apart."""
        return self.by_tables == self.by_counting or self.lost_db < 2 * self.deviation_db


def compared(probe: LinkProbe, tables: BlerTables, uses: int, snr_db: float) -> Compared:
    """The two choices at an SNR."""
    plans = dict(plans_by_payload(uses))
    by_tables = {i: (1 - tables.bler(plan, snr_db)) * gain_db(plan) for i, plan in plans.items()}
    best = max(by_tables, key=by_tables.__getitem__)
    counted, by_counting = Counted(probe, tables), {}
    for i, plan in plans.items():
        if by_tables[i] > by_tables[best] - CLOSE_DB:
            passing = min(1 - MIN_BLER, counted.passed(plan, snr_db, [0]).mean())
            by_counting[i] = passing * gain_db(plan)
    rival = max(by_counting, key=by_counting.__getitem__)
    if rival == best:
        return Compared(best, best)
    gains, variance = [], 0.0
    for i in (rival, best):
        passed = counted.passed(plans[i], snr_db, FRESH) * gain_db(plans[i])
        gains.append(passed.mean())
        variance += float(passed.mean(axis=1).var(ddof=1)) / len(FRESH)
    return Compared(best, rival, gains[0] - gains[1], variance**0.5)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("channel", CHANNELS, ids=["TDL-C, LS", "TDL-A, LMMSE"])
def test_the_choice_is_that_of_counting(channel: Ofdm) -> None:
    """At 95 % of a grid, where two schemes that counting cannot tell apart are the same.

    Some four seconds of one core a point.
    """
    probe = LinkProbe(Link(channel))
    tables, found = BlerTables(probe), []
    for snr_db in np.arange(-1.0, 16.5, 0.5).tolist():
        found.append(compared(probe, tables, 2 * channel.data_per_slot, snr_db))
        print(f"{snr_db} dB: {found[-1]}", flush=True)
    same = sum(one.by_tables == one.by_counting for one in found)
    print(f"{same} of {len(found)} the same, {sum(one.alike for one in found)} alike")
    assert np.mean([one.alike for one in found]) >= 0.95
    assert np.mean([one.lost_db for one in found]) < 0.02
