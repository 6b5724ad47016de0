"""Labels are text from the scenario's rows to the legend, and never share a file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linksim.files import distinct_slugs
from linksim.files.tables import read_table, write_table
from linksim.metrics.table import COLUMNS
from linksim.plot.curves import FAILED, curve_figure
from linksim.plot.draw import figure_style, plot_results
from linksim.plot.facets import against_snr
from linksim.plot.look import codec_looks, wrapped
from linksim.results.stats import summarise
from tests.helpers.rows import row

ODD = [
    *("N/A", "NA", "None", "nan", "7", "0.10", "_x", "__", "_child3", "a $x_$ b", "$", "[red]x"),
    *("a [/] b", 'a, "b"', "O'Neil", "a\\b", "我们的方法", "基线", "نموذج", "α-β", "é", "%s{x}"),
]


def summary_of(labels: list[str], psnr: float = 30.0) -> pd.DataFrame:
    """What summarising some rows of these labels gives."""
    lines = [
        row(
            label,
            codec="./g.py:G",
            image=f"i{image}",
            snr_db=snr_db,
            psnr=psnr + image + snr_db,
        )
        for label in labels
        for snr_db in (1.0, 7.0)
        for image in range(3)
    ]
    return summarise(pd.DataFrame(lines))


def legend(summary: pd.DataFrame) -> list[str]:
    (facet,) = against_snr(summary)
    figure = curve_figure(facet, COLUMNS["psnr"], codec_looks(summary))
    return [text.get_text().replace("\n", "") for text in figure.legends[0].get_texts()]


def through_a_file(summary: pd.DataFrame, folder: Path) -> pd.DataFrame:
    write_table(folder / "summary.csv", summary)
    return read_table(folder / "summary.csv")


def test_odd_labels_reach_the_legend(tmp_path: Path) -> None:
    assert legend(through_a_file(summary_of(ODD), tmp_path)) == ODD


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=1, max_size=12),
        min_size=1,
        max_size=4,
        unique=True,
    )
)
def test_any_label_reaches_the_legend(
    tmp_path_factory: pytest.TempPathFactory, labels: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("labels")
    assert legend(through_a_file(summary_of(labels), folder)) == labels


@pytest.mark.filterwarnings("error")
def test_they_can_be_drawn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Dollar signs are no formula; letters that no font here has are told in one line."""
    write_table(tmp_path / "summary.csv", summary_of([*ODD, "L" * 400, "\U00012000"]))
    assert len(plot_results(tmp_path)) == 3
    assert len(caplog.records) == 1
    assert "no installed font has" in caplog.text


def test_usual_letters_keep_the_usual_font() -> None:
    import matplotlib as mpl

    with figure_style(["plain"]):
        assert mpl.rcParams["font.family"] == ["DejaVu Sans"]
        assert not mpl.rcParams["text.parse_math"]


def test_long_labels_are_wrapped_and_lose_nothing() -> None:
    text = "a  b-c " * 30
    assert wrapped(text, 20, most_lines=99).replace("\n", "") == text
    assert max(map(len, wrapped("x" * 500, 20).split("\n"))) <= 21
    assert wrapped("x" * 500, 20).endswith("…")
    assert wrapped("a - b", 20) == "a - b"


def test_no_two_labels_share_a_file() -> None:
    names = ["Ours", "Ours*", "Ours+", "ours", "a/b", "a_b", "a b", "..", "", "-6 dB", "+6 dB"]
    names += ["é", "e\u0301", "ﬁ", "fi", "我们", "x" * 300, "x" * 301]
    slugs = distinct_slugs(names, taken=["original"])
    assert len({slug.casefold() for slug in slugs.values()}) == len(names)
    assert all(slug and "/" not in slug and len(slug.encode()) <= 90 for slug in slugs.values())
    assert not {"", ".", "..", "original"} & set(slugs.values())
    assert distinct_slugs(["original"], taken=["original"])["original"] == "original-2"
    assert slugs["-6 dB"] == "-6-dB"


def test_a_codec_looks_the_same_whatever_is_beside_it() -> None:
    alone = codec_looks(summary_of(["DeepJSCC (7 dB)"]))
    beside = codec_looks(summary_of(["MambaJSCC", "BPG + LDPC", "DeepJSCC (7 dB)", "SwinJSCC"]))
    assert alone["DeepJSCC (7 dB)"] == beside["DeepJSCC (7 dB)"]
    assert codec_looks(summary_of(["SwinJSCC", "x"]))["SwinJSCC"] == beside["SwinJSCC"]
    drawn = [(look.colour, look.marker) for look in codec_looks(summary_of(ODD)).values()]
    assert len(set(drawn)) == len(ODD)


def test_no_two_of_eight_labels_share_a_colour() -> None:
    interval = [f"trained with {a}, every {b}" for a in (64, 2048) for b in (1, 64, 256, 2048)]
    colours = {look.colour for look in codec_looks(summary_of(interval)).values()}
    assert len(colours) == len(interval) == 8


def test_points_that_failed_are_marked() -> None:
    summary = summary_of(["a", "b"])
    summary.loc[(summary["label"] == "a") & (summary["snr_db"] == 7), "psnr"] = np.nan
    assert legend(summary) == ["a", "b", FAILED]
    (facet,) = against_snr(summary)
    axes = curve_figure(facet, COLUMNS["psnr"], codec_looks(summary)).axes[0]
    crosses = [line for line in axes.get_lines() if line.get_marker() == "x"]
    assert [list(line.get_xdata()) for line in crosses] == [[7]]
    summary.loc[summary["label"] == "a", "psnr"] = np.nan
    assert legend(summary) == ["a (all failed)", "b", FAILED]


def test_figures_that_the_tables_no_longer_give_go(tmp_path: Path) -> None:
    write_table(tmp_path / "summary.csv", summary_of(["a"]).assign(ssim=0.9))
    assert (tmp_path / "figures" / "ssim_vs_snr.png") in plot_results(tmp_path)
    (tmp_path / "figures" / "notes.txt").write_text("mine")
    write_table(tmp_path / "summary.csv", summary_of(["a"]))
    plot_results(tmp_path)
    left = {path.name for path in (tmp_path / "figures").iterdir()}
    assert left == {"notes.txt", *(f"psnr_vs_snr.{kind}" for kind in ("pdf", "svg", "png"))}


def test_an_outage_of_zero_is_no_failure(tmp_path: Path) -> None:
    rows = pd.DataFrame(
        {
            "label": "a",
            "codec": "x",
            "is_bound": False,
            "channel": "awgn",
            "snr_db": [1.0, 7.0] * 4,
            "cbr": 1 / 12,
            "image": [f"i{i // 2}" for i in range(8)],
            "trial": 0,
            "cbr_realised": 1 / 12,
            "psnr": [10.0, 30.0, 30.0, 31.0] * 2,
        }
    )
    write_table(tmp_path / "summary.csv", summarise(rows, outage={"psnr": 20}))
    write_table(tmp_path / "rows.parquet", rows)
    plot_results(tmp_path)
    drawn = (tmp_path / "figures" / "psnr_outage_vs_snr.svg").read_text()
    assert "no finite value" not in drawn  # matplotlib notes the texts that it draws


def test_a_long_legend_leaves_the_axes_their_height() -> None:
    heights = []
    for count in (2, 20):
        (facet,) = against_snr(summary := summary_of([f"codec {i}" for i in range(count)]))
        with figure_style([]):
            figure = curve_figure(facet, COLUMNS["psnr"], codec_looks(summary))
            figure.draw_without_rendering()
        box = figure.axes[0].get_position()
        heights.append(box.height * figure.get_figheight())
    assert heights[1] > 0.85 * heights[0]
