"""What feedback does for the digital chain: hybrid ARQ, and the outer loop of link adaptation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from baselines.digital.ldpc import TransportPlan
from linksim.errors import InputError

MOST_TRANSMISSIONS = 16

_OFFSETS_DB = (-20.0, 20.0)
_SNR_GRID_DB = 0.1  # finer than any choice can see, and coarse enough to look rates up once


@dataclass(frozen=True, kw_only=True)
class OuterLoop:
    """Link adaptation that corrects the SNR it is told by what becomes of its frames.

    Each earlier frame took the scheme of most payload with a block error rate of at most
    ``target`` at the SNR told less an offset. An acknowledgement lowers the offset by
    up_db * target / (1 - target), a failure raises it by ``up_db`` (A. Sampath et al., On setting
    reverse link power control target SIR, VTC 1997; K. Pedersen et al., 2005), so that in the long
    run ``target`` of them fail: as sionna.sys.OuterLoopLinkAdaptation, with our rates.

    frames: how many came before an image's. They are traffic of their own and not counted. All that
    the loop learns of the true SNR is one bit a frame.
    """

    target: float = 0.02
    up_db: float = 1.0
    frames: int = 1000

    def offset_db(self, offset_db: float, acknowledged: bool) -> float:
        """The offset after one more frame, within 20 dB."""
        down_db = self.up_db * self.target / (1 - self.target)
        low, high = _OFFSETS_DB
        return min(max(offset_db + (-down_db if acknowledged else self.up_db), low), high)

    def snr_db(
        self,
        told_db: float,
        plans: Sequence[TransportPlan],
        bler: Callable[[TransportPlan, float], float],
        acknowledged: Callable[[int, Callable[[float], float]], bool],
    ) -> float:
        """The corrected SNR after ``frames`` frames.

        plans: of all schemes, the largest payload first. acknowledged: given a frame's number and
        its block error rate over the true SNR, whether it got through.
        """
        offset_db = 0.0
        for frame in range(self.frames):
            plan = self._choice(_rounded(told_db - offset_db), plans, bler)
            got_through = acknowledged(frame, lambda snr_db, plan=plan: bler(plan, snr_db))  # type: ignore[misc]
            offset_db = self.offset_db(offset_db, got_through)
        return _rounded(told_db - offset_db)

    def _choice(
        self,
        snr_db: float,
        plans: Sequence[TransportPlan],
        bler: Callable[[TransportPlan, float], float],
    ) -> TransportPlan:
        fitting = (plan for plan in plans if bler(plan, snr_db) <= self.target)
        return next(fitting, plans[-1])


def outer_loop_of(options: Mapping[str, Any] | None) -> OuterLoop | None:
    """The loop of ``{target: 0.02, up_db: 1, frames: 1000}``, each with a default."""
    if options is None:
        return None
    allowed = "{target: above 0 and below 1, up_db: above 0, frames: a whole number from 1}"
    try:
        loop = OuterLoop(**options)
        good = 0 < loop.target < 1 and loop.up_db > 0
        good = good and isinstance(loop.frames, int) and loop.frames >= 1
    except TypeError:
        good = False
    if not good:
        raise InputError(f"outer_loop is {options!r}; allowed: {allowed}")
    return loop


def max_transmissions(options: Mapping[str, Any] | None) -> int:
    """How often ``{max_transmissions: n}`` sends a block at most; 1 for None."""
    if options is None:
        return 1
    if isinstance(options, Mapping) and set(options) == {"max_transmissions"}:
        count = options["max_transmissions"]
        if type(count) is int and 2 <= count <= MOST_TRANSMISSIONS:
            return count
    raise InputError(
        f"harq is {options!r}; allowed: {{max_transmissions: 2 to {MOST_TRANSMISSIONS}}}"
    )


def _rounded(snr_db: float) -> float:
    return round(snr_db / _SNR_GRID_DB) * _SNR_GRID_DB
