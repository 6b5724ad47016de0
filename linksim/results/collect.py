"""What a finished sweep leaves: rows.parquet, summary.csv, compare.csv, manifest.json, pictures."""

import json
import math
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from linksim.codec_lookup import codec_from_settings
from linksim.files import distinct_slugs, file_digest, remove_leftovers, write_atomically, write_png
from linksim.files.tables import write_table
from linksim.metrics.table import own_columns
from linksim.neural_codec import NeuralCodec
from linksim.provenance import machine, versions
from linksim.results.compare import compare
from linksim.results.stats import summarise
from linksim.sweep.complexity import RoundTrip, count_macs, count_parameters
from linksim.sweep.plan import Plan
from linksim.sweep.published import published_table
from linksim.sweep.scenario import SweptCodec
from linksim.sweep.store import Store


def collect(plan: Plan, store: Store, folder: Path, file: str | None = None) -> pd.DataFrame:
    """Derive the tables from the finished points; returns the summary.

    rows.parquet: one line an image, trial and point. summary.csv: one a point. compare.csv: codecs
    against each other, where there are several. manifest.json: the scenario as it was understood,
    versions, weights' hashes and the machine. complexity.csv, published.csv, pictures/: what the
    codecs cost, what others published and reconstructions, where the scenario asks for them. What
    an earlier run left and this scenario does not ask for goes, and so do figures of other tables.

    file: name of the scenario's file, for the manifest.
    """
    scenario = plan.scenario
    before = _digests(folder)
    remove_leftovers(folder)
    rows = _labelled(plan, store)
    own = own_columns(scenario.metrics)
    summary = summarise(rows, until=scenario.until, outage=scenario.outage or {}, own=own)
    write_table(folder / "rows.parquet", rows)
    write_table(folder / "summary.csv", summary)
    several = len(scenario.codecs) > 1
    differences = compare(rows, own, paired_seeds=scenario.paired_seeds) if several else None
    _write_or_remove(folder / "compare.csv", differences)
    text = json.dumps(_manifest(plan, file), indent=2) + "\n"
    write_atomically(folder / "manifest.json", lambda path: path.write_text(text))
    _write_or_remove(
        folder / "complexity.csv",
        None if scenario.complexity is None else _complexity(scenario.codecs, scenario.complexity),
    )
    _write_or_remove(
        folder / "published.csv",
        published_table(scenario.published) if scenario.published else None,
    )
    _collect_pictures(plan, store, folder / "pictures", rows)
    if _digests(folder) != before:
        _remove_files(folder / "figures", (".pdf", ".svg", ".png"))
        (folder / "report.html").unlink(missing_ok=True)
    return summary


def _write_or_remove(path: Path, table: pd.DataFrame | None) -> None:
    if table is None:
        path.unlink(missing_ok=True)
    else:
        write_table(path, table)


def _digests(folder: Path) -> dict[str, str]:
    """Of the tables that figures show."""
    paths = [*folder.glob("*.csv"), folder / "rows.parquet", folder / "pictures" / "index.csv"]
    return {path.name: file_digest(path) for path in paths if path.is_file()}


def _remove_files(folder: Path, suffixes: tuple[str, ...], keep: Collection[str] = ()) -> None:
    """Drop files of these kinds from a folder, and the folder if nothing else is in it."""
    for path in folder.glob("*"):
        if path.suffix in suffixes and path.name not in keep:
            path.unlink()
    with suppress(OSError):  # not there, or not empty
        folder.rmdir()


def _labelled(plan: Plan, store: Store) -> pd.DataFrame:
    """The rows of all points under the names that the scenario gives codecs and knowledge."""
    points = plan.points
    rows, number = store.read_numbered([point.key for point in points])

    def insert(place: int, name: str, texts: list[str]) -> None:
        rows.insert(place, name, pd.Series(texts, dtype="str").take(number).reset_index(drop=True))

    insert(0, "label", [point.codec.label for point in points])
    insert(1, "codec", [point.codec.codec for point in points])
    insert(3, "channel", [point.link.shown_name for point in points])
    if _has_seeds(plan):
        seeds = pd.Series([point.seed for point in points])
        rows.insert(list(rows).index("trial"), "seed", seeds.take(number).reset_index(drop=True))
    if plan.scenario.snr_knowledge is not None:
        known = [point.knowledge.name if point.knowledge else "" for point in points]
        insert(list(rows).index("cbr") + 1, "snr_knowledge", known)
    return rows


def _has_seeds(plan: Plan) -> bool:
    """Whether a codec stands for several trainings."""
    return any(codec.seeds is not None for codec in plan.scenario.codecs)


def _complexity(codecs: Sequence[SweptCodec], side: int) -> pd.DataFrame:
    """A line a codec: parameters and multiply-accumulates; none (NaN) for classical ones."""
    lines: list[dict[str, object]] = []
    for settings in codecs:
        codec = codec_from_settings(settings.repetitions()[0])
        if isinstance(codec, NeuralCodec):
            macs, scan_macs = count_macs(RoundTrip(codec, side).run)
            counts = {"parameters": count_parameters(codec), "macs": macs, "scan_macs": scan_macs}
        else:
            counts = {}
        lines.append({"label": settings.label, "side": side, **counts})
    columns = ["label", "side", "parameters", "macs", "scan_macs"]
    return pd.DataFrame(lines).reindex(columns=columns).astype(dict.fromkeys(columns[2:], "Int64"))


def _manifest(plan: Plan, file: str | None) -> dict[str, Any]:
    links = plan.links
    several = len(links) > 1
    return {
        "file": file,
        "scenario": plan.scenario.model_dump(mode="json", by_alias=True),
        "channel": {link.shown_name: link.name for link in links} if several else links[0].name,
        "images": list(plan.names),
        "codecs": dict(plan.codecs),
        "made_of": dict(plan.made_of),
        "points": [
            {"label": p.codec.label, "cbr": p.cbr, "snr_db": p.snr_db}
            | ({"seed": p.seed} if _has_seeds(plan) else {})
            | ({} if p.knowledge is None else {"snr_knowledge": p.knowledge.name})
            | ({"channel": p.link.shown_name} if several else {})
            | {"key": p.key}
            for p in plan.points
        ],
        "own_metrics": [asdict(column) for column in own_columns(plan.scenario.metrics)],
        "versions": versions(),
        "machine": machine(),
    }


def _collect_pictures(plan: Plan, store: Store, folder: Path, rows: pd.DataFrame) -> None:
    """Copy the kept reconstructions to pictures/, with an index that says what each is."""
    kept = [point for point in plan.points if point.pictures]
    wanted = {name for point in kept for name in point.pictures}
    images = distinct_slugs(name for name in plan.names if name in wanted)
    labels = distinct_slugs((point.codec.label for point in kept), taken=["original"])
    index: list[dict[str, Any]] = []
    for place, name in enumerate(plan.names):
        if name in wanted:
            file = f"original_{images[name]}.png"
            write_png(folder / file, plan.items[place].image)
            index.append({"label": "original", "image": name, "file": file})
    in_first = rows["channel"] == plan.links[0].shown_name  # the one whose pictures are kept
    first = rows[in_first & (rows["trial"] == 0)]
    first = first[first["seed"] == 0] if "seed" in rows else first
    for point in kept:
        for name in point.pictures:
            file = f"{labels[point.codec.label]}_{images[name]}.png"
            content = store.picture_path(point.key, name).read_bytes()
            write_atomically(folder / file, partial(_write_bytes, content))
            what = {
                "label": point.codec.label,
                "image": name,
                "snr_db": point.snr_db,
                "cbr": point.cbr,
            }
            row = first[(first[list(what)] == pd.Series(what)).all(axis=1)]
            psnr = float(row["psnr"].iloc[0]) if "psnr" in row else math.nan
            index.append({**what, "psnr": psnr, "file": file})
    columns = ["label", "image", "snr_db", "cbr", "psnr", "file"]
    table = pd.DataFrame(index, columns=columns)
    _write_or_remove(folder / "index.csv", table if index else None)
    _remove_files(folder, (".png",), keep=set(table["file"]))


def _write_bytes(content: bytes, path: Path) -> None:
    path.write_bytes(content)
