r"""Modulation and coding schemes, and the choice among them.

The block error rates that the choice rests on are measured when they are first needed, which takes
from seconds to minutes a scheme. Those of the scenarios that come with linksim are shipped:

    python -m baselines.digital.mcs --channel "{type: rayleigh}" --symbols 8192 \
        --snr-db $(seq 0 0.5 20)

measures more of them and adds them to the shipped table, ``bler_tables.csv``.
"""

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baselines.digital.bler import (
    MIN_BLER,
    SHIPPED_TABLES,
    BlerTables,
    read_curves,
    write_curves,
)
from baselines.digital.ldpc import TransportPlan, plan_transport
from linksim.errors import InputError

MODULATIONS: Mapping[str, int] = {"qpsk": 2, "16qam": 4, "64qam": 6, "256qam": 8}
MCS_INDEX_BITS = 5


@dataclass(frozen=True)
class Mcs:
    """A modulation of ``bits_per_symbol`` and the payload bits a coded bit."""

    bits_per_symbol: int
    code_rate: float

    def plan(self, num_symbols: int) -> TransportPlan:
        """The transport block of this scheme on that many symbols; InputError if none fits."""
        return plan_transport(num_symbols, self.bits_per_symbol, self.code_rate)


_RATES_1024: Mapping[int, tuple[float, ...]] = {
    2: (251, 308, 379, 449, 526, 602, 679),
    4: (340, 378, 434, 490, 553, 616, 658),
    6: (438, 466, 517, 567, 616, 666, 719, 772, 822, 873),
    8: (682.5, 711, 754, 797, 841, 885, 916.5, 948),
}
# TS 38.214: QPSK, 16-QAM and 64-QAM at 438/1024 of table 5.1.3.1-1, the rest of table 5.1.3.1-2,
# without the rates below 1/5, which Sionna's coder does not have. 32 schemes, for 5 bits.
MCS_TABLE: tuple[Mcs, ...] = tuple(
    Mcs(bits, rate / 1024) for bits, rates in _RATES_1024.items() for rate in rates
)


def fixed_mcs(options: Mapping[str, Any]) -> Mcs:
    """The scheme of ``{modulation: 16qam, rate: 0.5}``; InputError for anything else."""
    allowed = f"best, or {{modulation: {'|'.join(MODULATIONS)}, rate: 0.2 to 0.925}}"
    try:
        modulation, rate = options["modulation"], float(options["rate"])
        scheme = Mcs(MODULATIONS[modulation], rate)
    except (KeyError, TypeError, ValueError):
        raise InputError(f"mcs is {options!r}; allowed: {allowed}") from None
    if set(options) != {"modulation", "rate"}:
        raise InputError(f"mcs is {options!r}; allowed: {allowed}")
    plan_transport(2**16, scheme.bits_per_symbol, scheme.code_rate)  # raises for a bad rate
    return scheme


def plans_by_payload(num_symbols: int) -> list[tuple[int, TransportPlan]]:
    """(MCS index, plan) of every scheme that a symbol budget can carry, the largest payload first.

    Raises InputError if none can.
    """
    plans, refusal = [], InputError("no scheme")
    for index, mcs in enumerate(MCS_TABLE):
        try:
            plans.append((index, mcs.plan(num_symbols)))
        except InputError as error:
            refusal = error
    if not plans:
        raise refusal
    return sorted(plans, key=lambda item: item[1].payload_bits, reverse=True)


def best_mcs(
    plans: Sequence[tuple[int, TransportPlan]],
    *,
    bler: Callable[[TransportPlan], float],
    quality: Callable[[TransportPlan], float],
    failure_quality: float,
) -> int:
    """Index of the scheme with the best expected quality, failures counted.

    plans: as :func:`plans_by_payload` gives them. quality: of what a payload carries, which must
    not rise when the payload shrinks. failure_quality: of what a lost block shows.

    Expected is (1 - BLER) * quality + BLER * failure_quality. Few schemes are looked at: those with
    a BLER of 1 say nothing, and the search ends where not even the lowest BLER would help.
    """
    best_index, best = plans[-1][0], failure_quality
    for index, plan in plans:
        error_rate = bler(plan)
        if error_rate == 1:
            continue
        success = quality(plan)
        expected = (1 - error_rate) * success + error_rate * failure_quality
        if expected > best:
            best_index, best = index, expected
        if (1 - MIN_BLER) * success + MIN_BLER * failure_quality <= best:
            break
    return best_index


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the block error rates that a choice at some SNRs asks for, into a table."""
    import yaml
    from pydantic import TypeAdapter

    from linksim.link.link import Link, LinkProbe
    from linksim.link.lookup import Channel

    parser = argparse.ArgumentParser(
        prog="python -m baselines.digital.mcs", description=main.__doc__
    )
    parser.add_argument("--channel", required=True, help='as in a scenario: "{type: awgn}"')
    parser.add_argument("--equalizer", choices=["mmse", "zf"], help="by default the channel's")
    parser.add_argument("--symbols", type=int, required=True, help="symbol budget of an image")
    parser.add_argument("--snr-db", type=float, nargs="+", required=True)
    parser.add_argument("--iterations", type=int, default=20, help="of the LDPC decoder")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--out", type=Path, default=SHIPPED_TABLES, help="by default the shipped")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    channel = TypeAdapter(Channel).validate_python(yaml.safe_load(options.channel))
    link = Link(channel, options.equalizer)
    probe, num_symbols = LinkProbe(link), link.data_symbols(options.symbols)
    tables = BlerTables(probe, iterations=options.iterations, device=options.device)
    for snr_db in options.snr_db:
        for _, plan in plans_by_payload(num_symbols):
            if tables.bler(plan, snr_db) == MIN_BLER:
                break  # a smaller payload could not do better
    known = read_curves(options.out) if options.out.is_file() else {}
    write_curves(options.out, known | tables.curves)


if __name__ == "__main__":
    main()
