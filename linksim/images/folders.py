"""What a folder holds: its image files, and in one line what else there was and why it is left."""

import logging
import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from linksim.errors import InputError
from linksim.images.reading import FILE_TYPES
from linksim.progress import counted_images

_PICTURES = frozenset(
    (".bpg", ".cr2", ".dng", ".gif", ".heic", ".heif", ".jxl", ".nef", ".psd", ".svg")
)
MAX_FOLDERS = 20_000
"""Folders below the one that is named; more than that is a whole disk, not a data set."""

_KINDS = 8  # that are named in a line
_TWICE = "linked to a second time"
_log = logging.getLogger(__name__)


def image_files(root: Path) -> list[Path]:
    """Every image file below a folder, relative to it, sorted.

    Hidden files and folders are left out. Links are followed, each file and folder being taken
    once: where it lies, if that is below ``root``, else at the first link to it. What is no image
    is counted in one line of the log. Raises InputError where nothing is left, for a folder that
    cannot be listed, and for a name that is not UTF-8.
    """
    listing = _Listing(root)
    left_out = "; left out: " + listing.in_words() if listing.left_out else ""
    if not listing.images:
        kinds = ", ".join(sorted(kind[1:] for kind in FILE_TYPES))
        raise InputError(
            f"images: {root}: no image files in this folder; looked for {kinds}{left_out}"
        )
    if left_out:
        _log.warning("images: %s: %s%s", root, counted_images(len(listing.images)), left_out)
    return sorted(path.relative_to(root) for path in listing.images)


class _Listing:
    """Image files below a folder, and how many other things there are of each kind."""

    def __init__(self, root: Path) -> None:
        self.images: list[Path] = []
        self.left_out: Counter[str] = Counter()
        self._root, self._folders = root, 0
        self._seen: set[tuple[int, int]] = set()
        self._links: list[Path] = []
        self._walk(root, linked=False)
        # What lies here comes before what is linked to; what is linked to may hold further links.
        while self._links:
            self._links.sort(reverse=True)
            self._follow(self._links.pop())

    def in_words(self) -> str:
        """What was left out, the most frequent first."""
        counted = self.left_out.most_common()
        words = [f"{count} {what}" for what, count in counted[:_KINDS]]
        others = sum(count for _, count in counted[_KINDS:])
        return ", ".join([*words, f"{others} others"] if others else words)

    def _walk(self, folder: Path, *, linked: bool) -> None:
        pending = [folder]
        while pending:
            here = pending.pop()
            if not self._is_new(here):
                continue
            self._folders += 1
            if self._folders > MAX_FOLDERS:
                raise InputError(
                    f"images: {self._root}: more than {MAX_FOLDERS:,} folders below it, {here} "
                    "among them; name the one that holds the images"
                )
            for entry in _entries(here):
                path = here / entry.name
                if entry.name.startswith("."):
                    self.left_out["hidden"] += 1
                elif entry.is_symlink():
                    self._links.append(path)
                elif entry.is_dir():
                    pending.append(path)
                else:
                    self._take(path, regular=entry.is_file(), linked=linked)

    def _follow(self, link: Path) -> None:
        try:
            status = link.stat()
        except OSError:  # it leads nowhere, to itself, or where nobody may look
            self.left_out["links to nothing"] += 1
            return
        if not stat.S_ISDIR(status.st_mode):
            self._take(link, regular=stat.S_ISREG(status.st_mode), linked=True)
        elif (status.st_dev, status.st_ino) in self._seen:
            self.left_out[_TWICE] += 1
        else:
            self._walk(link, linked=True)

    def _take(self, path: Path, *, regular: bool, linked: bool) -> None:
        """Count a file among the images or among what is left out."""
        kind = path.suffix.lower()
        if not regular:
            self.left_out["FIFOs, devices or sockets"] += 1
        elif kind not in FILE_TYPES:
            self.left_out[_reason(kind)] += 1
        elif not self._is_new(path) and linked:
            self.left_out[_TWICE] += 1
        else:
            _check_name(path)
            self.images.append(path)

    def _is_new(self, path: Path) -> bool:
        status = path.stat()
        identity = status.st_dev, status.st_ino
        new = identity not in self._seen
        self._seen.add(identity)
        return new


def _reason(kind: str) -> str:
    """Why files of a kind are left out."""
    shown = kind if kind.isprintable() else ascii(kind)
    if kind in _PICTURES:
        return f"{shown} (not read; convert to PNG)"
    return f"{shown or 'without extension'} (no image type)"


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"images: {folder}: cannot be listed ({error.strerror})") from None


def _check_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"images: {str(path)!a}: its name is not UTF-8; rename it") from None
