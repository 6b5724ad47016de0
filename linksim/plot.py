"""Tables to figures: metric against SNR, CBR and pilots, and a grid of reconstructions.

Figures are made from ``summary.csv`` and ``pictures/index.csv`` alone and go to ``figures/`` beside
them as PDF, SVG and PNG. The same tables give the same bytes.
"""

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from linksim.errors import InputError
from linksim.store import write_atomically

if TYPE_CHECKING:  # matplotlib is imported only by what draws
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRIC_LABELS = {
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "ms_ssim_db": "MS-SSIM (dB)",
    "lpips": "LPIPS (lower is better)",
    "snr_error_db": "SNR error (dB)",
    "accuracy": "Accuracy",
}

_NEEDED = ("codec", "is_bound", "channel", "snr_db", "cbr", "images", "cbr_realised")
_NEEDED_PICTURES = ("codec", "image", "snr_db", "cbr", "psnr", "file")
_COLUMN_INCHES, _TEXT_INCHES = 3.5, 7.16  # one and two columns of an IEEE page
_WIDEST_PICTURE = 1.75  # inches
_MOST_SNRS = 3  # figures against CBR: at the lowest, the middle and the highest SNR
_STANDARD_MS_SSIM = "win11x5"
_GREY = "0.35"
_MOST_TICKS = 12

# Okabe and Ito's colours that white paper carries; safe for the colour-blind
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_BOUND_DASHES = ((4.0, 2.0), (1.5, 1.5), (6.0, 1.5, 1.5, 1.5))

_STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,
    "svg.hashsalt": "linksim",
}
_METADATA: Mapping[str, dict[str, None]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a codec is drawn, the same in all figures of a result; no marker for a bound."""

    colour: str
    marker: str
    dashes: tuple[float, ...] = ()


def plot_results(folder: Path) -> list[Path]:
    """Draw the figures of every result folder at or below ``folder``; gives their paths.

    A metric against SNR: one figure a CBR. Against CBR, where there are several: at the lowest, the
    middle and the highest SNR. Where channels differ in their pilots: against the pilots' share
    instead. Raises InputError where there are no results or a table is broken.
    """
    tables = sorted(folder.rglob("summary.csv"))
    if not tables:
        raise InputError(
            f"{folder}: no results here; wanted is a folder that 'python -m linksim run' wrote, "
            "with summary.csv in it, or a folder of such folders"
        )
    with _style():
        return [path for table in tables for path in _plot_result(table.parent)]


def codec_looks(summary: pd.DataFrame) -> dict[str, Look]:
    """Colours and markers of codecs in the table's order; bounds are grey and dashed."""
    looks: dict[str, Look] = {}
    codecs = summary.drop_duplicates("codec")
    for i, codec in enumerate(codecs.loc[~codecs["is_bound"], "codec"]):
        colour, marker = _COLOURS[i % len(_COLOURS)], _MARKERS[i % len(_MARKERS)]
        looks[codec] = Look(colour=colour, marker=marker)
    for i, codec in enumerate(codecs.loc[codecs["is_bound"], "codec"]):
        dashes = _BOUND_DASHES[i % len(_BOUND_DASHES)]
        looks[codec] = Look(colour=_GREY, marker="", dashes=dashes)
    return looks


def _plot_result(folder: Path) -> Iterator[Path]:
    summary = _read_table(folder / "summary.csv", _NEEDED)
    metrics = [name for name in METRIC_LABELS if name in summary]
    if not metrics:
        raise InputError(
            f"{folder / 'summary.csv'}: no metric to plot; wanted are {', '.join(METRIC_LABELS)}"
        )
    looks = codec_looks(summary)
    for facet in (*_against_snr(summary), *_against_cbr(summary), *_against_pilots(summary)):
        for metric in metrics:
            figure = _curves(facet, metric, looks)
            yield from _save(figure, folder / "figures" / f"{metric}_{facet.name}")
    index = folder / "pictures" / "index.csv"
    if index.is_file():
        pictures = _read_table(index, _NEEDED_PICTURES)
        for name, title, chosen in _picture_facets(pictures):
            figure = _picture_grid(chosen, index.parent, title)
            yield from _save(figure, folder / "figures" / name)


@dataclass(frozen=True, kw_only=True)
class _Facet:
    """The lines of the summary that one figure shows: over ``x``, all else fixed."""

    name: str
    title: str
    x: str
    x_label: str
    lines: pd.DataFrame


def _against_snr(summary: pd.DataFrame) -> Iterator[_Facet]:
    if summary["snr_db"].nunique() == 1 and summary["cbr"].nunique() > 1:
        return
    if _pilots_vary(summary):
        return
    for _, lines in summary.groupby(["channel", "cbr"], sort=False):
        channel, cbr = str(lines["channel"].iloc[0]), float(lines["cbr"].iloc[0])
        yield _Facet(
            name="_".join(["vs_snr", *_varying(summary, channel=channel, cbr=cbr)]),
            title=f"{channel}\nCBR {_ratio(cbr)} · {_images(lines)}",
            x="snr_db",
            x_label="SNR (dB)",
            lines=lines,
        )


def _against_cbr(summary: pd.DataFrame) -> Iterator[_Facet]:
    if summary["cbr"].nunique() == 1 or _pilots_vary(summary):
        return
    snrs = sorted(summary["snr_db"].unique())
    if len(snrs) > _MOST_SNRS:
        snrs = [snrs[0], snrs[len(snrs) // 2], snrs[-1]]
    chosen = summary[summary["snr_db"].isin(snrs)]
    for _, lines in chosen.groupby(["channel", "snr_db"]):
        channel, snr_db = str(lines["channel"].iloc[0]), float(lines["snr_db"].iloc[0])
        yield _Facet(
            name="_".join(["vs_cbr", *_varying(summary, channel=channel, snr_db=snr_db)]),
            title=f"{channel}\nSNR {snr_db:g} dB · {_images(lines)}",
            x="cbr_realised",
            x_label="CBR, counted (channel uses per source value)",
            lines=lines,
        )


def _pilots_vary(summary: pd.DataFrame) -> bool:
    return "pilot_share" in summary and summary["pilot_share"].nunique() > 1


def _against_pilots(summary: pd.DataFrame) -> Iterator[_Facet]:
    if not _pilots_vary(summary):
        return
    for _, lines in summary.groupby(["cbr", "snr_db"]):
        cbr, snr_db = float(lines["cbr"].iloc[0]), float(lines["snr_db"].iloc[0])
        yield _Facet(
            name="_".join(["vs_pilots", *_varying(summary, cbr=cbr, snr_db=snr_db)]),
            title=f"SNR {snr_db:g} dB · CBR {_ratio(cbr)}, pilots included · {_images(lines)}",
            x="pilot_share",
            x_label="Pilots per channel use (dotted: channel known)",
            lines=lines,
        )


def _varying(table: pd.DataFrame, **values: str | float) -> list[str]:
    """Parts of a file name that tell figures apart: the keys that take several values."""
    return [
        _slug(value) if key == "channel" else f"{key.removesuffix('_db')}{value:.4g}"
        for key, value in values.items()
        if table[key].nunique() > 1
    ]


def _curves(facet: _Facet, metric: str, looks: Mapping[str, Look]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_COLUMN_INCHES, 2.8), layout="constrained")
    figure.suptitle(facet.title, x=0.01, ha="left", fontsize=6.5, color=_GREY)
    axes = figure.add_subplot()
    axes.grid(axis="y", color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel(facet.x_label)
    axes.set_ylabel(_metric_label(metric, facet.lines))
    known = facet.lines.dropna(subset=[metric, facet.x]).sort_values(facet.x)
    codecs = [codec for codec in looks if codec in set(known["codec"])]
    if known[facet.x].nunique() == 1:
        _side_by_side(axes, known.set_index("codec").loc[codecs], facet.x, metric, looks)
        return figure
    for codec in codecs:
        points = known[known["codec"] == codec]
        if facet.x == "pilot_share":
            for level in points.loc[points[facet.x] == 0, metric]:
                axes.axhline(level, color=looks[codec].colour, linestyle=":", linewidth=0.8)
            points = points[points[facet.x] > 0]
        _curve(axes, points, facet.x, metric, looks[codec], _label(codec, looks))
    if facet.x == "snr_db" and known[facet.x].nunique() <= _MOST_TICKS:
        axes.set_xticks(known[facet.x].unique())
    if facet.x == "pilot_share":
        shares = sorted(set(known[facet.x]) - {0})
        axes.set_xscale("log")
        axes.set_xticks(shares, [f"{share:.2g}" for share in shares])
        axes.minorticks_off()
    # below, where it covers no curve
    figure.legend(loc="outside lower center", ncols=2, frameon=False, labelspacing=0.3)
    return figure


def _curve(axes: "Axes", points: pd.DataFrame, x: str, metric: str, look: Look, label: str) -> None:
    """One codec: its line, and its interval as a band."""
    low, high = _interval(points, metric)
    axes.fill_between(points[x], low, high, color=look.colour, alpha=0.13, linewidth=0)
    (line,) = axes.plot(
        points[x],
        points[metric],
        color=look.colour,
        marker=look.marker,
        markeredgecolor="white",
        markeredgewidth=0.4,
        label=label,
    )
    if look.dashes:
        line.set_dashes(look.dashes)


def _side_by_side(
    axes: "Axes", points: pd.DataFrame, x: str, metric: str, looks: Mapping[str, Look]
) -> None:
    """Codecs beside each other where there is a single x: a point and a bar each."""
    low, high = _interval(points, metric)
    for place, codec in enumerate(points.index):
        look, value = looks[codec], points[metric].iloc[place]
        axes.vlines(place, low.iloc[place], high.iloc[place], color=look.colour, linewidth=1)
        axes.plot(place, value, color=look.colour, marker=look.marker or "_", markersize=5)
    labels = [textwrap.fill(_label(codec, looks), 14) for codec in points.index]
    axes.set_xticks(range(len(points)), labels)
    axes.set_xlim(-0.6, len(points) - 0.4)
    axes.set_xlabel(f"{axes.get_xlabel()} = {points[x].iloc[0]:.4g}")


def _interval(points: pd.DataFrame, metric: str) -> tuple[pd.Series, pd.Series]:
    """Bounds of the interval; the mean itself where the table has none."""
    low, high = (points.get(f"{metric}_{end}", points[metric]) for end in ("lo", "hi"))
    return low, high


def _label(codec: str, looks: Mapping[str, Look]) -> str:
    return f"{codec} (bound)" if looks[codec].dashes else codec


def _metric_label(metric: str, lines: pd.DataFrame) -> str:
    """The axis label; it names the variant of MS-SSIM where that is not the standard one."""
    label = METRIC_LABELS[metric]
    if metric != "ms_ssim_db" or "ms_ssim_variant" not in lines:
        return label
    variant = str(lines["ms_ssim_variant"].iloc[0])
    return label if variant == _STANDARD_MS_SSIM else f"{label[:-1]}, {variant})"


def _picture_facets(index: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """(file name, title, lines) of each grid; the originals are in all of them."""
    is_original = index["codec"] == "original"
    sent = index[~is_original]
    for _, lines in sent.groupby(["snr_db", "cbr"]):
        snr_db, cbr = float(lines["snr_db"].iloc[0]), float(lines["cbr"].iloc[0])
        originals = index[is_original & index["image"].isin(lines["image"])]
        title = f"SNR {snr_db:g} dB · CBR {_ratio(cbr)} · PSNR under each picture"
        name = "_".join(["pictures", *_varying(sent, snr_db=snr_db, cbr=cbr)])
        yield name, title, pd.concat([originals, lines])


def _picture_grid(index: pd.DataFrame, folder: Path, title: str) -> "Figure":
    """One row an image, one column a codec."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    codecs, images = list(index["codec"].unique()), list(index["image"].unique())
    pictures = {
        (line.image, line.codec): (_read_picture(folder / str(line.file)), line.psnr)
        for line in index.itertuples()
    }
    aspects = {
        image: picture.shape[0] / picture.shape[1] for (image, _), (picture, _) in pictures.items()
    }
    width = min(_WIDEST_PICTURE, _TEXT_INCHES / len(codecs))
    height = 0.34 + sum(width * aspects[image] + 0.17 for image in images)
    layout = ConstrainedLayoutEngine(compress=True, w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    figure = Figure(figsize=(width * len(codecs), height), layout=layout)
    figure.suptitle(title, x=0.01, ha="left", fontsize=7, color=_GREY)
    grid = figure.subplots(
        len(images), len(codecs), squeeze=False, height_ratios=[aspects[i] for i in images]
    )
    for image, row in zip(images, grid, strict=True):
        for codec, axes in zip(codecs, row, strict=True):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if image == images[0]:
                axes.set_title(codec, fontsize=8, pad=3)
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
        raise InputError(f"{path}: not a readable picture ({_one_line(error)})") from None


def _read_table(path: Path, needed: Sequence[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise InputError(f"{path}: not a readable table ({_one_line(error)})") from None
    missing = [name for name in needed if name not in table]
    if missing:
        raise InputError(
            f"{path}: no column {', '.join(missing)}; 'python -m linksim run' writes it again"
        )
    if table.empty:
        raise InputError(f"{path}: the table has no lines; 'python -m linksim run' writes it again")
    return table


def _save(figure: "Figure", stem: Path) -> Iterator[Path]:
    for kind, metadata in _METADATA.items():
        path = stem.with_name(f"{stem.name}.{kind}")
        write = partial(figure.savefig, format=kind, dpi=300, metadata=metadata)
        write_atomically(path, write)
        yield path


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        yield


def _ratio(cbr: float) -> str:
    """1/48 where that is what it is, else a decimal number."""
    simple = Fraction(cbr).limit_denominator(1000)
    return str(simple) if simple.numerator == 1 and abs(simple - cbr) < 1e-9 else f"{cbr:.4g}"


def _images(lines: pd.DataFrame) -> str:
    count = int(lines["images"].max())
    return "1 image" if count == 1 else f"{count} images · 95 % intervals"


def _slug(text: str | float) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", str(text)).strip("-")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
