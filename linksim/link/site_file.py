"""A traced site: the paths from one transmitter to the positions of a street, in one npz file."""

import hashlib
import json
import zipfile
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linksim.errors import InputError
from linksim.files import write_atomically

SITES = Path(__file__).parents[1] / "data" / "sites"
"""Where the shipped sites lie."""

NO_PATH_DB = -100.0
"""The SNR where nothing arrives: picture quality is that of noise."""

Floats = NDArray[np.float32]

_FORMAT = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Site:
    """Paths to P positions, K of them in all, the positions' one after the other.

    settings: of the trace, as its file says them. scene_digest: SHA-256 of the scene's files.
    transmitter: [3], in metres. positions, velocities: [P, 3], in metres and m/s.
    line_of_sight: bool [P]. counts: int32 [P], how many paths each position has; 0 is an outage.
    gains: complex64 [K], amplitudes over isotropic antennas, from first antenna to first.
    delays: [K], in seconds after the position's first path. dopplers: [K], in Hz.
    tx_turns, rx_turns: [K], phase from each antenna of the row to the next, in radians.
    heights: uint8 [rows, columns], of what stands there in metres, from south to north and from
        west to east. corner: [2], the south-western one of the map, in metres; pixel_m: a side.
    """

    settings: dict[str, Any]
    scene_digest: str
    transmitter: Floats
    positions: Floats
    velocities: Floats
    line_of_sight: NDArray[np.bool_]
    counts: NDArray[np.int32]
    gains: NDArray[np.complex64]
    delays: Floats
    dopplers: Floats
    tx_turns: Floats
    rx_turns: Floats
    heights: NDArray[np.uint8]
    corner: Floats
    pixel_m: float

    @property
    def array(self) -> tuple[int, int]:
        """Antennas of the transmitter and of the receiver, for which the turns hold."""
        arrays = self.settings["arrays"]
        return int(arrays["tx"]), int(arrays["rx"])

    def paths_of(self, position: int) -> slice:
        """Those of one position."""
        end = int(self.counts[: position + 1].sum())
        return slice(end - int(self.counts[position]), end)

    @property
    def digest(self) -> str:
        """SHA-256 of all that is in it."""
        found = hashlib.sha256(_header(self).encode())
        for name, array in _arrays(self).items():
            found.update(f"{name}{array.dtype.str}{array.shape}".encode())
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()


def site_names() -> list[str]:
    """Names of the shipped sites, sorted."""
    return sorted(path.stem for path in SITES.glob("*.npz"))


def site_path(name: str | Path) -> Path:
    """A site's file, or the shipped one of that name; raises InputError."""
    path = Path(name)
    if path.suffix or len(path.parts) != 1:
        return path
    if path.name not in site_names():
        raise InputError(
            f"site {str(name)!r}: no site of that name comes with linksim; there are "
            f"{', '.join(site_names())}, or name a file of linksim trace, such as my_site.npz"
        )
    return SITES / f"{path.name}.npz"


def write_site(path: Path, site: Site) -> None:
    """Write a site with its digest; raises InputError where the disk refuses."""
    arrays = _arrays(site)
    arrays |= {"header": np.array(_header(site)), "digest": np.array(site.digest)}

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    write_atomically(path, write)


def load_site(name: str | Path) -> Site:
    """Read a site's file, or the shipped one of that name; raises InputError for what is none."""
    path = site_path(name)
    try:
        stamp = path.stat().st_mtime_ns
    except OSError as error:
        raise InputError(f"site {path}: {error.strerror}") from None
    return _read(path, stamp)


@lru_cache(maxsize=8)
def _read(path: Path, stamp: int) -> Site:
    try:
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(str(file["header"]))
            version = header.pop("format")
            site = Site(**header, **{name: file[name] for name in _array_names()})
            digest = str(file["digest"])
    except (OSError, ValueError, KeyError, TypeError, IndexError, zipfile.BadZipFile):
        raise InputError(f"site {path}: no site that linksim trace wrote") from None
    if version != _FORMAT or site.digest != digest:
        raise InputError(
            f"site {path}: damaged or of another version of linksim; its SHA-256 is not what was "
            "written; trace it again"
        )
    return site


def _array_names() -> list[str]:
    plain = ("settings", "scene_digest", "pixel_m")
    return [field.name for field in fields(Site) if field.name not in plain]


def _arrays(site: Site) -> dict[str, NDArray[Any]]:
    return {name: getattr(site, name) for name in _array_names()}


def _header(site: Site) -> str:
    header = {"format": _FORMAT, "settings": site.settings, "scene_digest": site.scene_digest}
    return json.dumps({**header, "pixel_m": site.pixel_m}, sort_keys=True)
