"""Errors in one line: those that a user can cause and can mend, and those of plug-ins."""

import os
import re
import sys
import sysconfig
import traceback
import unicodedata
from pathlib import Path


class InputError(ValueError):
    """Bad input: a file, a setting or a codec that breaks the contract.

    The message is one line that says what was given, where, and what is allowed. The command
    line prints it without a traceback and leaves with exit status 2.
    """


class PluginError(InputError):
    """A user's codec, channel or metric that raised an error of its own, which is the cause."""


class PointsFailedError(RuntimeError):
    """Points of a sweep that ended in an error which is not the user's input.

    One line that names the first of them; the command line leaves with exit status 1.
    """


def one_line(error: BaseException) -> str:
    """What another library's error says, without its line breaks and without addresses in memory,
    which say nothing and differ each time."""
    return _ADDRESS.sub("", " ".join(str(error).split()))


def described(error: BaseException) -> str:
    """Kind and message of an error, and where it was raised, in one line."""
    place = place_of(error)
    return f"{type(error).__name__}: {one_line(error)}" + (f" ({place})" if place else "")


def place_of(error: BaseException) -> str:
    """File and line where an error was raised: the user's own line, where there is one, and not
    that of the library which it called."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    own = [frame for frame in frames if not _is_library(frame.filename)]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


def is_ours(cls: type) -> bool:
    """Whether a class comes with linksim, and not from a user."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return file is not None and any(Path(file).is_relative_to(home) for home in _OURS)


def printable(text: str) -> str:
    """The text with control characters, which a terminal would obey, shown as escapes."""
    return "".join(_escape(c) if _commands(c) else c for c in text)


def _commands(character: str) -> bool:
    """Whether it is a control or a line separator, or turns the direction of what follows."""
    if character in "\n\t":
        return False
    kind = unicodedata.category(character)
    return kind in ("Cc", "Cs", "Zl", "Zp") or character in _TURN_DIRECTION


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _is_library(path: str) -> bool:
    return path.startswith(_LIBRARIES) or not _INSTALLED.isdisjoint(Path(path).parts)


_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+(?=>)")
_TURN_DIRECTION = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))
_OURS = tuple(Path(__file__).parents[1] / name for name in ("linksim", "baselines"))
_INSTALLED = frozenset(("site-packages", "dist-packages"))
_LIBRARIES = (sysconfig.get_path("stdlib") + os.sep, str(Path(__file__).parent) + os.sep, "<")
