"""The grid of reconstructions: one row an image, one column a codec."""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from linksim.errors import InputError, one_line
from linksim.plot.facets import ratio, varying
from linksim.plot.look import GREY, TEXT_INCHES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDEST = 1.75  # inches


def picture_facets(index: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """(file name, title, lines) of each grid; the originals are in all of them."""
    is_original = index["label"] == "original"
    sent = index[~is_original]
    for _, lines in sent.groupby(["snr_db", "cbr"]):
        snr_db, cbr = float(lines["snr_db"].iloc[0]), float(lines["cbr"].iloc[0])
        originals = index[is_original & index["image"].isin(lines["image"])]
        title = f"SNR {snr_db:g} dB · CBR {ratio(cbr)} · PSNR under each picture"
        name = "_".join(["pictures", *varying(sent, snr_db=snr_db, cbr=cbr)])
        yield name, title, pd.concat([originals, lines])


def picture_grid(index: pd.DataFrame, folder: Path, title: str) -> "Figure":
    """One row an image, one column a codec."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    codecs, images = list(index["label"].unique()), list(index["image"].unique())
    pictures = {
        (line.image, line.label): (_read_picture(folder / str(line.file)), line.psnr)
        for line in index.itertuples()
    }
    aspects = {
        image: picture.shape[0] / picture.shape[1] for (image, _), (picture, _) in pictures.items()
    }
    width = min(_WIDEST, TEXT_INCHES / len(codecs))
    names = {codec: textwrap.fill(codec, max(8, int(13 * width))) for codec in codecs}
    more_lines = max(name.count("\n") for name in names.values())
    height = 0.34 + 0.13 * more_lines + sum(width * aspects[image] + 0.17 for image in images)
    layout = ConstrainedLayoutEngine(compress=True, w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    figure = Figure(figsize=(width * len(codecs), height), layout=layout)
    figure.suptitle(title, x=0.01, ha="left", fontsize=7, color=GREY)
    grid = figure.subplots(
        len(images), len(codecs), squeeze=False, height_ratios=[aspects[i] for i in images]
    )
    for image, row in zip(images, grid, strict=True):
        for codec, axes in zip(codecs, row, strict=True):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if image == images[0]:
                axes.set_title(names[codec], fontsize=8, pad=3)
            if (image, codec) in pictures:
                picture, psnr = pictures[image, codec]
                axes.imshow(picture)
                below = image if codec == "original" else f"{psnr:.2f} dB"
                axes.set_xlabel(below, labelpad=2, fontsize=7)
    return figure


def _read_picture(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as file:
            return np.asarray(file.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: not a readable picture ({one_line(error)})") from None
