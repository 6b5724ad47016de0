"""``linksim import``."""

from pathlib import Path

from rich.console import Console

from linksim.cli.options import parse_options
from linksim.importing import import_weights
from linksim.neural_codec import read_weights_metadata


def import_files(
    files: list[Path], *, codec: str, out: Path | None, settings: list[str], console: Console
) -> None:
    """Import a checkpoint and say what became of it; raises InputError."""
    path = import_weights(files, codec, out=out, options=parse_options(settings))
    options, card = read_weights_metadata(path)
    given = ", ".join(f"{name}: {value}" for name, value in options.items())
    lines = [f"Options: {given}", *card["conventions"]]
    lines += [f"Not represented: {lost}" for lost in card["not_represented"]]
    lines += ["In a scenario:", f"  - {{codec: {codec}, weights: {path}}}"]
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
