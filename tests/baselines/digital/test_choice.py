"""The scheme that information and thresholds choose, against the one that counted errors choose."""

from functools import lru_cache, partial
from math import log2

import numpy as np
import pytest
import torch

from baselines.digital.bler import MIN_BLER, BlerTables
from baselines.digital.ldpc import TransportPlan, transport_chain
from baselines.digital.mcs import best_mcs, plans_by_payload
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
SURE = 2e-3
LOST_DB = 14.0


def quality_db(plan: TransportPlan) -> float:
    """PSNR as it rises with the bits of a small picture: 3 dB for twice as many."""
    return 20 + 3 * log2(plan.payload_bits / 400)


class Counted:
    """Block error rates of words that were sent and decoded, over the fades and the noise that the
    tables look at: what differs is the mapping alone. Frames that the mapping has no doubt of, for
    any code near its threshold, are not decoded."""

    def __init__(self, probe: LinkProbe, tables: BlerTables) -> None:
        self._probe, self._tables = probe, tables
        self.bler = lru_cache(maxsize=None)(self._bler)

    def noise(self, plan: TransportPlan, snr_db: float) -> float:
        """Standard deviation of a counted rate, the fades being given."""
        likely = self._tables.passing(plan, snr_db)
        return float((likely * (1 - likely)).sum()) ** 0.5 / FRAMES

    def _bler(self, plan: TransportPlan, snr_db: float) -> float:
        if self._tables.bler(plan, snr_db) == 1:
            return 1.0
        likely = self._tables.passing(plan, snr_db)
        passed = (likely > 0.5).astype(float)
        chain = transport_chain(plan, iterations=50, device="cpu")
        of_batch = FRAMES // BATCHES
        for index in range(BATCHES):
            first = index * of_batch
            open_ = np.flatnonzero(np.abs(likely[first : first + of_batch] - 0.5) < 0.5 - SURE)
            if not len(open_):
                continue
            seed = derive_seed("bler", index)
            generator = torch.Generator().manual_seed(seed)
            payload = torch.randint(0, 2, (of_batch, plan.payload_bits), generator=generator)
            received = self._probe(chain.encode(payload), snr_db, seed)
            symbols, no_eff = received.unbiased()[open_], received.no_eff[open_]
            passed[first + open_] = chain.decode(symbols, no_eff)[1].numpy()
        return min(1.0, max(1 - float(passed.mean()), MIN_BLER))


def compared(channel: Ofdm, snr_db: float) -> tuple[int, int, float, float]:
    """(index by the tables, index by counting, what the former loses in dB, what the counting's
    noise could feign: two standard deviations)."""
    probe = LinkProbe(Link(channel))
    tables, plans = BlerTables(probe), plans_by_payload(2 * channel.data_per_slot)
    counted, by_index = Counted(probe, tables), dict(plans)
    chosen, expected, noise = [], [], []
    for rates in (tables, counted):
        index = best_mcs(
            plans,
            bler=partial(_rate, rates, snr_db),
            quality=quality_db,
            failure_quality=LOST_DB,
        )
        plan, failing = by_index[index], counted.bler(by_index[index], snr_db)
        chosen.append(index)
        expected.append((1 - failing) * quality_db(plan) + failing * LOST_DB)
        noise.append(counted.noise(plan, snr_db) * (quality_db(plan) - LOST_DB))
    return chosen[0], chosen[1], expected[1] - expected[0], 2 * float(np.hypot(*noise))


def _rate(rates: "BlerTables | Counted", snr_db: float, plan: TransportPlan) -> float:
    return rates.bler(plan, snr_db)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("channel", CHANNELS, ids=["TDL-C, LS", "TDL-A, LMMSE"])
def test_the_choice_is_that_of_counting(channel: Ofdm) -> None:
    """At 95 % of a grid, where two schemes that counting cannot tell apart are the same."""
    found = [compared(channel, snr_db) for snr_db in np.arange(-2.0, 18.0, 1.0).tolist()]
    for line in found:
        print("tables {}, counted {}, lost {:.4f} dB, noise {:.4f} dB".format(*line))
    same = [by_tables == by_counts or lost < noise for by_tables, by_counts, lost, noise in found]
    assert np.mean(same) >= 0.95
    assert np.mean([lost for *_, lost, _ in found]) < 0.02
