"""Modulation and coding schemes, and the choice among them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from baselines.digital.bler import MIN_BLER
from baselines.digital.ldpc import MAX_CODE_RATE, MIN_CODE_RATE, TransportPlan, plan_transport
from linksim.errors import InputError

MODULATIONS: Mapping[str, int] = {"qpsk": 2, "16qam": 4, "64qam": 6, "256qam": 8}
MCS_INDEX_BITS = 6


@dataclass(frozen=True)
class Mcs:
    """A modulation of ``bits_per_symbol`` and the payload bits a coded bit."""

    bits_per_symbol: int
    code_rate: float

    def plan(self, num_symbols: int, transmissions: int = 1) -> TransportPlan:
        """The transport block of this scheme on that many symbols; InputError if none fits."""
        return plan_transport(
            num_symbols, self.bits_per_symbol, self.code_rate, transmissions=transmissions
        )


_RATES_1024: Mapping[int, tuple[float, ...]] = {
    2: (30, 40, 50, 64, 78, 99, 120, 157, 193, 251, 308, 379, 449, 526, 602, 679),
    4: (340, 378, 434, 490, 553, 616, 658),
    6: (438, 466, 517, 567, 616, 666, 719, 772, 822, 873),
    8: (682.5, 711, 754, 797, 841, 885, 916.5, 948),
}
# TS 38.214: QPSK up to 193/1024 of table 5.1.3.1-3, the rest of QPSK, 16-QAM and 64-QAM at 438/1024
# of table 5.1.3.1-1, and the others of table 5.1.3.1-2. 41 schemes, for 6 bits.
MCS_TABLE: tuple[Mcs, ...] = tuple(
    Mcs(bits, rate / 1024) for bits, rates in _RATES_1024.items() for rate in rates
)


def fixed_mcs(options: Mapping[str, Any]) -> Mcs:
    """The scheme of ``{modulation: 16qam, rate: 0.5}``; InputError for anything else."""
    rates = f"{MIN_CODE_RATE:.2g} to {MAX_CODE_RATE:.3g}"
    allowed = f"best, or {{modulation: {'|'.join(MODULATIONS)}, rate: {rates}}}"
    try:
        modulation, rate = options["modulation"], float(options["rate"])
        scheme = Mcs(MODULATIONS[modulation], rate)
    except (KeyError, TypeError, ValueError):
        raise InputError(f"mcs is {options!r}; allowed: {allowed}") from None
    if set(options) != {"modulation", "rate"}:
        raise InputError(f"mcs is {options!r}; allowed: {allowed}")
    plan_transport(2**16, scheme.bits_per_symbol, scheme.code_rate)  # raises for a bad rate
    return scheme


def plans_by_payload(num_symbols: int, transmissions: int = 1) -> list[tuple[int, TransportPlan]]:
    """(MCS index, plan) of every scheme that so many symbols can carry, the largest payload first.

    Raises InputError if none can.
    """
    plans, refusal = [], InputError("no scheme")
    for index, mcs in enumerate(MCS_TABLE):
        try:
            plans.append((index, mcs.plan(num_symbols, transmissions)))
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
