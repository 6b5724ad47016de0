"""The smallest sweeps: two little photographs over AWGN, and codecs that tests write themselves."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

import linksim
from linksim.files.tables import read_table

HEAD = (
    "import torch\nfrom torch import nn\nfrom linksim import Codec, Decoded, Frame, NeuralCodec\n"
)

FLAT = """
class Flat(Codec):
    def __init__(self, *, level: float = 0.5):
        self.level = level
    def encode(self, images, tx):
        return Frame.analog(torch.ones(len(images), 4, dtype=torch.complex64))
    def decode(self, received, rx):
        return torch.full((len(received.symbols), 3, *rx.image_size), self.level)
"""
"""A codec that shows one level of grey."""


def write_codec(path: Path, text: str) -> Path:
    """A file of codecs, after the imports that they need and ``Flat``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEAD + FLAT + text)
    return path


def settings(*codecs: str | Mapping[str, Any], **changes: object) -> dict[str, Any]:
    """A scenario's keys."""
    return {
        "name": "small",
        "images": {"source": "kodak", "crop": 32, "limit": 2},
        "channel": {"type": "awgn"},
        "snr_db": [5, 10],
        "cbr": 0.1,
        "metrics": ["psnr"],
        "codecs": list(codecs),
        **changes,
    }


def rows(folder: Path, *codecs: str | Mapping[str, Any], **changes: Any) -> pd.DataFrame:
    """The rows of such a scenario, run into ``folder``."""
    options = {"batch_size": changes.pop("batch_size", 1)}
    linksim.run(settings(*codecs, **changes), folder, **options)
    return read_table(folder / "small" / "rows.parquet")
