"""Rows arranged by point and image, so that a statistic of all points is one expression."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linksim.errors import InputError
from linksim.results.intervals import Array, Spread, over_trainings

POINT_COLUMNS = ("label", "channel", "snr_db", "cbr")


def point_columns(rows: pd.DataFrame) -> list[str]:
    """The columns that tell points apart: label, channel, snr_db, cbr and, if set, snr_knowledge.

    Raises InputError where a needed column is missing.
    """
    missing = [name for name in (*POINT_COLUMNS, "image") if name not in rows]
    if missing:
        raise InputError(f"rows: no column {', '.join(missing)}; found {', '.join(rows.columns)}")
    return [*POINT_COLUMNS, *(["snr_knowledge"] if "snr_knowledge" in rows else [])]


def codes(table: pd.DataFrame, by: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each row's group by some columns, numbered as they first appear, and each group's first row.

    A missing value is a value like any other.
    """
    code = np.zeros(len(table), dtype=np.int64)
    for name in by:
        own, values = pd.factorize(table[name], use_na_sentinel=False)
        code, _ = pd.factorize(code * len(values) + own)
    _, first = np.unique(code, return_index=True)
    return code.astype(np.int64), first.astype(np.int64)


@dataclass(frozen=True)
class Cells:
    """Which cell [images, points] each row belongs to.

    training: which of its codec's each row is. first: the number of each point's first row.
    """

    point: NDArray[np.int64]
    image: NDArray[np.int64]
    training: NDArray[np.int64]
    first: NDArray[np.int64]
    images: int

    @classmethod
    def of(cls, rows: pd.DataFrame) -> "Cells":
        """Of all points of a table; raises InputError where a column is missing."""
        point, first = codes(rows, point_columns(rows))
        image, images = pd.factorize(rows["image"])
        return cls(point, image.astype(np.int64), trainings(rows), first, len(images))

    def sums(self, values: "NDArray[np.float64] | pd.Series[float]") -> Array:
        """[images, points]; NaN where a value is no finite number, for it cannot be added up."""
        return self._sums(values, self.image, self.images)

    def counts(self) -> Array:
        """How many rows each cell has, [images, points]."""
        return self.sums(np.ones(len(self.point)))

    def over_trainings(self, values: "NDArray[np.float64] | pd.Series[float]") -> list[Spread]:
        """How the means of points differ between trainings; nothing where all have one."""
        number = int(self.training.max(initial=0)) + 1
        if number == 1:
            return []
        counts = self._sums(np.ones(len(self.point)), self.training, number)
        return [over_trainings(self._sums(values, self.training, number), counts)]

    def _sums(
        self,
        values: "NDArray[np.float64] | pd.Series[float]",
        row: NDArray[np.int64],
        rows: int,
    ) -> Array:
        """[rows, points], of values that belong to a ``row``."""
        numbers = np.asarray(values, dtype=np.float64)
        numbers = np.where(np.isfinite(numbers), numbers, np.nan)
        cell = row * len(self.first) + self.point
        sums = np.bincount(cell, weights=numbers, minlength=rows * len(self.first))
        return sums.astype(np.float64).reshape(rows, len(self.first))


def trainings(rows: pd.DataFrame) -> NDArray[np.int64]:
    """Which of its codec's trainings each row is, from 0; [rows]."""
    if "seed" not in rows:
        return np.zeros(len(rows), dtype=np.int64)
    return rows["seed"].to_numpy(np.int64)
