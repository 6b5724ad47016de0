"""The grid of reconstructions: one row an image, one column a codec."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from linksim.errors import InputError, one_line
from linksim.plot.facets import ratio, varying
from linksim.plot.look import GREY, TEXT_INCHES, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDEST = 1.75  # inches
_MARK = "\0"  # in no label
_ORIGINAL = f"original{_MARK}"


def picture_facets(index: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """(file name, title, lines) of each grid; the originals are in all of them."""
    is_original = index["snr_db"].isna()  # a codec may be called original
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

    index = index.assign(column=index["label"].where(index["snr_db"].notna(), _ORIGINAL))
    codecs, images = list(index["column"].unique()), list(index["image"].unique())
    pictures = {
        (line.image, line.column): (_read_picture(folder / str(line.file)), float(line.psnr))  # type: ignore[arg-type]
        for line in index.itertuples()
    }
    aspects = {
        image: picture.shape[0] / picture.shape[1] for (image, _), (picture, _) in pictures.items()
    }
    measured = bool(np.isfinite(index["psnr"]).any())
    width = min(_WIDEST, TEXT_INCHES / len(codecs))
    letters = max(8, int(13 * width))
    names = {codec: wrapped(codec.removesuffix(_MARK), letters) for codec in codecs}
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
                below = wrapped(image, letters) if codec == _ORIGINAL else _below(psnr, measured)
                axes.set_xlabel(below, labelpad=2, fontsize=7)
    return figure


def _below(psnr: float, measured: bool) -> str:
    """What stands under a reconstruction; nothing where no PSNR was asked for."""
    if np.isfinite(psnr):
        return f"{psnr:.2f} dB"
    return "failed" if measured else ""


def _read_picture(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as file:
            return np.asarray(file.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: not a readable picture ({one_line(error)})") from None
