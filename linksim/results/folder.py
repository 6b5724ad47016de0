"""What a result folder is, and what its manifest says."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from linksim.errors import InputError, one_line
from linksim.metrics.table import Column, all_columns


def result_folders(folder: Path) -> list[Path]:
    """Every result folder at or below ``folder``, sorted; raises InputError where there is none."""
    tables = sorted(folder.rglob("summary.csv"))
    if not tables:
        raise InputError(
            f"{folder}: no results here; wanted is a folder that 'python -m linksim run' wrote, "
            "with summary.csv in it, or a folder of such folders"
        )
    return [table.parent for table in tables]


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a result folder; raises InputError for one that is missing or damaged."""
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; 'python -m linksim run' writes it") from None
    except (OSError, ValueError) as error:
        raise _damaged(path, one_line(error)) from None
    if not isinstance(manifest, dict):
        raise _damaged(path, "no keys and values")
    return manifest


def columns_of(folder: Path) -> dict[str, Column]:
    """Every column of quality that the tables of a folder may hold, by name.

    Those of a user's own metrics are in its manifest; a folder without one has none. Raises
    InputError for a damaged manifest.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        return all_columns()
    own = read_manifest(folder).get("own_metrics", ())
    try:
        return all_columns(Column(**column) for column in own)
    except TypeError as error:
        raise _damaged(path, one_line(error)) from None


def _damaged(path: Path, why: str) -> InputError:
    return InputError(
        f"{path}: not a readable manifest ({why}); 'python -m linksim run' writes it again"
    )


def channel_settings(manifest: Mapping[str, Any], table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The settings of a result's channels by the channels' labels, of those that have any; the
    tables keep the scenario's order."""
    settings = manifest.get("scenario", {}).get("channel", [])
    return {
        channel: one
        for channel, one in zip(table["channel"].unique(), settings, strict=False)
        if isinstance(one, dict)
    }
