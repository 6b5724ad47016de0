"""Reconstructions inside the page, as WebP: a third of the bytes of PNG."""

import base64
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from linksim.errors import InputError

QUALITY = 92
"""WebP's; looked at beside the PNG files in ``pictures/`` no difference is seen."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture as a data URI. psnr: in dB; None for the original."""

    label: str
    image: str
    psnr: float | None
    data: str
    width: int
    height: int


def embedded(index: pd.DataFrame, folder: Path) -> list[Picture]:
    """The pictures that an index names, in its order. Raises InputError for one that is gone."""
    return [_embedded(line, folder) for line in index.to_dict("records")]


def data_uri(picture: Image.Image) -> str:
    """A picture as WebP in the text of a page."""
    buffer = io.BytesIO()
    picture.save(buffer, format="WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _embedded(line: dict[Any, Any], folder: Path) -> Picture:
    path = folder / str(line["file"])
    try:
        with Image.open(path) as file:
            picture = file.convert("RGB")
    except OSError as error:
        raise InputError(
            f"{path}: not a readable picture ({error}); 'python -m linksim run' writes it again"
        ) from None
    psnr = float(line["psnr"])
    return Picture(
        label=str(line["label"]),
        image=str(line["image"]),
        psnr=None if math.isnan(psnr) else psnr,
        data=data_uri(picture),
        width=picture.width,
        height=picture.height,
    )
