"""Learning curves from the cards and curves beside weights."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from linksim.cli.app import app
from linksim.errors import InputError
from linksim.files.tables import read_table
from linksim.training.learning import PAPER_GIGAPIXELS, gains, learning_curves

FIXED = "zoo:mambajscc-small-rayleigh-csi64-fixed"


def test_pixels_of_all_stages_count() -> None:
    curves = learning_curves([FIXED])
    # 3,100 steps of 8 crops of 64x64 and 300 of 128x128, then 2,500 of 128x128
    first = 8 * (3100 * 64**2 + 300 * 128**2) / 1e9
    released = curves[curves["released"]]
    assert list(released["stage"]) == [
        "mambajscc-small-rayleigh-csi64",
        "mambajscc-small-rayleigh-csi64-fixed",
    ]
    assert released["gigapixels"].to_numpy() == pytest.approx(
        [first, first + 8 * 2500 * 128**2 / 1e9], rel=1e-3
    )
    assert (np.diff(curves["gigapixels"]) >= 0).all()


def test_other_channels_count_but_are_not_drawn() -> None:
    curves = learning_curves(["zoo:mambajscc-small-awgn-muon"])
    assert set(curves["stage"]) == {"mambajscc-small-awgn-muon"}
    assert curves["gigapixels"].min() > 2.0


def test_gain_of_a_doubling() -> None:
    curves = pd.DataFrame(
        {
            "label": "x",
            "gigapixels": [1.0, 2.0, 8.0],
            "psnr": [20.0, 21.0, 22.0],
            "released": [True, False, True],
        }
    )
    [row] = gains(curves).to_dict("records")
    assert row["db_a_doubling"] == pytest.approx(2 / 3)
    assert row["psnr_at_paper"] == pytest.approx(22 + 2 / 3 * np.log2(PAPER_GIGAPIXELS / 8))
    assert gains(curves.iloc[2:])["db_a_doubling"].isna().all()


def test_command_writes_table_and_figure(tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["learning", FIXED, "--out", str(tmp_path)])
    assert run.exit_code == 0, run.output
    assert len(read_table(tmp_path / "learning.csv")) == len(learning_curves([FIXED]))
    assert (tmp_path / "figures" / "learning.png").stat().st_size > 10_000
    assert "mambajscc" in run.output


def test_weights_without_a_curve(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        learning_curves([str(tmp_path / "none.safetensors")])
    with pytest.raises(InputError, match="no weights"):
        learning_curves([])
