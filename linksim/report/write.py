"""``linksim report``: a result folder's tables as one HTML page that needs nothing else."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from linksim.errors import InputError
from linksim.files import write_atomically
from linksim.files.tables import read_table
from linksim.metrics.table import Column
from linksim.plot.facets import interval_over, with_estimators
from linksim.plot.look import codec_looks
from linksim.plot.published import read_published
from linksim.plot.street import site_names_of
from linksim.report.charts import ChartSet, curves, outage_distributions, quality_against_cost
from linksim.report.ledger import ledger
from linksim.report.page import render, script_safe
from linksim.report.pictures import embedded
from linksim.report.street import streets
from linksim.report.words import codec_lines, provenance, told
from linksim.results.folder import columns_of, read_manifest, result_folders

_NEEDED = ("label", "is_bound", "channel", "snr_db", "cbr", "images", "cbr_realised")
_DECIMALS = {"psnr": 2, "ms_ssim_db": 2, "lpips": 3, "ssim": 3, "accuracy": 3}


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A column of the page's table: its key in the summary, its heading, its decimals."""

    key: str
    heading: str
    decimals: int | None = None


def write_reports(folder: Path) -> list[Path]:
    """``report.html`` beside every ``summary.csv`` at or below ``folder``; gives their paths.

    Of several, also ``index.html`` in ``folder``. Raises InputError where there is no result, or a
    table is damaged.
    """
    found = result_folders(folder)
    pages = [write_report(one) for one in found]
    if found[0] == folder:
        return pages
    entries = [
        {"name": str(page.parent.relative_to(folder)), "href": page.relative_to(folder).as_posix()}
        | _entry(page.parent)
        for page in pages
    ]
    index = render("index.html.j2", entries=entries)
    path = folder / "index.html"
    write_atomically(path, lambda place: place.write_text(index, encoding="utf-8"))
    return [*pages, path]


def write_report(folder: Path) -> Path:
    """``folder/report.html`` from the folder's tables and pictures; raises InputError."""
    manifest = _manifest(folder)
    summary = with_estimators(read_table(folder / "summary.csv", _NEEDED), manifest)
    rows = read_table(folder / "rows.parquet", ("label", "snr_db"))
    looks = codec_looks(summary)
    columns = [
        column
        for column in columns_of(folder).values()
        if column.drawn and column.name in summary and summary[column.name].notna().any()
    ]
    costs = _if_there(folder / "complexity.csv", ("label", "macs"))
    gaps = _if_there(folder / "compare.csv", ("label", "reference"))
    index = _if_there(folder / "pictures" / "index.csv", ("label", "file"))
    pictures = [] if index is None else embedded(index, folder / "pictures")
    data = {
        "curves": _plain(curves(summary, columns, looks, read_published(folder))),
        "cost": (
            [] if costs is None else _plain(quality_against_cost(summary, costs, columns, looks))
        ),
        "outage": _plain(outage_distributions(rows, summary, columns, looks)),
        "street": _plain(streets(site_names_of(manifest, summary), rows, columns, looks)),
        "gaps": _gap_lines(gaps),
        "pictures": [asdict(picture) for picture in pictures],
    }
    page = render(
        "report.html.j2",
        name=str(manifest["scenario"]["name"]),
        told=told(manifest),
        codecs=codec_lines(manifest),
        provenance=provenance(manifest),
        over=interval_over(summary),
        looks=[
            {"label": label, "shown": look.label(label), "is_bound": bool(look.dashes)}
            for label, look in looks.items()
        ],
        columns=_headings(summary, columns),
        lines=summary.to_dict("records"),
        ledger=ledger(rows),
        data=script_safe(data),
        has={key: bool(value) for key, value in data.items()},
        plotly=_plotly(),
    )
    path = folder / "report.html"
    write_atomically(path, lambda place: place.write_text(page, encoding="utf-8"))
    return path


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _plain(sets: Any) -> list[dict[str, Any]]:
    return [_chart_set(entry) for entry in sets]


def _chart_set(entry: ChartSet) -> dict[str, Any]:
    return {"title": entry.title, "charts": dict(entry.charts)}


def _headings(summary: pd.DataFrame, columns: Sequence[Column]) -> list[Heading]:
    fixed = {"label": "Codec", "channel": "Channel", "snr_knowledge": "SNR known", "cbr": "CBR"}
    headings = [
        Heading(key=key, heading=heading, decimals=4 if key == "cbr" else None)
        for key, heading in fixed.items()
        if key in summary and (key == "label" or summary[key].nunique() > 1)
    ]
    headings.append(Heading(key="snr_db", heading="SNR (dB)", decimals=1))
    headings += [
        Heading(key=column.name, heading=column.axis, decimals=_DECIMALS.get(column.name, 2))
        for column in columns
    ]
    return [*headings, Heading(key="failure_rate", heading="Failed", decimals=3)]


def _gap_lines(gaps: pd.DataFrame | None) -> list[dict[str, Any]]:
    """compare.csv for the page: text and numbers only."""
    if gaps is None:
        return []
    lines = []
    for line in gaps.to_dict("records"):
        where = [f"{line['snr_db']:g} dB"] if line["snr_db"] == line["snr_db"] else ["all SNRs"]
        where += [f"CBR {line['cbr']:.4g}"] if line["cbr"] == line["cbr"] else ["all CBRs"]
        where += [str(line["snr_knowledge"])] if "snr_knowledge" in line else []
        unit = line["unit"] if line["unit"] == line["unit"] else ""
        numbers = [line[f"difference{end}"] for end in ("", "_lo", "_hi")]
        lines.append(
            {
                "label": str(line["label"]),
                "reference": str(line["reference"]),
                "at": ", ".join(where),
                "channel": str(line["channel"]),
                "quantity": str(line["quantity"]),
                "unit": str(unit),
                "gap": [None if n != n else float(f"{n:.4g}") for n in numbers],
            }
        )
    return lines


def _entry(folder: Path) -> dict[str, Any]:
    manifest = _manifest(folder)
    return {"told": told(manifest)[0], "labels": ", ".join(map(str, manifest["codecs"]))}


def _manifest(folder: Path) -> dict[str, Any]:
    """The manifest, with all that a page tells of it."""
    manifest = read_manifest(folder)
    missing = [key for key in ("scenario", "images", "codecs", "channel") if key not in manifest]
    if missing:
        raise InputError(
            f"{folder / 'manifest.json'}: not a readable manifest (no {missing[0]}); "
            "'python -m linksim run' writes it again"
        )
    return manifest


def _if_there(path: Path, needed: Sequence[str]) -> pd.DataFrame | None:
    return read_table(path, needed) if path.is_file() else None
