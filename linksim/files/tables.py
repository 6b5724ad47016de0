"""Tables on disk: one writer and one reader, so that columns come back with the types they had.

In a CSV file that linksim writes, text stands in quotes and nothing else does, so that ``"7"``,
``"0.10"``, ``"NA"`` and ``"nan"`` stay text. In one that a user made, the columns that
:data:`TEXT_COLUMNS` names are text in any case. Parquet keeps types by itself.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv, parquet

from linksim.errors import InputError, one_line
from linksim.files import write_atomically

TEXT_COLUMNS = frozenset(
    (
        *("label", "reference", "codec", "channel", "snr_knowledge", "image", "file"),
        *("quantity", "unit", "metric", "source", "ms_ssim_variant"),
    )
)
"""Columns that hold text, with or without quotes."""

WHOLE_COLUMNS = frozenset(
    ("images", "count", "pairs", "trial", "side", "step", "seed", "trainings")
)
"""Columns that hold whole numbers; all others hold floats or truth values."""

MAYBE_WHOLE_COLUMNS = frozenset(("parameters", "macs", "scan_macs"))
"""Columns of whole numbers that can be missing."""

AGAIN = "'python -m linksim run' writes it again"

_FIELD = re.compile(r'("(?:[^"]|"")*"|[^,"\r\n]*)(,|\r?\n|$)')
_MISSING = ["", "nan", "NaN"]
_BLOCK_BYTES = 2**26


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV or Parquet, by the path's suffix, whole or not at all."""
    if path.suffix == ".parquet":
        write_atomically(path, lambda temporary: table.to_parquet(temporary, index=False))
        return
    texts = [name for name in table if pd.api.types.is_string_dtype(table[name])]
    arrow = pa.Table.from_pandas(table.fillna(dict.fromkeys(texts, "")), preserve_index=False)
    write_atomically(path, lambda temporary: csv.write_csv(arrow, temporary))


def read_table(
    path: Path,
    needed: Sequence[str] = (),
    *,
    only: Collection[str] | None = None,
    text: Collection[str] = (),
    mend: str = AGAIN,
) -> pd.DataFrame:
    """Read what :func:`write_table` wrote, or a table that a user made.

    needed: columns that must be there. only: what to keep, where other columns are nobody's
    business. text: more columns that hold text. mend: what to do about a bad one. Raises InputError
    for a file that is no table, that has no lines, lacks a column or holds words where numbers
    belong.
    """
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else _read_csv(path, only, text)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {mend}") from None
    except Exception as error:  # a damaged file can raise anything
        raise InputError(f"{path}: not a readable table ({one_line(error)}); {mend}") from None
    missing = [name for name in needed if name not in table]
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing)}; {mend}")
    if table.empty:
        raise InputError(f"{path}: the table has no lines; {mend}")
    return table


def read_parquets(paths: Sequence[Path]) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """Many Parquet files as one table, quickly, and of each row which of them it comes from.

    A column that one of them lacks is missing there. Raises InputError for a damaged file.
    """
    tables = []
    for path in paths:
        try:
            with parquet.ParquetFile(path) as file:
                tables.append(file.read(use_threads=False))
        except Exception as error:  # a damaged file can raise anything
            raise InputError(f"{path}: not a readable table ({one_line(error)})") from None
    lines = [table.num_rows for table in tables]
    whole = pa.concat_tables(tables, promote_options="permissive").to_pandas()
    return whole, np.repeat(np.arange(len(tables)), lines)


def _read_csv(path: Path, only: Collection[str] | None, text: Collection[str]) -> pd.DataFrame:
    with path.open(encoding="utf-8-sig", newline="") as file:
        records = _records(file.read(_BLOCK_BYTES))
    names = [_unquoted(field) for field in next(records, [])]
    firsts = next(records, [])
    quoted = {name for name, first in zip(names, firsts, strict=False) if first.startswith('"')}
    texts = quoted.union(TEXT_COLUMNS, text).intersection(names)
    arrow = csv.read_csv(
        path,
        read_options=csv.ReadOptions(block_size=_BLOCK_BYTES),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(texts, pa.string()),
            include_columns=[name for name in names if only is None or name in only],
            null_values=_MISSING,
            strings_can_be_null=False,
        ),
    )
    return pd.DataFrame(
        {
            name: column.to_pandas() if name in texts else _numbers(path, name, column)
            for name, column in zip(arrow.column_names, arrow.columns, strict=True)
        }
    )


def _numbers(path: Path, name: str, column: pa.ChunkedArray) -> "pd.Series[float]":
    """A column that is no text, as truth values, whole numbers or floats."""
    if pa.types.is_boolean(column.type):
        truth: pd.Series[float] = column.to_pandas()
        return truth
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)) and (
        column.null_count < len(column)
    ):
        word = next(value for value in column.to_pylist() if not _is_number(str(value)))
        raise InputError(f"{path}: column {name}: {str(word)!r} is no number")
    if name in MAYBE_WHOLE_COLUMNS:
        return pd.Series(column.to_pandas(), dtype="Int64")
    whole = name in WHOLE_COLUMNS and pa.types.is_integer(column.type) and not column.null_count
    numbers: pd.Series[float] = column.to_pandas().astype("int64" if whole else "float64")
    return numbers


def _records(text: str) -> Iterator[list[str]]:
    """The fields of each line of CSV as they stand there, quotes and all."""
    fields: list[str] = []
    place = 0
    while place < len(text) and (match := _FIELD.match(text, place)):
        fields.append(match[1])
        place = match.end()
        if match[2] != ",":
            yield fields
            fields = []


def _unquoted(field: str) -> str:
    return field[1:-1].replace('""', '"') if field.startswith('"') else field


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return word in _MISSING
    return True
