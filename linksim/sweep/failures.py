"""Points that end in an error: the others are finished, and at the end the failures are named."""

import logging
import traceback
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from linksim.errors import InputError, PluginError, PointsFailedError, described
from linksim.sweep.plan import Point

_log = logging.getLogger(__name__)


class Cause(Enum):
    """Whose error it is: the user's settings or codec, a codec that raised one, or another."""

    INPUT = "input"
    PLUGIN = "plug-in"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A point that ended in an error: why, in one line, and the whole traceback."""

    reason: str
    cause: Cause
    traceback: str = ""

    @classmethod
    def of(cls, error: Exception) -> "Failed":
        """What there is to say of an error."""
        cause = Cause.OTHER
        if isinstance(error, InputError):
            cause = Cause.PLUGIN if isinstance(error, PluginError) else Cause.INPUT
        reason = described(error) if cause is Cause.OTHER else str(error)
        text = "".join(traceback.format_exception(error))
        return cls(reason=reason, cause=cause, traceback=text)


def failure_of(
    failed: Mapping[str, Failed], points: Iterable[Point], finished: Iterable[Point]
) -> Exception:
    """The error to raise for failed points, by their keys; several are logged, each reason once.

    points: those that were tried. finished: those whose rows are kept, earlier ones included.

    It is an InputError where the user can mend all of it: bad input, or a codec of theirs that
    works at no point. Where a codec raises an error at some points only, or anything else went
    wrong, it is a PointsFailedError.
    """
    tried = [point for point in points if point.key in failed]
    first = tried[0]
    lines: defaultdict[str, list[Point]] = defaultdict(list)
    for point in tried:
        lines[failed[point.key].reason].append(point)
    if len(lines) > 1:
        for reason, those in lines.items():
            more = f" and {len(those) - 1} more" if len(those) > 1 else ""
            _log.error("%s%s: %s", those[0].in_words, more, reason)
    working = {point.codec.label for point in finished}
    mendable = all(
        failed[point.key].cause is Cause.INPUT
        or (failed[point.key].cause is Cause.PLUGIN and point.codec.label not in working)
        for point in tried
    )
    several = len(list(points))
    kept = ", the others are kept" if len(tried) < several else ""
    reason = f"{first.in_words}: {failed[first.key].reason}"
    count = f"{len(tried)} of {several} points failed{kept}; "
    message = reason if several == 1 else f"{count}{reason}"
    error = (InputError if mendable else PointsFailedError)(message)
    error.__cause__ = _Traceback(failed[first.key].traceback)
    return error


class _Traceback(Exception):  # noqa: N818 - it is no error but what is told of one
    """The traceback of the first failure, perhaps of another process, for ``--debug``."""
