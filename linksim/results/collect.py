"""What a finished sweep leaves: rows.parquet, summary.csv, compare.csv, manifest.json, pictures."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from linksim.codec_lookup import codec_from_settings
from linksim.files import write_atomically, write_png
from linksim.neural_codec import NeuralCodec
from linksim.provenance import machine, versions
from linksim.results.compare import compare
from linksim.results.stats import summarise
from linksim.settings import CodecSettings
from linksim.sweep.complexity import RoundTrip, count_macs, count_parameters
from linksim.sweep.plan import Plan, Point
from linksim.sweep.store import Store
from linksim.tables import write_table


def collect(plan: Plan, store: Store, folder: Path) -> pd.DataFrame:
    """Derive the tables from the finished points; returns the summary.

    rows.parquet: one line an image, trial and point. summary.csv: one a point. compare.csv: codecs
    against each other, where there are several. manifest.json: the scenario as it was understood,
    versions, weights' hashes and the machine. complexity.csv: what the codecs cost, where the
    scenario asks for it.
    """
    scenario = plan.scenario
    rows = pd.concat([_labelled(store, point) for point in plan.points], ignore_index=True)
    summary = summarise(rows, until=scenario.until, outage=scenario.outage or {})
    write_table(folder / "rows.parquet", rows)
    write_table(folder / "summary.csv", summary)
    if len(scenario.codecs) > 1:
        write_table(folder / "compare.csv", compare(rows))
    else:  # one that another scenario of this name left
        (folder / "compare.csv").unlink(missing_ok=True)
    text = json.dumps(_manifest(plan), indent=2) + "\n"
    write_atomically(folder / "manifest.json", lambda path: path.write_text(text))
    if scenario.complexity is not None:
        costs = _complexity(scenario.codecs, scenario.complexity)
        write_table(folder / "complexity.csv", costs)
    if scenario.pictures is not None:
        _collect_pictures(plan, store, folder / "pictures", rows)
    return summary


def _labelled(store: Store, point: Point) -> pd.DataFrame:
    """The rows of a point under the names that the scenario gives codec and knowledge."""
    rows = store.read([point.key])
    rows.insert(0, "label", point.codec.label)
    if point.knowledge is not None:
        rows.insert(list(rows).index("cbr") + 1, "snr_knowledge", point.knowledge.name)
    return rows


def _complexity(codecs: Sequence[CodecSettings], side: int) -> pd.DataFrame:
    """A line a codec: parameters and multiply-accumulates; none (NaN) for classical ones."""
    lines: list[dict[str, object]] = []
    for settings in codecs:
        codec = codec_from_settings(settings)
        if isinstance(codec, NeuralCodec):
            macs, scan_macs = count_macs(RoundTrip(codec, side).run)
            counts = {"parameters": count_parameters(codec), "macs": macs, "scan_macs": scan_macs}
        else:
            counts = {}
        lines.append({"label": settings.label, "side": side, **counts})
    columns = ["label", "side", "parameters", "macs", "scan_macs"]
    return pd.DataFrame(lines).reindex(columns=columns).astype(dict.fromkeys(columns[2:], "Int64"))


def _manifest(plan: Plan) -> dict[str, Any]:
    links = plan.links
    several = len(links) > 1
    return {
        "scenario": plan.scenario.model_dump(mode="json", by_alias=True),
        "channel": {link.shown_name: link.name for link in links} if several else links[0].name,
        "images": list(plan.names),
        "codecs": dict(plan.codecs),
        "points": [
            {"label": p.codec.label, "cbr": p.cbr, "snr_db": p.snr_db}
            | ({} if p.knowledge is None else {"snr_knowledge": p.knowledge.name})
            | ({"channel": p.link.shown_name} if several else {})
            | {"key": p.key}
            for p in plan.points
        ],
        "versions": versions(),
        "machine": machine(),
    }


def _collect_pictures(plan: Plan, store: Store, folder: Path, rows: pd.DataFrame) -> None:
    """Copy the kept reconstructions to pictures/, with an index that says what each is."""
    index: list[dict[str, Any]] = []
    kept = [point for point in plan.points if point.pictures]
    wanted = {name for point in kept for name in point.pictures}
    for place, name in enumerate(plan.names):
        if name in wanted:
            file = f"original_{_slug(name)}.png"
            write_png(folder / file, plan.items[place].image)
            index.append({"label": "original", "image": name, "file": file})
    in_first = rows["channel"] == plan.links[0].shown_name  # the one whose pictures are kept
    first = rows[in_first & (rows["trial"] == 0)]
    for point in kept:
        for name in point.pictures:
            file = f"{_slug(point.codec.label)}_{_slug(name)}.png"
            shutil.copyfile(store.picture_path(point.key, name), folder / file)
            what = {
                "label": point.codec.label,
                "image": name,
                "snr_db": point.snr_db,
                "cbr": point.cbr,
            }
            row = first[(first[list(what)] == pd.Series(what)).all(axis=1)]
            psnr = float(row["psnr"].iloc[0]) if "psnr" in row else None
            index.append({**what, "psnr": psnr, "file": file})
    write_table(folder / "index.csv", pd.DataFrame(index))


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else "-" for c in name).strip("-").lower()
