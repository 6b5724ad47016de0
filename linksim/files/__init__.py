"""Files written whole or not at all, and their digests."""

import fcntl
import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from PIL import Image
from torch import Tensor

from linksim.errors import InputError

_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{32}\.tmp", re.DOTALL)
_SLUG_BYTES = 80


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_png(path: Path, image: Tensor) -> None:
    """Write an image, uint8 [3, H, W]."""
    picture = Image.fromarray(image.permute(1, 2, 0).cpu().numpy())
    write_atomically(path, lambda temporary: picture.save(temporary, format="PNG"))


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write(temporary path)`` and rename the outcome to ``path``.

    A reader sees the old file or the new one, with the mode that the user's new files have. Raises
    InputError where the disk refuses.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as mine:
            with suppress(OSError):  # says that somebody is at work on it, where locks are known
                fcntl.flock(mine, fcntl.LOCK_EX)
            mode = os.fstat(mine.fileno()).st_mode
            write(temporary)
            with temporary.open("rb") as file:
                os.fchmod(file.fileno(), stat.S_IMODE(mode))
                os.fsync(file.fileno())
            temporary.replace(path)
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; what was finished before is kept"
        ) from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what writers that were killed have left half written, in a folder and below it."""
    for path in folder.rglob(".*.tmp"):
        if _TEMPORARY.fullmatch(path.name) and path.is_file():
            with suppress(OSError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not while its writer lives
                path.unlink()


def distinct_slugs(texts: Iterable[str], *, taken: Iterable[str] = ()) -> dict[str, str]:
    """A part of a file name for each text, no two alike, on any file system.

    Letters, digits, dots, plus and minus stay as they are; where two texts would come out alike,
    the later ones are numbered. taken: parts that are used already.
    """
    used = {_same(part) for part in taken}
    slugs: dict[str, str] = {}
    for text in dict.fromkeys(texts):
        plain = "".join(c if c.isalnum() or c in ".+-" else "-" for c in text)
        while len(plain.encode()) > _SLUG_BYTES:
            plain = plain[:-1]
        plain = plain.rstrip("-").strip(".") or "x"
        slug, number = plain, 1
        while _same(slug) in used:
            number += 1
            slug = f"{plain}-{number}"
        used.add(_same(slug))
        slugs[text] = slug
    return slugs


def _same(part: str) -> str:
    """What a file system that knows neither case nor compositions makes of a name."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", part).casefold())
