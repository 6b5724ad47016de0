"""Rows on disk: one Parquet file a point, written whole or not at all, named by what made it.

    points/<key>-<checksum>.parquet                     the rows of a point
    points/<key>/<image>-<of its name>-<checksum>.png   a reconstruction that it keeps
    points/scenario.txt                                 where the scenario of the tables lies

The checksum is of the file's bytes. A file that is not what its name says was damaged: it is named
in one line, dropped, and its point is computed again.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from linksim.errors import InputError
from linksim.files import write_atomically
from linksim.files.tables import read_parquets

_DIGITS = 16
_log = logging.getLogger(__name__)


class Stored(Protocol):
    """What the store must know of a point."""

    @property
    def key(self) -> str: ...
    @property
    def pictures(self) -> tuple[str, ...]: ...


P = TypeVar("P", bound=Stored)


def content_key(what: Mapping[str, Any]) -> str:
    """A name for everything that determines a point: 20 hex digits of its SHA-256."""
    text = json.dumps(what, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


class Store:
    """The finished points below a result folder."""

    def __init__(self, folder: Path) -> None:
        self._points = folder / "points"
        self._files: dict[str, Path] | None = None
        self._sound: set[Path] = set()

    def __contains__(self, key: str) -> bool:
        return self._sound_file(key) is not None

    def unfinished(self, points: Iterable[P]) -> list[P]:
        """The points that are still to be computed: without rows, or without a picture that they
        keep, or with one of these damaged."""
        return [
            point
            for point in points
            if point.key not in self
            or any(self._picture(point.key, name) is None for name in point.pictures)
        ]

    def write(
        self, key: str, rows: pd.DataFrame, pictures: Mapping[str, Tensor] | None = None
    ) -> None:
        """Keep the rows of a finished point, and reconstructions [3, H, W] in [0, 1] by their
        images' names, as PNG rounded to 8 bits. The rows come last: they say that it is finished.
        """
        for name, image in (pictures or {}).items():
            self._write_picture(key, name, image)
        buffer = BytesIO()
        rows.to_parquet(buffer, index=False)
        old = self._listed().get(key)
        path = self._points / f"{key}-{_checksum(buffer.getvalue())}.parquet"
        self._write(path, buffer.getvalue())
        if old is not None and old != path:
            old.unlink(missing_ok=True)
        self._listed()[key] = path

    def forget(self, keys: Iterable[str]) -> None:
        """Drop the rows of these points."""
        for key in keys:
            path = self._listed().pop(key, None)
            if path is not None:
                path.unlink(missing_ok=True)

    def read(self, keys: Iterable[str]) -> pd.DataFrame:
        """The rows of these points, in this order; InputError for one that is not there."""
        return self.read_numbered(keys)[0]

    def read_numbered(self, keys: Iterable[str]) -> tuple[pd.DataFrame, NDArray[np.int64]]:
        """The same, and of each row which of the keys it belongs to, counted from 0."""
        paths = []
        for key in keys:
            path = self._listed().get(key)
            self._sound.discard(path or Path())  # what is read is looked at again
            if path is None or not self._is_sound(path):
                raise InputError(f"{self._points}: the point {key} is not there; run again")
            paths.append(path)
        return read_parquets(paths)

    def picture_path(self, key: str, image_name: str) -> Path:
        """Where a point's reconstruction of an image lies; InputError where it does not."""
        path = self._picture(key, image_name)
        if path is None:
            raise InputError(
                f"{self._points / key}: no picture of {image_name!r}; run again, and its point is "
                "computed again"
            )
        return path

    @property
    def scenario(self) -> str:
        """The scenario file that the tables were last made from, empty where that is not known:
        tables are sent round, but where a file lies says something on this machine alone."""
        try:
            return self._scenario.read_text(encoding="utf-8")
        except (OSError, ValueError):
            return ""

    def note_scenario(self, path: Path | None) -> None:
        """Remember what the tables were made from."""
        text = "" if path is None else str(path.resolve())
        if text != self.scenario:
            self._write(self._scenario, text.encode("utf-8", "surrogateescape"))

    @property
    def _scenario(self) -> Path:
        return self._points / "scenario.txt"

    def sweep_away_leftovers(self) -> None:
        """Remove what a run that was killed had half written."""
        for leftover in self._points.rglob(".*.tmp"):
            leftover.unlink(missing_ok=True)

    def _listed(self) -> dict[str, Path]:
        """The points' files as they were when they were first asked for."""
        if self._files is None:
            paths = self._points.glob("*-*.parquet")
            self._files = {path.name.partition("-")[0]: path for path in sorted(paths)}
        return self._files

    def _sound_file(self, key: str) -> Path | None:
        path = self._listed().get(key)
        if path is None:
            return None
        if self._is_sound(path):
            return path
        del self._listed()[key]
        return None

    def _is_sound(self, path: Path) -> bool:
        """Whether a file is what it was written as; a damaged one is dropped."""
        if path in self._sound:
            return True
        try:
            if path.stem.rpartition("-")[2] == _checksum(path.read_bytes()):
                self._sound.add(path)
                return True
            _log.warning("%s is damaged; it is computed again", path)
            path.unlink(missing_ok=True)
        except FileNotFoundError:
            pass
        except OSError as error:
            _log.warning("%s cannot be read (%s); it is computed again", path, error.strerror)
        return False

    def _picture(self, key: str, image_name: str) -> Path | None:
        found = sorted((self._points / key).glob(f"*-{_of_name(image_name)}-*.png"))
        return next((path for path in found if self._is_sound(path)), None)

    def _write_picture(self, key: str, image_name: str, image: Tensor) -> None:
        pixels = (image.nan_to_num(nan=0.0).clamp(0, 1) * 255).round().to(torch.uint8)
        buffer = BytesIO()
        Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy()).save(buffer, format="PNG")
        folder, of_name = self._points / key, _of_name(image_name)
        for old in folder.glob(f"*-{of_name}-*.png"):
            old.unlink(missing_ok=True)
        readable = "".join(c if c.isalnum() else "_" for c in image_name)[-40:]
        name = f"{readable}-{of_name}-{_checksum(buffer.getvalue())}.png"
        self._write(folder / name, buffer.getvalue())

    def _write(self, path: Path, content: bytes) -> None:
        write_atomically(path, lambda temporary: temporary.write_bytes(content))
        self._sound.add(path)


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def _of_name(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]
