"""The tables that a run prints say what its tables on disk say."""

from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from linksim.cli.tables import result_tables, until_in_words
from linksim.results.compare import compare
from linksim.results.stats import summarise
from linksim.sweep.scenario import load_scenario
from linksim.sweep.stopping import Until
from tests.helpers.places import ROOT


def test_means_and_differences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = pd.read_parquet(ROOT / "results" / "rayleigh_sweep" / "rows.parquet")
    table = compare(rows)
    table.to_csv(tmp_path / "compare.csv", index=False)
    scenario = load_scenario(ROOT / "scenarios" / "rayleigh_sweep.yaml")
    summary = summarise(rows)
    console = Console(width=200)
    for shown in result_tables(summary, tmp_path, scenario):
        console.print(shown)
    out = capsys.readouterr().out
    mean = summary[(summary["label"] == "BPG + LDPC") & (summary["snr_db"] == 7)]["psnr"].iloc[0]
    assert f" {mean:.2f} " in out
    gaps = table[(table["label"] == "BPG + LDPC") & (table["reference"] == "MambaJSCC")]
    for quantity, snr_db in (("psnr", 7), ("bd_psnr_over_snr", None)):
        at = gaps["snr_db"].isna() if snr_db is None else gaps["snr_db"] == snr_db
        (line,) = gaps[at & (gaps["quantity"] == quantity)].to_dict("records")
        low, high = line["difference_lo"], line["difference_hi"]
        assert f"{line['difference']:+.2f} [{low:.2f}, {high:.2f}]" in out
    # Their curves share no PSNR, so that no SNR gap at a PSNR can be told.
    assert gaps.loc[gaps["quantity"] == "bd_snr_at_psnr", "difference"].isna().all()
    assert not [line for line in out.splitlines() if "BPG" in line and "bd_snr_at_psnr" in line]


def test_what_stopping_came_to() -> None:
    rule = Until(metric="psnr", halfwidth=0.1, max_trials=50)
    text = until_in_words(pd.DataFrame({"psnr_halfwidth": [0.08, 0.1, 0.25]}), rule)
    assert "at most 0.25, 0.1 asked; 1 point(s) ended at max_trials (50)" in text
