"""Figures: that they show what the tables say, come out the same twice, and refuse bad tables."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from linksim.errors import InputError
from linksim.files.tables import read_table
from linksim.metrics.table import COLUMNS
from linksim.plot.complexity import against_complexity, draw_against_complexity
from linksim.plot.curves import curve_figure
from linksim.plot.draw import plot_results
from linksim.plot.facets import (
    against_cbr,
    against_knowledge,
    against_pilots,
    against_snr,
    differences,
    ratio,
    with_estimators,
)
from linksim.plot.look import codec_looks
from linksim.plot.outage import draw_distribution
from linksim.plot.pictures import picture_facets, picture_grid

CODECS = {"mamba": (26.0, False), "ideal": (28.0, True), "bpg": (24.0, False)}


def _summary(snrs: list[float], cbrs: list[float], codecs: list[str] | None = None) -> pd.DataFrame:
    lines = []
    for codec in codecs or list(CODECS):
        base, is_bound = CODECS[codec]
        for cbr in cbrs:
            for snr_db in snrs:
                psnr = base + 0.5 * snr_db + 20 * cbr
                lines.append(
                    {
                        "label": codec,
                        "codec": codec,
                        "is_bound": is_bound,
                        "channel": "rayleigh(coherence=symbol), mmse",
                        "snr_db": snr_db,
                        "cbr": cbr,
                        "images": 24,
                        "count": 48,
                        "cbr_realised": 0.9 * cbr,
                        "psnr": psnr,
                        "psnr_lo": psnr - 1,
                        "psnr_hi": psnr + 2,
                        "lpips": 5 / psnr,
                        "lpips_lo": 4 / psnr,
                        "lpips_hi": 6 / psnr,
                    }
                )
    return pd.DataFrame(lines)


def _write(folder: Path, summary: pd.DataFrame) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    summary.to_csv(folder / "summary.csv", index=False)
    return folder


def _write_pictures(folder: Path) -> None:
    pictures = folder / "pictures"
    pictures.mkdir()
    index = []
    for image, size in (("wide", (16, 24)), ("tall", (24, 16))):
        for codec in ("original", "mamba", "bpg"):
            file = f"{codec}_{image}.png"
            shade = np.full((*size, 3), 25 * len(codec), np.uint8)
            Image.fromarray(shade).save(pictures / file)
            sent = {} if codec == "original" else {"snr_db": 7.0, "cbr": 1 / 12, "psnr": 30.126}
            index.append({"label": codec, "image": image, "file": file} | sent)
    columns = ["label", "image", "snr_db", "cbr", "psnr", "file"]
    pd.DataFrame(index, columns=columns).to_csv(pictures / "index.csv", index=False)


def _names(paths: list[Path]) -> set[str]:
    return {path.name for path in paths if path.suffix == ".pdf"}


def test_figures_of_one_cbr(tmp_path: Path) -> None:
    folder = _write(tmp_path / "run", _summary([1, 7, 13], [1 / 12]))
    paths = plot_results(folder)
    assert _names(paths) == {"psnr_vs_snr.pdf", "lpips_vs_snr.pdf"}
    assert {path.suffix for path in paths} == {".pdf", ".svg", ".png"}
    assert all(path.parent == folder / "figures" and path.stat().st_size > 0 for path in paths)
    pdf = (folder / "figures" / "psnr_vs_snr.pdf").read_bytes()
    assert b"/MediaBox [ 0 0 252 " in pdf  # 3.5 inches of 72 points: one column


def test_figures_of_several_cbrs() -> None:
    summary = _summary([1, 4, 7, 10, 13], [1 / 48, 1 / 12])
    names = [facet.name for facet in against_snr(summary)]
    assert names == ["vs_snr_cbr0.02083", "vs_snr_cbr0.08333"]
    names = [facet.name for facet in against_cbr(summary)]
    assert names == ["vs_cbr_snr1", "vs_cbr_snr7", "vs_cbr_snr13"]


def test_one_snr_and_several_cbrs() -> None:
    summary = _summary([7], [1 / 48, 1 / 12])
    assert list(against_snr(summary)) == []
    assert [facet.name for facet in against_cbr(summary)] == ["vs_cbr"]


def test_beliefs_are_an_axis(tmp_path: Path) -> None:
    """Four beliefs at two SNRs: over the beliefs at each SNR; over the SNR at three beliefs."""
    beliefs = ["-6 dB", "right", "+6 dB", "none"]
    summary = pd.concat(
        _summary([1, 7], [1 / 12])
        .assign(snr_knowledge=name)
        .assign(psnr=lambda t, i=i: t["psnr"] - i)
        for i, name in enumerate(beliefs)
    )
    names = [facet.name for facet in against_snr(summary)]
    assert names == ["vs_snr_-6-dB", "vs_snr_+6-dB", "vs_snr_none"]
    one, seven = against_knowledge(summary)
    assert [one.name, seven.name] == ["vs_snr_knowledge_snr1", "vs_snr_knowledge_snr7"]
    axes = curve_figure(seven, COLUMNS["psnr"], codec_looks(summary)).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == beliefs
    bpg = summary[(summary["label"] == "bpg") & (summary["snr_db"] == 7)]
    assert any(line.get_ydata().tolist() == bpg["psnr"].tolist() for line in axes.get_lines())
    # one SNR: over the beliefs only
    assert not list(against_snr(summary[summary["snr_db"] == 7]))


def test_outage_and_distributions(tmp_path: Path) -> None:
    summary = _summary([1, 7, 13, 19], [1 / 12]).drop(columns="lpips")
    rates = {"psnr_target": 25.0, "psnr_outage": 0.2, "psnr_outage_lo": 0.0, "psnr_outage_hi": 0.3}
    folder = _write(tmp_path, summary.assign(**rates))
    at = ["label", "channel", "snr_db", "cbr"]
    rows = summary.loc[summary.index.repeat(10), at].assign(psnr=np.tile(np.arange(20, 30), 12))
    rows.to_parquet(folder / "rows.parquet")
    drawn = {path.stem for path in plot_results(folder)}
    assert drawn == {
        "psnr_vs_snr",
        "psnr_outage_vs_snr",
        *(f"psnr_distribution_snr{snr_db}" for snr_db in (1, 13, 19)),
    }
    axes = Figure().add_subplot()
    draw_distribution(axes, rows[rows["snr_db"] == 7], COLUMNS["psnr"], 25, codec_looks(summary))
    line = axes.get_lines()[0]
    assert line.get_xdata().tolist() == list(range(20, 30))
    assert line.get_ydata() == pytest.approx(np.arange(1, 11) / 10)


def test_differences_from_the_first_codec(tmp_path: Path) -> None:
    summary = _summary([1, 7], [1 / 12]).drop(columns="lpips")
    folder = _write(tmp_path, summary)
    table = summary.assign(
        reference="mamba",
        quantity="psnr",
        difference=summary["snr_db"] / 10,
        difference_lo=0.0,
        difference_hi=2.0,
    )
    table = table[table["label"] != "mamba"]
    table.to_csv(folder / "compare.csv", index=False)
    assert "psnr_difference_vs_snr" in {path.stem for path in plot_results(folder)}
    lines = differences(summary, table, "psnr")
    assert list(lines["label"].unique()) == ["ideal", "bpg"]
    assert lines["psnr"].tolist() == [0.1, 0.7] * 2
    assert set(lines["psnr_hi"]) == {2.0}
    (folder / "compare.csv").write_text("label\na\n")
    with pytest.raises(InputError, match=r"compare.csv: no column reference, "):
        plot_results(folder)


def test_channels_of_different_pilots_are_drawn_against_them(tmp_path: Path) -> None:
    """The channel without pilots is a level; the others are a line over the pilots' share."""
    shares = {"known": 0.0, "sparse": 0.02, "dense": 0.2}
    summary = pd.concat(
        [
            _summary([7], [1 / 12]).assign(channel=name, pilot_share=share)
            for name, share in shares.items()
        ]
    )
    assert _names(plot_results(_write(tmp_path, summary))) >= {"psnr_vs_pilots.pdf"}
    (facet,) = against_pilots(summary)
    (axes,) = curve_figure(facet, COLUMNS["psnr"], codec_looks(summary)).axes
    lines = [list(line.get_xdata()) for line in axes.get_lines()]
    assert lines.count([0.02, 0.2]) == summary["label"].nunique()
    assert lines.count([0, 1]) == summary["label"].nunique()


def test_pilots_of_several_estimators_have_a_figure_each(tmp_path: Path) -> None:
    shares = {"known": 0.0, "a": 0.02, "b": 0.02, "c": 0.2, "d": 0.2}
    summary = pd.concat(
        [
            _summary([7], [1 / 12]).assign(channel=name, pilot_share=share)
            for name, share in shares.items()
        ]
    )
    estimations = ["perfect", "ls", "lmmse", "ls", "lmmse"]
    manifest = {"scenario": {"channel": [{"estimation": one} for one in estimations]}}
    facets = list(against_pilots(with_estimators(summary, manifest)))
    assert [facet.name for facet in facets] == ["vs_pilots_LS", "vs_pilots_LMMSE"]
    assert [set(facet.lines["channel"]) for facet in facets] == [
        {"known", "a", "c"},
        {"known", "b", "d"},
    ]
    assert facets[1].title.startswith("LMMSE · SNR 7 dB")
    folder = _write(tmp_path, summary)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert _names(plot_results(folder)) >= {"psnr_vs_pilots_LS.pdf", "psnr_vs_pilots_LMMSE.pdf"}


def test_every_result_below_a_folder(tmp_path: Path) -> None:
    for name in ("a", "b/c"):
        _write(tmp_path / name, _summary([7], [1 / 12], ["bpg"]).drop(columns="lpips"))
    folders = {path.parent.parent for path in plot_results(tmp_path)}
    assert folders == {tmp_path / "a", tmp_path / "b" / "c"}


def test_same_bytes_in_another_process_without_pyplot(tmp_path: Path) -> None:
    folder = _write(tmp_path, _summary([1, 7], [1 / 12]).drop(columns="lpips"))
    _write_pictures(folder)
    first = {path: path.read_bytes() for path in plot_results(folder)}
    for path in first:
        path.unlink()
    code = (
        "import sys; from pathlib import Path; from linksim.plot.draw import plot_results\n"
        "assert 'matplotlib' not in sys.modules  # imported only by what draws\n"
        f"plot_results(Path({str(folder)!r}))\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert all(path.read_bytes() == content for path, content in first.items())


def test_lines_are_the_tables_means_with_their_intervals() -> None:
    summary = _summary([13, 1, 7], [1 / 12])
    (facet,) = against_snr(summary)
    figure = curve_figure(facet, COLUMNS["psnr"], codec_looks(summary))
    axes = figure.axes[0]
    lines = {line.get_label().removesuffix(" (bound)"): line for line in axes.get_lines()}
    assert set(lines) == set(CODECS)
    for codec, line in lines.items():
        table = summary[summary["label"] == codec].sort_values("snr_db")
        assert line.get_xdata().tolist() == [1, 7, 13]
        assert line.get_ydata().tolist() == table["psnr"].tolist()
        assert line.is_dashed() == (codec == "ideal")
        assert (line.get_marker() == "") == (codec == "ideal")
    bands = [band.get_paths()[0].get_extents() for band in axes.collections]
    assert [(band.x0, band.x1) for band in bands] == [(1, 13)] * 3
    low, high = summary["psnr_lo"].min(), summary["psnr_hi"].max()
    assert min(band.y0 for band in bands) == pytest.approx(low)
    assert max(band.y1 for band in bands) == pytest.approx(high)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["mamba", "bpg", "ideal (bound)"]
    assert axes.get_ylabel() == "PSNR (dB)"


def test_against_complexity(tmp_path: Path) -> None:
    """A neural codec stands over its multiply-accumulates; others are levels."""
    summary = _summary([1, 7], [1 / 12])
    costs = pd.DataFrame(
        {
            "label": ["mamba", "bpg", "ideal"],
            "side": 256,
            "parameters": [1_400_000, None, None],
            "macs": [2e9, None, None],
            "scan_macs": [0.5e9, None, None],
        }
    )
    folder = _write(tmp_path, summary)
    costs.to_csv(folder / "complexity.csv", index=False)
    names = {"psnr_vs_complexity_snr1.pdf", "psnr_vs_complexity_snr7.pdf"}
    assert names <= _names(plot_results(folder))
    axes = Figure().add_subplot()
    (*_, facet) = against_complexity(summary, costs)
    draw_against_complexity(axes, facet.lines, "psnr", codec_looks(summary))
    lines = {str(line.get_label()): line for line in axes.get_lines()}
    assert set(lines) == {"mamba, 1.40 M", "bpg", "ideal (bound)"}
    assert lines["mamba, 1.40 M"].get_xydata().tolist() == [[2.5, 26 + 3.5 + 20 / 12]]
    assert list(lines["bpg"].get_ydata()) == [24 + 3.5 + 20 / 12] * 2


def test_an_estimated_snr_is_held_against_the_true_one() -> None:
    summary = _summary([1, 7], [1 / 12], ["mamba"]).rename(columns={"psnr": "snr_db_estimate"})
    (facet,) = against_snr(summary)
    axes = curve_figure(facet, COLUMNS["snr_db_estimate"], codec_looks(summary)).axes[0]
    (truth,) = (line for line in axes.get_lines() if line.get_label() == "true SNR")
    assert truth.get_xydata().tolist() == [[1, 1], [7, 7]]
    assert axes.get_ylabel() == "Estimated SNR (dB)"


def test_against_cbr_the_counted_cbr_is_shown() -> None:
    summary = _summary([7], [1 / 12, 1 / 48], ["bpg"])
    (facet,) = against_cbr(summary)
    (line,) = curve_figure(facet, COLUMNS["psnr"], codec_looks(summary)).axes[0].get_lines()
    assert line.get_xdata().tolist() == pytest.approx([0.9 / 48, 0.9 / 12])


def test_one_point_is_drawn_with_bars() -> None:
    summary = _summary([7], [1 / 12])
    (facet,) = against_snr(summary)
    axes = curve_figure(facet, COLUMNS["psnr"], codec_looks(summary)).axes[0]
    points = [[float(y) for y in line.get_ydata()] for line in axes.get_lines()]
    assert points == [[26 + 3.5 + 20 / 12], [24 + 3.5 + 20 / 12], [28 + 3.5 + 20 / 12]]
    names = [text.get_text() for text in axes.get_xticklabels()]
    assert names == ["mamba", "bpg", "ideal (bound)"]
    assert axes.get_xlabel() == "SNR (dB) = 7"


def test_one_image_has_no_band(tmp_path: Path) -> None:
    summary = _summary([1, 7], [1 / 12]).assign(images=1, psnr_lo=np.nan, psnr_hi=np.nan)
    assert "psnr_vs_snr.pdf" in _names(plot_results(_write(tmp_path, summary)))


def test_looks_are_distinct_and_steady() -> None:
    looks = codec_looks(_summary([1], [1 / 12]))
    assert looks["mamba"].colour != looks["bpg"].colour
    assert looks["mamba"].marker != looks["bpg"].marker
    assert looks["ideal"].dashes
    without_bound = codec_looks(_summary([4], [1 / 6], ["mamba", "bpg"]))
    assert without_bound["bpg"] == looks["bpg"]


def test_a_variant_of_ms_ssim_is_named_on_the_axis() -> None:
    summary = _summary([1, 7], [1 / 12]).assign(ms_ssim_db=10.0, ms_ssim_variant="win11x2")
    looks = codec_looks(summary)
    (facet,) = against_snr(summary)
    assert (
        curve_figure(facet, COLUMNS["ms_ssim_db"], looks).axes[0].get_ylabel()
        == "MS-SSIM (dB, win11x2)"
    )
    (facet,) = against_snr(summary.assign(ms_ssim_variant="win11x5"))
    assert curve_figure(facet, COLUMNS["ms_ssim_db"], looks).axes[0].get_ylabel() == "MS-SSIM (dB)"


def test_picture_grid(tmp_path: Path) -> None:
    folder = _write(tmp_path, _summary([7], [1 / 12]))
    _write_pictures(folder)
    assert "pictures.pdf" in _names(plot_results(folder))
    index = read_table(folder / "pictures" / "index.csv")
    ((name, title, chosen),) = picture_facets(index)
    assert name == "pictures"
    assert "SNR 7 dB · CBR 1/12" in title
    axes = picture_grid(chosen, folder / "pictures", title).axes
    assert [a.get_title() for a in axes] == ["original", "mamba", "bpg", "", "", ""]
    assert [a.get_xlabel() for a in axes] == [
        "wide",
        "30.13 dB",
        "30.13 dB",
        "tall",
        "30.13 dB",
        "30.13 dB",
    ]
    shades = [a.get_images()[0].get_array()[0, 0, 0] for a in axes[:3]]
    assert shades == [200, 125, 75]
    (folder / "pictures" / "mamba_tall.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"mamba_tall\.png: not a readable picture"):
        plot_results(folder)


@pytest.mark.parametrize(
    ("cbr", "text"), [(1 / 48, "1/48"), (0.25, "1/4"), (0.3, "0.3"), (0.0837, "0.0837")]
)
def test_cbr_in_words(cbr: float, text: str) -> None:
    assert ratio(cbr) == text


def test_bad_tables(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="no results here; wanted is a folder that 'python -m linksim run'"
    ):
        plot_results(tmp_path)
    table = tmp_path / "summary.csv"
    for content, message in (
        (b"", "not a readable table"),
        (b"\xff\xfe\x00", "not a readable table"),
        (b"label,snr_db\na,1\n", "no column is_bound, channel, cbr, images, cbr_realised"),
        (b"label,is_bound,channel,snr_db,cbr,images,cbr_realised\n", "the table has no lines"),
        (
            b"label,is_bound,channel,snr_db,cbr,images,cbr_realised\na,False,c,1,1,1,1\n",
            "no metric to plot",
        ),
    ):
        table.write_bytes(content)
        with pytest.raises(InputError, match=message):
            plot_results(tmp_path)
