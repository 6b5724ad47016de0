"""Fonts for whatever script a label is written in."""

import logging
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

BASE = "DejaVu Sans"
"""Comes with matplotlib: the same on every machine."""

_PREFERRED = ("Noto Sans", "Source Han Sans", "WenQuanYi", "IPA", "Nanum", "FreeSans", "Unifont")
_log = logging.getLogger(__name__)


def families_for(texts: Iterable[str]) -> list[str]:
    """The fonts to draw these texts with: the base font and, for letters that it lacks, installed
    ones that have them. One line is logged about letters that no font here has."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    wanted = {letter for text in texts for letter in text if _is_drawn(letter)}
    wanted -= _letters(font_manager.findfont(BASE))
    families = [BASE]
    for path in _installed(wanted):
        covered = wanted & _letters(path)
        if covered:
            font_manager.fontManager.addfont(path)
            families.append(FT2Font(path).family_name)
            wanted -= covered
        if not wanted:
            break
    if wanted:
        shown = "".join(sorted(wanted)[:10])
        _log.warning(
            "figures: no installed font has %s (%d letters in all); boxes stand for them. Install "
            "one that does, such as Noto (Debian: fonts-noto-core, fonts-noto-cjk)",
            shown,
            len(wanted),
        )
    return families


def _is_drawn(letter: str) -> bool:
    return unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Zs", "Zl", "Zp")


def _installed(wanted: set[str]) -> Iterator[str]:
    """Paths of the fonts here, the usual ones for many scripts first; none if none is wanted."""
    if not wanted:
        return
    from matplotlib import font_manager

    paths = sorted(set(font_manager.findSystemFonts()), key=lambda p: (_rank(p), len(p), p))
    yield from paths


def _rank(path: str) -> int:
    name = Path(path).name.replace("-", "").replace(" ", "").casefold()
    plain = 0 if not any(word in name for word in ("bold", "italic", "oblique", "mono")) else 100
    known = [word.replace(" ", "").casefold() for word in _PREFERRED]
    return plain + next((i for i, word in enumerate(known) if word in name), len(known))


@lru_cache(maxsize=1024)
def _letters(path: str) -> frozenset[str]:
    """All that a font can draw; nothing for one that cannot be read."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError, ValueError):
        return frozenset()
