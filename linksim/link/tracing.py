"""Sionna RT: rays through a scene, to the paths of a site.

Nothing else in linksim imports Sionna RT, Mitsuba or Dr.Jit.
"""

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linksim.errors import InputError, one_line
from linksim.link.site_file import Site
from linksim.link.site_settings import Grid, TraceSettings

_MOST_LANES = 20_000_000  # rays, bounces and receivers at a time: some gigabytes of memory
_MARGIN_M, _PIXEL_M = 40.0, 1.0
_ABOVE_M = 1.0
_NEEDS = (
    "linksim trace needs Sionna RT and LLVM: pip install 'linksim[trace]', apt-get install "
    "libllvm19, and DRJIT_LIBLLVM_PATH=/usr/lib/x86_64-linux-gnu/libLLVM-19.so"
)

Floats = NDArray[np.float32]


def trace(settings: TraceSettings) -> Site:
    """The paths of a site; raises InputError for a scene that is none, for a position inside a
    building, and where Sionna RT or LLVM is missing."""
    rt = _sionna_rt()
    scene, digest = _load(rt, settings.scene)
    rays = _Rays(scene.mi_scene)
    positions, velocities = _receivers(settings, rays)
    transmitter = np.array(settings.transmitter, np.float32)
    _check_outdoors(rays, transmitter[None], "transmitter")
    _check_outdoors(rays, positions, "receivers")
    paths = _Paths.join(_traced(rt, scene, settings, positions, velocities))
    heights, corner = _heights(rays, np.concatenate([positions, transmitter[None]]))
    return Site(
        settings=settings.model_dump(mode="json", by_alias=True),
        scene_digest=digest,
        transmitter=transmitter,
        positions=positions,
        velocities=velocities,
        line_of_sight=rays.sees(transmitter, positions),
        **vars(paths),
        heights=heights,
        corner=corner,
        pixel_m=_PIXEL_M,
    )


def _sionna_rt() -> Any:
    try:
        with _silent():
            import drjit as dr
            import mitsuba as mi

            mi.set_variant("llvm_ad_mono_polarized")
            if float(dr.sum(mi.Float([1.0, 2.0]) * 2.0)[0]) != 6.0:
                raise ImportError("Dr.Jit computes nothing")
            import sionna.rt as rt
    except (ImportError, RuntimeError, AttributeError) as error:
        raise InputError(f"{_NEEDS} ({one_line(error)[:160]})") from None
    return rt


@contextmanager
def _silent() -> Iterator[None]:
    """Dr.Jit writes its own lines to stderr, beside the error that it raises."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _load(rt: Any, name: str) -> tuple[Any, str]:
    """A scene, and the digest of its files."""
    shipped = getattr(rt.scene, name, None) if name.isidentifier() else None
    path = Path(shipped) if isinstance(shipped, str | os.PathLike) else Path(name)
    if not path.is_file():
        known = sorted(key for key, value in vars(rt.scene).items() if isinstance(value, str)
                       and value.endswith(".xml"))  # fmt: skip
        raise InputError(f"scene {name!r}: no such file, and none of {', '.join(known)}")
    try:
        scene = rt.load_scene(str(path))
    except Exception as error:
        raise InputError(f"scene {path}: no scene: {one_line(error)[:200]}") from None
    digest = hashlib.sha256()
    for file in sorted(path.parent.rglob("*")):
        if file.is_file() and (file == path or file.suffix in (".ply", ".obj", ".serialized")):
            digest.update(file.relative_to(path.parent).as_posix().encode())
            digest.update(file.read_bytes())
    return scene, digest.hexdigest()


class _Rays:
    """Single rays through a Mitsuba scene."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        box = scene.bbox()
        self.top = float(box.max[2]) + 1.0

    def hits(self, origins: Floats, directions: Floats) -> Floats:
        """Distance to the first surface, [N]; infinite if there is none."""
        import mitsuba as mi

        ray = mi.Ray3f(o=mi.Point3f(origins.T.copy()), d=mi.Vector3f(directions.T.copy()))
        found = self._scene.ray_intersect_preliminary(ray)
        distances: Floats = np.where(
            found.is_valid().numpy(), np.array(found.t.numpy(), np.float32), np.inf
        ).astype(np.float32)
        return distances

    def under_the_sky(self, points: Floats) -> NDArray[np.bool_]:
        """Whether nothing is above each point [N, 3]."""
        up = np.tile(np.array([0, 0, 1], np.float32), (len(points), 1))
        return np.isinf(self.hits(points, up))

    def height(self, xy: Floats) -> Floats:
        """Of the highest surface at points [N, 2], in metres; NaN where there is none."""
        above = np.column_stack([xy, np.full(len(xy), self.top, np.float32)]).astype(np.float32)
        down = np.tile(np.array([0, 0, -1], np.float32), (len(xy), 1))
        heights: Floats = (self.top - self.hits(above, down)).astype(np.float32)
        return np.where(np.isfinite(heights), heights, np.float32(np.nan))

    def sees(self, point: Floats, others: Floats) -> NDArray[np.bool_]:
        """Whether nothing is between a point [3] and each of others [N, 3]."""
        way = others - point
        length = np.linalg.norm(way, axis=1)
        reached = self.hits(np.tile(point, (len(others), 1)), (way / length[:, None]))
        seen: NDArray[np.bool_] = reached > length - 1e-2
        return seen


def _check_outdoors(rays: _Rays, points: Floats, what: str) -> None:
    inside = ~rays.under_the_sky(points)
    if inside.any():
        x, y, z = points[inside.argmax()].tolist()
        more = f", and {inside.sum() - 1} more" if inside.sum() > 1 else ""
        raise InputError(
            f"{what}: position [{x:g}, {y:g}, {z:g}] is inside a building or under a roof{more}"
        )


def _receivers(settings: TraceSettings, rays: _Rays) -> tuple[Floats, Floats]:
    """Positions and velocities, [P, 3]."""
    receivers = settings.receivers
    if receivers.points is not None:
        positions = np.array(receivers.points, np.float32)
        return positions, np.zeros_like(positions)
    if receivers.line is not None:
        line = receivers.line
        start, stop = np.array(line.start), np.array(line.stop)
        length = float(np.linalg.norm(stop - start))
        steps = np.arange(0, length + 1e-6, line.spacing_m)[:, None]
        heading = (stop - start) / max(length, 1e-9)
        positions = (start + steps * heading).astype(np.float32)
        return positions, np.tile(line.speed_mps * heading, (len(steps), 1)).astype(np.float32)
    assert receivers.grid is not None  # the settings see to that
    return _grid(receivers.grid, rays, settings.seed)


def _grid(grid: Grid, rays: _Rays, seed: int) -> tuple[Floats, Floats]:
    axes = [
        middle + np.arange(-size / 2, size / 2 + 1e-6, grid.spacing_m)
        for middle, size in zip(grid.center, grid.size_m, strict=True)
    ]
    xy = np.stack(np.meshgrid(*axes, indexing="xy"), axis=-1).reshape(-1, 2).astype(np.float32)
    ground = rays.height(xy)
    low = np.nanmin(ground) if np.isfinite(ground).any() else np.nan
    open_sky = ground < low + _ABOVE_M
    points = np.column_stack([xy, ground + grid.height_m])[open_sky].astype(np.float32)
    if not len(points):
        raise InputError("receivers.grid: no point of it is under the open sky")
    rng = np.random.default_rng(seed)
    if grid.count is not None and grid.count < len(points):
        points = points[rng.choice(len(points), grid.count, replace=False)]
    turns = rng.uniform(0, 2 * np.pi, len(points))
    headings = np.column_stack([np.cos(turns), np.sin(turns), np.zeros(len(points))])
    return points, (grid.speed_mps * headings).astype(np.float32)


def _heights(rays: _Rays, points: Floats) -> tuple[NDArray[np.uint8], Floats]:
    """What stands round the points, in metres, and the corner of that map."""
    low = np.floor(points[:, :2].min(axis=0) - _MARGIN_M)
    high = np.ceil(points[:, :2].max(axis=0) + _MARGIN_M)
    xs, ys = (np.arange(a, b, _PIXEL_M) + _PIXEL_M / 2 for a, b in zip(low, high, strict=True))
    xy = np.stack(np.meshgrid(xs, ys, indexing="xy"), axis=-1).reshape(-1, 2).astype(np.float32)
    heights = np.nan_to_num(rays.height(xy), nan=0.0).clip(0, 255).round().astype(np.uint8)
    return heights.reshape(len(ys), len(xs)), low.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class _Paths:
    """Those of some positions, as in :class:`linksim.link.site_file.Site`."""

    counts: NDArray[np.int32]
    gains: NDArray[np.complex64]
    delays: Floats
    dopplers: Floats
    tx_turns: Floats
    rx_turns: Floats

    @classmethod
    def join(cls, parts: "Iterator[_Paths]") -> "_Paths":
        """All parts one after the other."""
        columns = zip(*(vars(part).items() for part in parts), strict=True)
        return cls(**{each[0][0]: np.concatenate([v for _, v in each]) for each in columns})


def _traced(
    rt: Any, scene: Any, settings: TraceSettings, positions: Floats, velocities: Floats
) -> Iterator[_Paths]:
    """The paths of a few positions at a time."""
    scene.frequency = settings.carrier_ghz * 1e9
    for name, count in (("tx_array", settings.arrays.tx), ("rx_array", settings.arrays.rx)):
        array = rt.PlanarArray(
            num_rows=1,
            num_cols=count,
            vertical_spacing=0.5,
            horizontal_spacing=0.5,
            pattern="iso",
            polarization="V",
        )
        setattr(scene, name, array)
    scene.add(rt.Transmitter("transmitter", position=list(settings.transmitter)))
    solver = rt.PathSolver(deterministic=True)
    together = max(1, _MOST_LANES // (settings.rays * max(1, settings.max_depth)))
    for start in range(0, len(positions), together):
        names = []
        for place in range(start, min(start + together, len(positions))):
            names.append(f"receiver {place}")
            scene.add(
                rt.Receiver(
                    names[-1],
                    position=positions[place].tolist(),
                    velocity=velocities[place].tolist(),
                )
            )
        paths = solver(
            scene,
            max_depth=settings.max_depth,
            samples_per_src=settings.rays,
            synthetic_array=True,
            refraction=False,
            diffraction=settings.diffraction,
            seed=settings.seed,
        )
        gains, delays = paths.cir(normalize_delays=False, out_type="numpy")
        dopplers = np.array(paths.doppler.numpy())
        for name in names:
            scene.remove(name)
        for gain, delay, doppler in zip(
            gains[:, :, 0, :, :, 0], delays[:, 0], dopplers[:, 0], strict=True
        ):
            yield _kept(gain, delay, doppler, settings.floor_db)


def _kept(gain: NDArray[Any], delay: NDArray[Any], doppler: NDArray[Any], floor: float) -> _Paths:
    """Of one position's paths, gains [rx, tx, K], those that are not too weak."""
    power = np.abs(gain[0, 0]) ** 2
    kept = (delay >= 0) & (power > 0)
    kept &= power >= power.max(initial=0.0, where=kept) * 10 ** (-floor / 10)
    kept_gain, delay = gain[:, :, kept], delay[kept]
    first = kept_gain[0, 0]
    tx_turn = np.angle(kept_gain[0, 1] / first) if gain.shape[1] > 1 else np.zeros(len(first))
    rx_turn = np.angle(kept_gain[1, 0] / first) if gain.shape[0] > 1 else np.zeros(len(first))
    return _Paths(
        counts=np.array([len(first)], np.int32),
        gains=first.astype(np.complex64),
        delays=(delay - delay.min(initial=np.inf)).astype(np.float32),
        dopplers=doppler[kept].astype(np.float32),
        tx_turns=tx_turn.astype(np.float32),
        rx_turns=rx_turn.astype(np.float32),
    )
