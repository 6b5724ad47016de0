"""Rows on disk: one Parquet file a point, written whole or not at all, named by what made it."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from linksim.files import write_png
from linksim.tables import read_table, write_table


def content_key(what: Mapping[str, Any]) -> str:
    """A name for everything that determines a point: 20 hex digits of its SHA-256."""
    text = json.dumps(what, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


class Store:
    """The finished points below a result folder."""

    def __init__(self, folder: Path) -> None:
        self._points = folder / "points"

    def __contains__(self, key: str) -> bool:
        return self._path(key).is_file()

    def write(self, key: str, rows: pd.DataFrame) -> None:
        """Keep the rows of a finished point."""
        write_table(self._path(key), rows)

    def forget(self, keys: Iterable[str]) -> None:
        """Drop the rows of these points."""
        for key in keys:
            self._path(key).unlink(missing_ok=True)

    def read(self, keys: Iterable[str]) -> pd.DataFrame:
        """The rows of these points, in this order; raises InputError for a broken file."""
        frames = [read_table(self._path(key), mend="delete it and run again") for key in keys]
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
