"""Points that others published: beside our curves in figures, never among our rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import pandas as pd
from pydantic import BeforeValidator, Field, model_validator

from linksim.errors import InputError
from linksim.files.tables import read_table
from linksim.metrics.table import COLUMNS
from linksim.settings import Cbr, Db, Settings

PUBLISHED_COLUMNS = ("label", "source", "metric", "snr_db", "cbr", "value")
"""Of ``published.csv``, and of a user's own file of published points."""


class Published(Settings):
    """A published curve: either its CBR is given and its points are (SNR in dB, value), or its SNR
    is given and its points are (CBR, value).

    source: who published it and where. metric: a column of quality, ``psnr`` or ``ms_ssim_db``.
    """

    label: str = Field(min_length=1)
    source: str = Field(min_length=1)
    metric: str = "psnr"
    cbr: Cbr | None = None
    snr_db: Db | None = None
    points: tuple[tuple[Cbr | float, float], ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_axis(self) -> Self:
        if (self.cbr is None) == (self.snr_db is None):
            raise ValueError(
                "one of cbr and snr_db must be given: that which all points share; the points are "
                "[SNR, value] or [CBR, value] then"
            )
        if self.metric not in COLUMNS:
            raise ValueError(f"metric {self.metric!r} is none; allowed are {', '.join(COLUMNS)}")
        return self


def published_table(curves: Sequence[Published]) -> pd.DataFrame:
    """Columns :data:`PUBLISHED_COLUMNS`, a line a point."""
    lines = [
        {
            "label": curve.label,
            "source": curve.source,
            "metric": curve.metric,
            "snr_db": float(x) if curve.snr_db is None else curve.snr_db,
            "cbr": float(x) if curve.cbr is None else curve.cbr,
            "value": value,
        }
        for curve in curves
        for x, value in curve.points
    ]
    return pd.DataFrame(lines, columns=list(PUBLISHED_COLUMNS))


def _listed(value: Any) -> Any:
    """A list of curves, one, or a CSV file of points."""
    if isinstance(value, str):
        return _read(Path(value))
    return [value] if isinstance(value, dict) else value


def _read(path: Path) -> list[dict[str, Any]]:
    """The curves of a CSV file with the columns of :data:`PUBLISHED_COLUMNS`."""
    table = read_table(
        path,
        PUBLISHED_COLUMNS,
        only=PUBLISHED_COLUMNS,
        text=("cbr",),
        mend="wanted is CSV with the columns " + ", ".join(PUBLISHED_COLUMNS),
    )
    if (table["source"] == "").any() or (table["label"] == "").any():
        raise InputError(f"{path}: every published point needs a label and a source")
    curves = []
    for at, points in table.groupby(["label", "source", "metric", "cbr"], sort=False):
        curve = dict(zip(("label", "source", "metric", "cbr"), at, strict=True))
        curves.append(curve | {"points": points[["snr_db", "value"]].to_numpy().tolist()})
    return curves


PublishedList = Annotated[tuple[Published, ...], BeforeValidator(_listed)]
"""A field of settings: published curves, or the name of a CSV file that holds them."""
