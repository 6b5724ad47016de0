"""Tables come back as they were written: types, odd names, missing values, other people's files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linksim.errors import InputError
from linksim.files.tables import read_table, write_table

LABELS = [
    *("N/A", "NA", "None", "nan", "NaN", "7", "13", "0.10", "1e3", "inf", "True", "2024-01-01"),
    *("_x", "a $x_$ b", "[red]x[/blue]", 'a, "b"', "'", "\\", " x ", "#1", "我们的方法", "", "-"),
    *("two\nlines", "two\r\nlines", "a\rb", "\ufeffa", "a\tb", "L" * 5000),
]


def _table(labels: list[str]) -> pd.DataFrame:
    lines = len(labels)
    return pd.DataFrame(
        {
            "label": labels,
            "note": labels,  # a column of text that no list names
            "is_bound": [i % 2 == 0 for i in range(lines)],
            "snr_db": np.arange(lines, dtype=np.float64),
            "psnr": np.random.default_rng(0).normal(size=lines),
            "psnr_lo": [np.nan] * lines,
            "psnr_hi": [np.inf] * lines,
            "images": [24] * lines,
            "macs": pd.array([None, *range(1, lines)], dtype="Int64"),
        }
    )


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_every_column_comes_back_with_its_type(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t.{suffix}"
    write_table(path, _table(LABELS))
    pd.testing.assert_frame_equal(read_table(path), _table(LABELS))
    for label in LABELS:  # each of them first, where types are told by it
        write_table(path, _table([label, "b"]))
        pd.testing.assert_frame_equal(read_table(path), _table([label, "b"]))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=("Cs",))), min_size=1, max_size=5))
def test_any_label_comes_back(tmp_path_factory: pytest.TempPathFactory, labels: list[str]) -> None:
    path = tmp_path_factory.mktemp("any") / "t.csv"
    write_table(path, _table(labels))
    pd.testing.assert_frame_equal(read_table(path), _table(labels))


def test_a_table_that_a_user_made_needs_no_quotes(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbflabel,snr_db,psnr,is_bound,remark\r\nNA,1,,False,2021-03-01\r\n")
    kept = read_table(path, only=("label", "snr_db", "psnr", "is_bound"))
    (line,) = kept.to_dict("records")
    assert (line["label"], line["snr_db"], line["is_bound"]) == ("NA", 1.0, False)
    assert np.isnan(line["psnr"])
    with pytest.raises(InputError, match=r"column remark: '2021-03-01' is no number"):
        read_table(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "not a readable table"),
        ("t.csv", b"\xff\xfe\x00", "not a readable table"),
        ("t.csv", b"label,psnr\na,1,2\n", "not a readable table"),
        ("t.csv", b"label,psnr\na,b\n", "column psnr: 'b' is no number"),
        ("t.csv", b"label\n", "no column psnr; 'python -m linksim run' writes it again"),
        ("t.csv", b"label,psnr\n", "the table has no lines"),
        ("t.parquet", b"PAR1 and then nothing", "not a readable table"),
        ("t.parquet", b"", "not a readable table"),
    ],
)
def test_what_is_no_table_is_told(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as told:
        read_table(path, ["label", "psnr"])
    assert message in str(told.value)
    assert "\n" not in str(told.value)
    with pytest.raises(InputError, match="no such file"):
        read_table(tmp_path / "none.csv")
