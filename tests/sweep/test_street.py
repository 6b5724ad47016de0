"""A sweep over a street: trials are positions, and each has its own SNR."""

import pandas as pd
import pytest

import linksim
from linksim.link.site_file import write_site
from tests.helpers.sites import site_of


def test_rows_say_where_and_at_which_snr(tmp_path) -> None:
    write_site(tmp_path / "own.npz", site_of([[1e-5], [1e-6], []], [[0.0], [0.0], []]))
    path = tmp_path / "street.yaml"
    path.write_text(
        f"images: {{source: kodak, crop: 64, limit: 2}}\n"
        f"channel: {{type: site, site: {tmp_path}/own.npz, link_budget: {{tx_power_dbm: 0}},"
        " subcarriers: 24}\n"
        "cbr: 1/12\ntrials: 3\nmetrics: [psnr]\noutage: {psnr: 20}\n"
        "codecs: [{codec: bpg_capacity}]\n"
    )
    linksim.run(path, out=tmp_path / "out")
    rows = pd.read_parquet(tmp_path / "out" / "street" / "rows.parquet")
    assert rows["position"].tolist() == rows["trial"].tolist()
    assert sorted(rows["x_m"].unique()) == [0, 10, 20]
    snr = rows.groupby("position")["position_snr_db"].first()
    assert snr[0] - snr[1] == pytest.approx(20, abs=1e-3)
    assert snr[2] == -100
    psnr = rows.groupby("position")["psnr"].mean()
    assert psnr[0] > psnr[2]
    summary = pd.read_csv(tmp_path / "out" / "street" / "summary.csv")
    assert summary["psnr_outage"].item() == pytest.approx((rows["psnr"] < 20).mean())
