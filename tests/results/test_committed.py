"""What the committed tables say of the classical chain: adaptive at least as good as any fixed
scheme, and below its bounds, at every point of every scenario."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from linksim.files.tables import read_table
from linksim.results.folder import read_manifest, result_folders
from tests.helpers.places import ROOT

FOLDERS = result_folders(ROOT / "results")


def labels_of(manifest: dict[str, Any]) -> tuple[list[str], list[str], list[str]]:
    """(adaptive chains, fixed ones, bounds) of a scenario."""
    adaptive, fixed, bounds = [], [], []
    for codec in manifest["scenario"]["codecs"]:
        options = codec["options"]
        if codec["codec"] in ("bpg_capacity", "bpg_outage"):
            bounds.append(codec["label"])
        elif codec["codec"] == "bpg_ldpc" and "harq" not in options:
            is_fixed = options.get("mcs", "best") != "best"
            (fixed if is_fixed else adaptive).append(codec["label"])
    return adaptive, fixed, bounds


def where_the_snr_is_known(table: pd.DataFrame, manifest: dict[str, Any]) -> pd.DataFrame:
    """Without the lines of a transmitter or receiver that is told a wrong SNR."""
    beliefs = manifest["scenario"].get("snr_knowledge")
    if not beliefs:
        return table
    right = [one["label"] for one in beliefs if one["tx"] == one["rx"] == "perfect"]
    return table[table["snr_knowledge"].isin(right)]


def differences(
    table: pd.DataFrame, label: str, other: str, unseen: dict[tuple[Any, ...], float] | None = None
) -> Iterator[tuple[str, float, float]]:
    """(where, lower, upper) of the paired difference label - other in PSNR at every point, with the
    failures of the other that may have gone unseen."""
    of_points = table[table["quantity"] == "psnr"]
    for sign, one, two in ((1, label, other), (-1, other, label)):
        for line in of_points[
            (of_points["label"] == one) & (of_points["reference"] == two)
        ].to_dict("records"):
            ends = sorted(  # of a single image there is no interval
                sign * (line["difference"] if pd.isna(end) else end)
                for end in (line["difference_lo"], line["difference_hi"])
            )
            where = (
                f"{label} - {other}, {line['channel']}, {line['cbr']:.4g}, {line['snr_db']:g} dB"
            )
            point = other, line["channel"], line["cbr"], line["snr_db"]
            yield where, ends[0], ends[1] + (unseen or {}).get(point, 0.0)


def unseen_failures_db(folder: Path) -> dict[tuple[Any, ...], float]:
    """By how much the mean PSNR of a scheme may be too high, of which few frames were seen: its
    failure rate is known to its interval only, and the interval of a mean over 24 frames without a
    failure knows of none. By label, channel, CBR and SNR."""
    table = read_table(folder / "summary.csv")
    lost_db = table["psnr"].min()  # of a scheme that loses nearly all
    missing = (table["failure_rate_hi"] - table["failure_rate"]) * (table["psnr"] - lost_db)
    keys = zip(table["label"], table["channel"], table["cbr"], table["snr_db"], strict=True)
    return dict(zip(keys, missing, strict=True))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_adaptive_chain_is_as_good_as_any_fixed_one_and_below_its_bounds(folder: Path) -> None:
    manifest = read_manifest(folder)
    adaptive, fixed, bounds = labels_of(manifest)
    if not adaptive or not fixed + bounds:
        pytest.skip("no adaptive chain with something to compare with")
    table = where_the_snr_is_known(read_table(folder / "compare.csv"), manifest)
    unseen = unseen_failures_db(folder)
    for label in adaptive:
        worse = [
            where
            for other in fixed
            for where, _, high in differences(table, label, other, unseen)
            if not high >= 0
        ]
        above = [
            where
            for other in bounds
            for where, low, _ in differences(table, label, other)
            if not low <= 0
        ]
        assert not worse, "worse than a fixed scheme"
        assert not above, "above the bound"
        assert any(True for other in fixed + bounds for _ in differences(table, label, other))
