"""What all figures share: sizes, how codecs are drawn, intervals, texts and the legend."""

import hashlib
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import median
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

T = TypeVar("T")

COLUMN_INCHES, TEXT_INCHES = 3.5, 7.16  # one and two columns of an IEEE page
GREY = "0.35"

# Okabe and Ito's colours that white paper carries, which the colour-blind can tell apart
BLUE, VERMILION, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, ORANGE, BLACK, BROWN = "#56B4E9", "#E69F00", "#000000", "#8C510A"

FIXED: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "mambajscc": (BLUE, "o"),
        "swinjscc": (VERMILION, "s"),
        "adjscc": (GREEN, "^"),
        "deepjscc": (PINK, "D"),
        "mvsc": (SKY, "v"),
        "bpg + ldpc": (BLACK, "P"),
    }
)
"""Colour and marker of what linksim ships; the first word of a label decides, and for a label that
says something else, the codec."""

_FAMILIES = {"mvsc4": "mvsc", "bpg_ldpc": "bpg + ldpc", "bpg + ldpc + harq": "bpg + ldpc"}
_VARIANT_COLOURS = (ORANGE, BROWN, "#7B3294", "#1B7837", "#B2182B", "#4D4D4D", "#01665E", "#3F51B5")
_VARIANT_MARKERS = ("X", "*", "<", ">", "p", "h", "d")
_VARIANTS = tuple(product(_VARIANT_COLOURS, _VARIANT_MARKERS))
_SALT = 56031  # few labels of the shipped scenarios lead to one colour
_BOUND_DASHES = ((4.0, 2.0), (1.5, 1.5), (6.0, 1.5, 1.5, 1.5), (8.0, 2.0), (3.0, 3.0))
_LEGEND_LETTERS, _MOST_LINES = 56, 8
_USUAL_LINES, _LINE_INCHES = 3, 0.145  # of a legend that the usual height has room for


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a codec is drawn, the same in all figures; no marker for a bound."""

    colour: str
    marker: str
    dashes: tuple[float, ...] = ()

    def label(self, codec: str) -> str:
        """How the legend calls a codec that looks so."""
        return f"{codec} (bound)" if self.dashes else codec


def codec_looks(summary: pd.DataFrame) -> dict[str, Look]:
    """How each codec of a table is drawn, by its label, in the table's order, bounds last.

    What linksim ships looks as :data:`FIXED` says wherever it is drawn. Any other label has a
    colour and a marker that follow from it, whatever is beside it; only where two labels of one
    table would share a colour does the later one take the next that is free, and the next free
    marker once all colours are taken. Bounds are grey and dashed.
    """
    looks: dict[str, Look] = {}
    codecs = summary.drop_duplicates("label")
    kinds = codecs["codec"] if "codec" in codecs else codecs["label"]
    named = list(zip(codecs["label"], kinds, codecs["is_bound"], strict=True))
    taken = {
        FIXED[name]: label
        for label, codec, is_bound in reversed(named)
        if not is_bound and (name := _shipped(label, codec)) is not None
    }
    used: set[tuple[str, str]] = set()
    for label, codec, is_bound in named:
        if is_bound:
            continue
        name = _shipped(label, codec)
        if name is not None and taken[FIXED[name]] == label:
            colour, marker = FIXED[name]
        else:
            colour, marker = _variant(label, used)
        looks[label] = Look(colour=colour, marker=marker)
    used_dashes: set[tuple[float, ...]] = set()
    for label, codec, is_bound in named:
        if is_bound:
            said = "" if codec == "bpg_capacity" else label
            dashes = min(_turned(said, _BOUND_DASHES), key=lambda dash: dash in used_dashes)
            used_dashes.add(dashes)
            looks[label] = Look(colour=GREY, marker="", dashes=dashes)
    return looks


def published_looks(labels: Iterable[str], looks: Mapping[str, Look]) -> dict[str, Look]:
    """How published points of those names are drawn: as our codec of that name among ``looks``,
    or as one that linksim ships; else as follows from the name, no two alike while that can be."""
    used = {(look.colour, look.marker) for look in looks.values()}
    found: dict[str, Look] = {}
    for label in dict.fromkeys(labels):
        name = _shipped(label, "")
        if label in looks:
            found[label] = looks[label]
        else:
            colour, marker = FIXED[name] if name else _variant(label, used)
            found[label] = Look(colour=colour, marker=marker)
    return found


def interval(points: pd.DataFrame, metric: str) -> tuple[pd.Series, pd.Series]:
    """Bounds of the interval; the mean itself where the table has none."""
    low, high = (points.get(f"{metric}_{end}", points[metric]) for end in ("lo", "hi"))
    return low, high


def wrapped(text: str, letters: int, most_lines: int = _MOST_LINES) -> str:
    """A text in lines of that many letters, none of which is lost; what is too long ends in …."""
    if len(text) <= letters:
        return text
    wrapper = textwrap.TextWrapper(
        width=letters,
        replace_whitespace=False,
        drop_whitespace=False,
        break_on_hyphens=False,
        expand_tabs=False,
    )
    lines = wrapper.wrap(text)
    shown = lines[:most_lines]
    return "\n".join(shown) + ("…" if len(lines) > most_lines else "")


def legend_below(figure: "Figure", artists: "Sequence[Artist]") -> None:
    """The legend under the axes, where it covers no curve: the artists by their labels.

    They are handed over since matplotlib leaves out labels that start with an underscore. A long
    legend makes the figure higher.
    """
    labels = [str(artist.get_label()) for artist in artists]
    if not labels:
        return
    columns = 2 if median(map(len, labels)) <= _LEGEND_LETTERS // 2 else 1
    shown = [wrapped(label, _LEGEND_LETTERS // columns) for label in labels]
    lines = sum(text.count("\n") + 1 for text in shown) / columns
    more = max(0.0, lines - _USUAL_LINES) * _LINE_INCHES  # the axes keep their height
    figure.set_figheight(figure.get_figheight() + more)
    figure.legend(
        artists,
        shown,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        labelspacing=0.3,
    )


def _shipped(label: str, codec: str) -> str | None:
    """Which of what linksim ships this is; None for another, or for a variant of it."""
    said = label.casefold()
    name = _FAMILIES.get(said, said)
    if name in FIXED:
        return name
    family = _FAMILIES.get(codec, codec)
    return family if family in FIXED and said == codec else None


def _variant(label: str, used: set[tuple[str, str]]) -> tuple[str, str]:
    """Colour and marker of a label of its own; they count as used from then on."""
    turned = _turned(label, _VARIANTS)
    (_, own_marker), colours = turned[0], {colour for colour, _ in used}
    choice = min(turned, key=lambda look: (look in used, look[0] in colours, look[1] != own_marker))
    used.add(choice)
    return choice


def _turned(label: str, choices: Sequence[T]) -> list[T]:
    """The choices, that which a label leads to first."""
    digest = hashlib.sha256(f"{_SALT}{label}".encode("utf-8", "replace")).digest()
    start = int.from_bytes(digest[:4], "big") if label else 0
    return [choices[(start + i) % len(choices)] for i in range(len(choices))]
