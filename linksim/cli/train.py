"""``linksim train``."""

import logging
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from linksim.errors import InputError
from linksim.files.tables import write_table
from linksim.settings import first_error
from linksim.training.recipe import Recipe, load_recipe


def train_recipe(
    path: Path,
    *,
    out: Path,
    steps: int | None,
    data: Path | None,
    decay_from: str | None,
    minutes: float | None,
    device: str,
    overwrite: bool,
    shard_mb: int | None,
    compiled: bool,
    console: Console,
) -> None:
    """Train by a recipe file into ``out/<name>``; raises InputError."""
    recipe = _changed(load_recipe(path), steps, data)
    origin = _step(decay_from)
    # Lightning advises on matters that the recipe has settled.
    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    from linksim.training.train import Start, leads, train

    if not leads():
        console = Console(quiet=True)
    start = Start(
        decay_from=origin,
        minutes=minutes,
        device=device,
        overwrite=overwrite,
        shard_mb=shard_mb,
        compiled=compiled,
    )
    folder = out / recipe.name
    weights = train(recipe, folder, start, console)
    if weights is None:
        console.print("The same command goes on.")
        return
    console.print(f"Weights in {weights}, their card beside them. In a scenario:", soft_wrap=True)
    console.print(
        f"  - {{codec: {recipe.codec.codec}, weights: {weights}}}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    if recipe.schedule == "wsd" and origin is None:
        console.print("They are those of the constant rate; to release: --decay-from last")


def show_learning(references: Sequence[str], out: Path, console: Console) -> None:
    """``linksim learning``: learning.csv, gains.csv and figures in ``out``, the gains printed."""
    from linksim.plot.learning import draw_learning
    from linksim.training.learning import PAPER_GIGAPIXELS, gains, learning_curves

    curves = learning_curves(references)
    reached = gains(curves)
    write_table(out / "learning.csv", curves)
    write_table(out / "gains.csv", reached)
    table = Table("weights", "gigapixels", "PSNR (dB)", "a doubling", box=box.SIMPLE_HEAD)
    for row in reached.to_dict("records"):
        gain = float(row["db_a_doubling"])
        known = "-" if math.isnan(gain) else f"{gain:+.2f}"
        seen, psnr = f"{row['gigapixels']:.2f}", f"{row['psnr']:.2f}"
        table.add_row(escape(str(row["label"])), seen, psnr, known)
    console.print(table)
    for path in draw_learning(curves, out / "figures" / "learning", paper=PAPER_GIGAPIXELS):
        console.print(str(path), soft_wrap=True, highlight=False, markup=False)


def _step(decay_from: str | None) -> int | Literal["last"] | None:
    if decay_from is None or decay_from == "last":
        return decay_from  # type: ignore[return-value]
    if not decay_from.isdecimal():
        raise InputError(f"--decay-from is {decay_from!r}; allowed are a step and 'last'")
    return int(decay_from)


def _changed(recipe: Recipe, steps: int | None, data: Path | None) -> Recipe:
    changed = recipe.model_dump(by_alias=True, exclude_unset=True)
    if steps is not None:
        changed["steps"] = steps
    if data is not None:
        changed["images"]["root"] = data
    try:
        return Recipe.model_validate(changed)
    except ValidationError as error:
        raise InputError(first_error(error)) from None
