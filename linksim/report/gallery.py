"""One picture through several codecs at several SNRs, as a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from linksim.files import write_atomically
from linksim.report.page import render, script_safe
from linksim.report.pictures import QUALITY, data_uri

Pixels = NDArray[np.uint8]
"""[H, W, 3]."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a codec made of the picture at an SNR.

    image: uint8 [H, W, 3]. psnr: in dB. lpips: smaller is better. uses: channel uses counted.
    """

    label: str
    snr_db: float
    image: Pixels
    psnr: float
    lpips: float
    uses: int


def write_gallery(
    path: Path,
    *,
    title: str,
    told: Sequence[str],
    original: Pixels,
    shown: Sequence[Shown],
) -> None:
    """Write the page: the original, a row a codec, a column an SNR, and two of them side by side.

    original: uint8 [H, W, 3]. told: sentences above the pictures.
    """
    source = data_uri(Image.fromarray(original))
    cells = {(one.label, one.snr_db): (one, data_uri(Image.fromarray(one.image))) for one in shown}
    labels = list(dict.fromkeys(one.label for one in shown))
    levels = list(dict.fromkeys(one.snr_db for one in shown))
    height, width = original.shape[:2]
    common = {"image": title, "width": width, "height": height}
    pictures = [{**common, "label": "original", "psnr": None, "data": source}]
    pictures += [
        {**common, "label": f"{label}, {snr_db:g} dB", "psnr": one.psnr, "data": data}
        for (label, snr_db), (one, data) in cells.items()
    ]
    data = {"curves": [], "cost": [], "outage": [], "gaps": [], "pictures": pictures}
    page = render(
        "gallery.html.j2",
        title=title,
        told=told,
        original=source,
        labels=labels,
        levels=levels,
        cells=cells,
        quality=QUALITY,
        data=script_safe(data),
    )
    write_atomically(path, lambda place: place.write_text(page, encoding="utf-8"))
