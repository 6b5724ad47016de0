"""What the committed tables say of the classical chain: adaptive at least as good as any fixed
scheme, and below its bounds, at every point of every scenario."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from pydantic import TypeAdapter

from baselines.digital.ldpc import transport_chain
from baselines.digital.mcs import fixed_mcs
from linksim.files.tables import read_table
from linksim.link.link import Link, LinkProbe
from linksim.link.lookup import Channel
from linksim.results.folder import read_manifest, result_folders
from tests.helpers.places import ROOT

FOLDERS = result_folders(ROOT / "results")
Where = tuple[str, str, str, float, float]  # label, the other, channel, CBR and SNR in dB
WORDS, WORDS_AT_ONCE = 320, 16
CLOSE_DB = 0.2


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
) -> Iterator[tuple[Where, float, float]]:
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
            point = other, line["channel"], line["cbr"], line["snr_db"]
            yield (label, *point), ends[0], ends[1] + (unseen or {}).get(point, 0.0)


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


def counted_failure_rate(
    manifest: dict[str, Any], label: str, channel: str, cbr: float, snr_db: float
) -> float:
    """Of a fixed scheme over :data:`WORDS` words, each with a fade and noise of its own."""
    scenario = manifest["scenario"]
    [codec] = [one for one in scenario["codecs"] if one["label"] == label]
    [settings] = [
        one
        for one in scenario["channel"]
        if one["label"] == channel or len(scenario["channel"]) == 1
    ]
    link = Link(TypeAdapter(Channel).validate_python(settings), scenario["equalizer"])
    uses = int(3 * scenario["images"]["crop"] ** 2 * cbr + 1e-9)
    plan = fixed_mcs(codec["options"]["mcs"]).plan(link.data_symbols(uses))
    chain, probe = transport_chain(plan, iterations=50, device="cpu"), LinkProbe(link)
    generator, passed = torch.Generator().manual_seed(1), 0
    for start in range(0, WORDS, WORDS_AT_ONCE):
        bits = torch.randint(0, 2, (WORDS_AT_ONCE, plan.payload_bits), generator=generator)
        received = probe(chain.encode(bits), snr_db, 10_000 + start)
        passed += int(chain.decode(received.unbiased(), received.no_eff)[1].sum())
    return 1 - passed / WORDS


def cost_of_a_loss_db(folder: Path, label: str, channel: str, cbr: float, snr_db: float) -> float:
    """By how much PSNR falls, on average over the images, where the scheme's block is lost: what is
    shown for a lost one is the same on every channel."""
    rows = read_table(folder / "rows.parquet")
    lost = rows[rows["failed"]].groupby("image")["psnr"].mean()
    rows = rows[(rows["label"] == label) & (rows["channel"] == channel) & (rows["cbr"] == cbr)]
    passed = rows[(rows["snr_db"] == snr_db) & ~rows["failed"]].groupby("image")["psnr"].mean()
    return float((passed - lost).mean())


def lucky_points(folder: Path) -> Iterator[tuple[str, str, str, float, float, float]]:
    """Where a fixed scheme ends above the adaptive chain by the interval of the tables: adaptive,
    fixed, channel, CBR, SNR, and the upper end of the difference."""
    manifest = read_manifest(folder)
    adaptive, fixed, _ = labels_of(manifest)
    if not adaptive or not fixed:
        return
    table = where_the_snr_is_known(read_table(folder / "compare.csv"), manifest)
    for label, other in product(adaptive, fixed):
        for where, _, high in differences(table, label, other):
            if high < 0:
                yield *where, high


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_fixed_scheme_that_ends_above_was_lucky(folder: Path) -> None:
    """With the failures of hundreds of words in place of those of 24 pictures, it does not, or by
    less than :data:`CLOSE_DB`: at a cliff, tables that are off by 0.05 dB of SNR cost as much."""
    points = list(lucky_points(folder))
    if not points:
        pytest.skip("no fixed scheme ends above the adaptive chain")
    table = read_table(folder / "summary.csv")
    for label, other, channel, cbr, snr_db, high in points:
        point = other, channel, cbr, snr_db
        counted = counted_failure_rate(read_manifest(folder), *point)
        keys = table[["label", "channel", "cbr", "snr_db"]].apply(tuple, axis=1)
        [seen] = table.loc[keys == point, "failure_rate"]
        corrected = high + (counted - seen) * cost_of_a_loss_db(folder, *point)
        print(f"{label} against {point}: {high:.2f} dB; counted {counted:.3f}: {corrected:+.2f} dB")
        assert corrected >= -CLOSE_DB
