"""Any label is text on its whole way: scenario, rows, summary, legend and report page."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import linksim
from linksim.files.tables import read_table
from linksim.metrics.table import COLUMNS
from linksim.plot.curves import curve_figure
from linksim.plot.facets import against_snr
from linksim.plot.look import codec_looks
from linksim.report.write import write_report
from tests.helpers.html import data_of
from tests.helpers.small import settings as scenario_of
from tests.helpers.small import write_codec

PRINTABLE = st.characters(exclude_categories=("C", "Zl", "Zp"))
LABELS = st.lists(st.text(PRINTABLE, min_size=1, max_size=12), min_size=2, max_size=4, unique=True)


@settings(max_examples=6, deadline=None)
@given(LABELS)
def test_any_label_survives_from_the_scenario_to_the_page(
    tmp_path_factory: pytest.TempPathFactory, labels: list[str]
) -> None:
    place: Path = tmp_path_factory.mktemp("labels")
    codec = f"{write_codec(place / 'flat.py', '')}:Flat"
    codecs = [{"codec": codec, "label": label} for label in labels]
    file = place / "s.yaml"
    file.write_text(yaml.safe_dump(scenario_of(*codecs), allow_unicode=True), encoding="utf-8")
    linksim.run(file, place)
    folder = place / "small"
    assert list(read_table(folder / "rows.parquet")["label"].unique()) == labels
    summary = read_table(folder / "summary.csv")
    assert list(summary["label"].unique()) == labels
    (facet,) = against_snr(summary)
    legend = curve_figure(facet, COLUMNS["psnr"], codec_looks(summary)).legends[0]
    assert [text.get_text().replace("\n", "") for text in legend.get_texts()] == labels
    chart = data_of(write_report(folder))["curves"][0]["charts"]["PSNR (dB)"]
    assert {trace["meta"] for trace in chart["data"] if "name" in trace} == set(labels)
