"""The tables that a run prints say what its tables on disk say, on 80 columns."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from linksim.cli.console import PlainConsole
from linksim.cli.tables import result_tables, until_in_words
from linksim.files.tables import write_table
from linksim.results.compare import compare
from linksim.results.stats import summarise
from linksim.sweep.scenario import Scenario, load_scenario
from linksim.sweep.stopping import Until
from tests.helpers.places import ROOT
from tests.helpers.rows import row


def printed(rows: pd.DataFrame, folder: Path, scenario: Scenario, width: int = 80) -> str:
    """What a run prints of its rows."""
    write_table(folder / "compare.csv", compare(rows))
    console = PlainConsole(file=io.StringIO(), width=width)
    for table in result_tables(summarise(rows), folder, scenario, width=width):
        console.print(table)
    return console.file.getvalue()


def rows_of(labels: list[str], snrs: list[float], lost: str = "") -> tuple[pd.DataFrame, Scenario]:
    """Rows of some codecs, one of which may never have a finite PSNR, and their scenario."""
    lines = [
        row(
            label,
            image=f"i{image}",
            snr_db=snr_db,
            psnr=np.nan if label == lost else 20 + place + snr_db + image**0.5,
        )
        for place, label in enumerate(labels)
        for snr_db in snrs
        for image in range(5)
    ]
    scenario = {
        "name": "s",
        "channel": {"type": "awgn"},
        "snr_db": snrs,
        "cbr": 1 / 12,
        "metrics": ["psnr"],
        "codecs": [{"codec": "bpg_ldpc", "label": label} for label in labels],
    }
    return pd.DataFrame(lines), Scenario.model_validate(scenario)


def test_every_number_of_nine_codecs_on_80_columns(tmp_path: Path) -> None:
    rows = pd.read_parquet(ROOT / "results" / "rayleigh_sweep" / "rows.parquet")
    scenario = load_scenario(ROOT / "scenarios" / "rayleigh_sweep.yaml")
    out = printed(rows, tmp_path, scenario)
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out
    summary, table = summarise(rows), compare(rows)
    assert summary["label"].nunique() == 9
    for value in summary["psnr"]:
        assert f"{value:.2f}" in out
    gaps = table[(table["reference"] == "MambaJSCC") & (table["quantity"] == "psnr")]
    assert len(gaps) == 8 * 10
    for line in gaps.itertuples():
        shown = f"{line.difference:+.2f} [{line.difference_lo:.2f}, {line.difference_hi:.2f}]"
        assert shown in out
    told = [line for line in out.splitlines() if "bd_snr_at_psnr" in line]
    shared = table[(table["reference"] == "MambaJSCC") & (table["quantity"] == "bd_snr_at_psnr")]
    assert len(told) == shared["difference"].notna().sum() > 0


def test_what_failed_is_said_in_words(tmp_path: Path) -> None:
    rows, scenario = rows_of(["first", "lost"], [1.0, 4.0, 7.0, 10.0], lost="lost")
    rows.loc[0, "psnr"] = np.inf
    out = printed(rows, tmp_path, scenario)
    assert "1/5 failed" in out
    assert out.count("all failed") == 8 + 2  # means and differences; two gaps over curves
    assert "nan" not in out.lower()


def test_labels_are_text(tmp_path: Path) -> None:
    labels = ["[red]x[/blue]", "a [/] b", "7", "N/A", "nan", "我们的方法", "\x1b[31mred", "L" * 300]
    rows, scenario = rows_of(labels, [1.0, 7.0])
    out = printed(rows, tmp_path, scenario)
    for label in labels[:6]:
        assert label in out
    assert "\\x1b[31mred" in out
    assert "\x1b" not in out
    assert out.count("L") >= 300
    assert max(map(len, out.splitlines())) <= 80


def test_what_stopping_came_to() -> None:
    rule = Until(metric="psnr", halfwidth=0.1, max_trials=50)
    text = until_in_words(pd.DataFrame({"psnr_halfwidth": [0.08, 0.1, 0.25]}), rule)
    assert "at most 0.25, 0.1 asked; 1 point(s) ended at max_trials (50)" in text
    text = until_in_words(pd.DataFrame({"psnr_halfwidth": [0.08, np.nan]}), rule)
    assert "1 point(s) have transmissions that failed" in text
    text = until_in_words(pd.DataFrame({"psnr_halfwidth": [np.nan]}), rule)
    assert text.startswith("No point has a finite psnr")


@pytest.mark.parametrize("width", [60, 80, 200])
def test_tables_keep_to_the_width(tmp_path: Path, width: int) -> None:
    rows, scenario = rows_of(["first", "second"], [float(snr) for snr in range(12)])
    out = printed(rows, tmp_path, scenario, width)
    assert max(map(len, out.splitlines())) <= width
    assert out.count("first") > 0
    assert "…" not in out
