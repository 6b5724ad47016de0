"""What a result folder says of its own columns."""

import json
from pathlib import Path

from linksim.errors import InputError, one_line
from linksim.metrics.table import Column, all_columns


def columns_of(folder: Path) -> dict[str, Column]:
    """Every column of quality that the tables of a folder may hold, by name.

    Those of a user's own metrics are in its manifest; a folder without one has none. Raises
    InputError for a damaged manifest.
    """
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        return all_columns(Column(**column) for column in manifest.get("own_metrics", ()))
    except FileNotFoundError:
        return all_columns()
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: not a readable manifest ({one_line(error)}); "
            "'python -m linksim run' writes it again"
        ) from None
