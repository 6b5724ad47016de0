"""Rows on disk: one Parquet file a point, written whole or not at all, named by what made it."""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from linksim.errors import InputError, one_line


def content_key(what: Mapping[str, Any]) -> str:
    """A name for everything that determines a point: 20 hex digits of its SHA-256."""
    text = json.dumps(what, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Store:
    """The finished points below a result folder."""

    def __init__(self, folder: Path) -> None:
        self._points = folder / "points"

    def __contains__(self, key: str) -> bool:
        return self._path(key).is_file()

    def write(self, key: str, rows: pd.DataFrame) -> None:
        """Keep the rows of a finished point."""
        write_atomically(self._path(key), lambda path: rows.to_parquet(path, index=False))

    def forget(self, keys: Iterable[str]) -> None:
        """Drop the rows of these points."""
        for key in keys:
            self._path(key).unlink(missing_ok=True)

    def read(self, keys: Iterable[str]) -> pd.DataFrame:
        """The rows of these points, in this order; raises InputError for a broken file."""
        frames = []
        for key in keys:
            try:
                frames.append(pd.read_parquet(self._path(key)))
            except (OSError, ValueError) as error:
                raise InputError(
                    f"{self._path(key)}: not a readable point ({one_line(error)}); "
                    "delete it and run again"
                ) from None
        return pd.concat(frames, ignore_index=True)

    def write_picture(self, key: str, image_name: str, image: Tensor) -> None:
        """Keep a reconstruction [3, H, W] in [0, 1] as PNG, rounded to 8 bits."""
        pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8)
        write_png(self.picture_path(key, image_name), pixels)

    def picture_path(self, key: str, image_name: str) -> Path:
        """Where a point's reconstruction of an image lies."""
        return self._points / key / f"{image_name.replace('/', '_')}.png"

    def _path(self, key: str) -> Path:
        return self._points / f"{key}.parquet"


def write_png(path: Path, image: Tensor) -> None:
    """Write an image, uint8 [3, H, W]."""
    picture = Image.fromarray(image.permute(1, 2, 0).cpu().numpy())
    write_atomically(path, lambda temporary: picture.save(temporary, format="PNG"))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes that ask for the same path waiting, so that only one makes the file.

    The lock goes when the process does, however it ends. In a folder that cannot be written there
    is none.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(path.with_name(f".{path.name}.lock").open("w"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write(temporary path)`` and rename the outcome to ``path``.

    A reader sees the old file or the new one. Raises InputError where the disk refuses.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; what was finished before is kept"
        ) from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
