"""Published points: from the scenario into the figure, with their source, and nowhere else."""

from pathlib import Path

import pandas as pd
import pytest
from pydantic import TypeAdapter, ValidationError

from linksim.files.tables import read_table, write_table
from linksim.metrics.table import COLUMNS
from linksim.plot.curves import curve_figure
from linksim.plot.facets import against_cbr, against_snr
from linksim.plot.look import codec_looks, published_looks
from linksim.plot.published import points_over, read_published
from linksim.sweep.published import PublishedList, published_table
from tests.plot.test_labels import summary_of

CURVE = {"label": "SwinJSCC", "source": "Yang et al., Fig. 5", "cbr": "1/12"}
POINTS = [[1, 27.2], [4, 28.9]]


def table(value: object) -> pd.DataFrame:
    return published_table(TypeAdapter(PublishedList).validate_python(value))


def test_they_are_drawn_as_points_with_their_source(tmp_path: Path) -> None:
    write_table(tmp_path / "published.csv", table([CURVE | {"points": POINTS}]))
    summary = summary_of(["SwinJSCC"])
    (facet,) = against_snr(summary)
    looks = codec_looks(summary)
    points = points_over(read_published(tmp_path), facet, COLUMNS["psnr"])
    figure = curve_figure(facet, COLUMNS["psnr"], looks, published=points)
    names = [text.get_text().replace("\n", "") for text in figure.legends[0].get_texts()]
    assert names == ["SwinJSCC", "SwinJSCC (published: Yang et al., Fig. 5)"]
    (line,) = (line for line in figure.axes[0].get_lines() if line.get_linestyle() == "None")
    assert line.get_xydata().tolist() == POINTS
    assert line.get_color() == looks["SwinJSCC"].colour


def test_no_two_published_curves_look_alike() -> None:
    """Two of these names lead to one colour and marker."""
    looks = codec_looks(summary_of(["SwinJSCC", "Mine"]))
    names = ["BPG + LDPC, 4QAM 1/3", "BPG + LDPC, 4QAM 1/2", "Mine", "WITT"]
    found = published_looks(names, looks)
    assert found["Mine"] == looks["Mine"]
    assert len(set(found.values()) | set(looks.values())) == 5


def test_only_those_at_what_the_figure_fixes() -> None:
    published = table(
        [
            CURVE | {"points": POINTS},
            CURVE | {"cbr": "1/16", "points": POINTS},
            CURVE | {"metric": "ms_ssim_db", "points": POINTS},
            {"label": "x", "source": "y", "snr_db": 7, "points": [["1/48", 25.0], [0.0833, 27]]},
        ]
    )
    (facet,) = against_snr(summary_of(["a"]))
    points = points_over(published, facet, COLUMNS["psnr"])
    assert points[["snr_db", "value"]].to_numpy().tolist() == [*POINTS, [7, 27]]
    summary = summary_of(["a"])
    both = pd.concat([summary, summary.assign(cbr=1 / 48, cbr_realised=1 / 48)])
    (seven,) = (f for f in against_cbr(both) if f.lines["snr_db"].iloc[0] == 7)
    assert points_over(published, seven, COLUMNS["psnr"])["value"].tolist() == [25.0, 27.0]


def test_a_csv_file_of_points(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(
        "label,source,metric,snr_db,cbr,value,remark\n"
        '7,"A, 2021",psnr,1,1/16,27,read off\n7,"A, 2021",psnr,4,1/16,29,\n'
    )
    found = table(str(path))
    assert found["label"].tolist() == ["7", "7"]
    assert found["cbr"].tolist() == [1 / 16] * 2
    assert found["value"].tolist() == [27, 29]
    write_table(tmp_path / "published.csv", found)
    assert read_table(tmp_path / "published.csv").equals(found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": ""}, "source"),
        ({"cbr": None}, "one of cbr and snr_db must be given"),
        ({"snr_db": 3}, "one of cbr and snr_db must be given"),
        ({"metric": "pnsr"}, "metric 'pnsr' is none"),
        ({"points": []}, "points"),
    ],
)
def test_bad_ones_are_told(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        table([CURVE | {"points": POINTS} | change])


def test_points_with_no_source_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("label,source,metric,snr_db,cbr,value\nA,,psnr,1,1/16,27\n")
    with pytest.raises(ValidationError, match="needs a label and a source"):
        table(str(path))
    path.write_text("label,metric,snr_db,cbr,value\nA,psnr,1,1/16,27\n")
    with pytest.raises(ValidationError, match="no column source; wanted is CSV with the columns"):
        table(str(path))
