"""Which published points belong into a figure."""

from pathlib import Path

import pandas as pd

from linksim.files.tables import read_table
from linksim.metrics.table import Column
from linksim.plot.facets import Facet
from linksim.sweep.published import PUBLISHED_COLUMNS

_SAME_CBR = 0.02  # publications round
_SAME_SNR_DB = 0.05


def read_published(folder: Path) -> pd.DataFrame:
    """The ``published.csv`` of a result folder, with no lines where there is none; raises
    InputError."""
    path = folder / "published.csv"
    if not path.is_file():
        return pd.DataFrame(columns=list(PUBLISHED_COLUMNS))
    return read_table(path, PUBLISHED_COLUMNS)


def points_over(published: pd.DataFrame, facet: Facet, column: Column) -> pd.DataFrame:
    """Those of a column at what is fixed in a facet, with its ``x``; over the SNR or the CBR."""
    points = published[published["metric"] == column.name]
    if facet.x == "snr_db":
        cbr = float(facet.lines["cbr"].iloc[0])
        return points[(points["cbr"] / cbr - 1).abs() <= _SAME_CBR].sort_values("snr_db")
    if facet.x == "cbr_realised":
        snr_db = float(facet.lines["snr_db"].iloc[0])
        near = points[(points["snr_db"] - snr_db).abs() <= _SAME_SNR_DB]
        return near.assign(cbr_realised=near["cbr"]).sort_values("cbr")
    return points.iloc[:0]
