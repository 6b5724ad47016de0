"""What a SITE.yaml says: a scene, a transmitter, and where the receivers are."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, PositiveInt, model_validator

from linksim.settings import Name, Settings, load_settings

_MOST_POSITIONS = 10_000
_Metres = Annotated[float, Field(ge=-1e5, le=1e5, allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, le=1e5, allow_inf_nan=False)]
_Speed = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]
Point = tuple[_Metres, _Metres, _Metres]


class Arrays(Settings):
    """Antennas at either end: rows of isotropic ones, half a wavelength apart, from south to north
    at the transmitter and at the receiver."""

    tx: PositiveInt = Field(default=1, le=16)
    rx: PositiveInt = Field(default=1, le=16)


class Line(Settings):
    """Positions every ``spacing_m`` from one point to another, along which the receiver moves."""

    start: Point = Field(alias="from")
    stop: Point = Field(alias="to")
    spacing_m: _Positive = 2.0
    speed_mps: _Speed = 0.0


class Grid(Settings):
    """Positions under the open sky of a rectangle; each moves where chance sends it.

    center: x and y of the middle. size_m: from west to east, and from south to north.
    height_m: over the ground. count: so many of them, drawn by the seed, in the order drawn: the
    first ones are a sample of the street too; all, row by row, if left out.
    """

    center: tuple[_Metres, _Metres]
    size_m: tuple[_Positive, _Positive]
    spacing_m: _Positive
    height_m: _Positive = 1.5
    count: PositiveInt | None = Field(default=None, le=_MOST_POSITIONS)
    speed_mps: _Speed = 0.0

    @model_validator(mode="after")
    def _not_too_many(self) -> Self:
        points = (self.size_m[0] / self.spacing_m + 1) * (self.size_m[1] / self.spacing_m + 1)
        if points > 1e6:
            raise ValueError(f"{points:,.0f} points of a grid; at most 1,000,000 are allowed")
        return self


class Receivers(Settings):
    """Where the receivers are: one of ``list``, ``line`` and ``grid``."""

    points: Annotated[tuple[Point, ...], Field(min_length=1, max_length=_MOST_POSITIONS)] | None = (
        Field(default=None, alias="list")
    )
    line: Line | None = None
    grid: Grid | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [value for value in (self.points, self.line, self.grid) if value is not None]
        if len(given) != 1:
            raise ValueError(f"{len(given)} of list, line and grid; wanted is one of them")
        return self


class TraceSettings(Settings):
    """A site to trace.

    scene: one that comes with Sionna RT, such as ``munich``, or a Mitsuba file.
    transmitter: x, y and z in metres. max_depth: bounces of a path, at most.
    diffraction: whether paths bend round edges. rays: from the transmitter.
    floor_db: paths so far below a position's strongest are left out.
    """

    name: Name
    scene: str
    transmitter: Point
    carrier_ghz: float = Field(default=3.5, ge=0.5, le=100)
    arrays: Arrays = Arrays()
    receivers: Receivers
    max_depth: int = Field(default=4, ge=0, le=20)
    diffraction: bool = True
    rays: PositiveInt = Field(default=1_000_000, le=100_000_000)
    floor_db: float = Field(default=30.0, gt=0, le=100)
    seed: int = Field(default=1, ge=0, lt=2**31)


def load_trace(path: Path) -> TraceSettings:
    """Read and validate a SITE.yaml; raises InputError."""
    return load_settings(path, TraceSettings)
