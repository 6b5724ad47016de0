"""Learning curves of trained weights, over the pixels that they and what they went on from saw."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from linksim.errors import InputError
from linksim.files.tables import read_table
from linksim.training.card import pixels_after, pixels_of
from linksim.zoo import card_path

PAPER_GIGAPIXELS = 50.0
"""What MambaJSCC saw in its authors' training: 200,000 steps of 4 crops of 256x256."""


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """One training: its weights, the pixels seen before it and in all, its validations."""

    name: str
    codec: str
    channel: str
    before: int
    total: int
    curve: pd.DataFrame


def learning_curves(references: Sequence[str]) -> pd.DataFrame:
    """Quality on held-out photographs, a line a validation, from the curves beside weights files.

    references: ``zoo:NAME`` or paths. Columns: ``label`` (the codec, or the weights' name where
    there are several of a codec), ``codec``, ``stage`` (the weights of the training that measured
    it: trainings that they went on from come first), ``gigapixels`` seen until then in all stages,
    also in those over another channel, which have no lines; ``psnr`` in dB, the mean over the
    recipe's validation SNRs; ``released``, true for the last of each stage. Raises InputError where
    a card or a curve is missing.
    """
    if not references:
        raise InputError("no weights: name at least one, such as zoo:mambajscc-small-rayleigh")
    curves = pd.concat([_curve_of(reference) for reference in references], ignore_index=True)
    alike = curves.groupby("codec")["label"].transform("nunique")
    return curves.assign(label=curves["label"].where(alike > 1, curves["codec"]))


def gains(curves: pd.DataFrame) -> pd.DataFrame:
    """What the last stage of each label brought a doubling of the pixels, a line a label.

    Columns: ``label``, ``gigapixels`` and ``psnr`` of the released weights, ``db_a_doubling``
    between the last two releases, and ``psnr_at_paper``: where that gain would lead at
    :data:`PAPER_GIGAPIXELS` if it did not shrink, which it does: a bound from above. Not-a-number
    for weights of a single stage.
    """
    rows = []
    for label, points in curves[curves["released"]].groupby("label", sort=False):
        last = points.iloc[-1]
        slope = np.nan
        if len(points) > 1:
            before = points.iloc[-2]
            slope = (last["psnr"] - before["psnr"]) / np.log2(
                last["gigapixels"] / before["gigapixels"]
            )
        left = np.log2(PAPER_GIGAPIXELS / last["gigapixels"])
        row = {"label": label, "gigapixels": last["gigapixels"], "psnr": last["psnr"]}
        rows.append(row | {"db_a_doubling": slope, "psnr_at_paper": last["psnr"] + slope * left})
    return pd.DataFrame(rows)


def _curve_of(reference: str) -> pd.DataFrame:
    every = list(_stages(reference))
    stages = [stage for stage in every if stage.channel == every[-1].channel]
    tables = []
    for stage in stages:
        table = stage.curve.assign(
            label=stages[-1].name,
            codec=stages[-1].codec,
            stage=stage.name,
            gigapixels=(stage.before + stage.curve["pixels"]) / 1e9,
            released=stage.curve.index == stage.curve.index[-1],
        )
        tables.append(table[["label", "codec", "stage", "gigapixels", "psnr", "released"]])
    return pd.concat(tables, ignore_index=True)


def _stages(reference: str) -> Iterator[_Stage]:
    """The trainings that led to these weights, the first of them first."""
    path = card_path(reference)
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        recipe, total = card["recipe"], pixels_of(card)
        start = recipe["codec"].get("weights")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}: the card that belongs to weights") from None
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: no card of a training in it") from None
    own, before = total - int(card.get("pixels_seen_before", 0)), 0
    if start is not None:
        earlier = list(_stages(start))
        before = earlier[-1].total
        yield from earlier
    yield _Stage(
        name=path.stem,
        codec=recipe["codec"]["codec"],
        channel=recipe["channel"]["type"],
        before=before,
        total=before + own,
        curve=_validations(path, card),
    )


def _validations(path: Path, card: Mapping[str, Any]) -> pd.DataFrame:
    """``pixels`` of this training alone and ``psnr``, a line a validation."""
    table = read_table(path.with_suffix(".csv"), ("step", "val_psnr"))
    measured = table.dropna(subset=["val_psnr"]).reset_index(drop=True)
    if measured.empty:
        raise InputError(f"{path.with_suffix('.csv')}: no validation in it")
    if "gigapixels" in measured:
        pixels = (measured["gigapixels"] * 1e9).to_numpy()
    else:  # of curves that do not say it; there, steps are counted from 0
        pixels = pixels_after(card["recipe"], measured["step"].to_numpy() + 1)
    return pd.DataFrame({"pixels": pixels, "psnr": measured["val_psnr"]})
