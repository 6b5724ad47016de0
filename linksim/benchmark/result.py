"""The one file that a benchmark leaves: what was run, every row of it, and where it stands."""

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from linksim.benchmark.protocols import NAME, Entrant
from linksim.errors import InputError, one_line
from linksim.files import write_atomically
from linksim.metrics.table import COLUMNS
from linksim.results.intervals import Estimate, means
from linksim.settings import first_error

QUALITIES = ("psnr", "ms_ssim", "lpips")
WHERE = ("image", "trial", "snr_db", "cbr")
"""What tells the rows of a codec over a protocol apart."""

_COUNTED = ("cbr_realised", "side_info_bits", "failed")
_DECIMALS = 6


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Score(_Part):
    """A mean over images, SNRs and fades with its 95 % interval over images; None where there is
    none."""

    mean: float | None
    low: float | None
    high: float | None


class Over(_Part):
    """What came of one protocol.

    rows: columns of one value a transmission. scores: of each metric. gaps: for each reference and
    metric, the codec less the reference on the same images, fades and noise.
    """

    digest: str
    weights: str | None
    rows: dict[str, list[Any]]
    scores: dict[str, Score]
    gaps: dict[str, dict[str, Score]]

    def table(self) -> pd.DataFrame:
        """The rows."""
        return pd.DataFrame(self.rows).astype(dict.fromkeys(QUALITIES, "float64"))


class Result(_Part):
    """A codec's results of all protocols. card: what the weights' file says of itself."""

    benchmark: str
    entrant: Entrant
    identity: dict[str, Any]
    parameters: int | None
    card: dict[str, Any]
    references: dict[str, dict[str, Any]]
    versions: dict[str, str]
    machine: dict[str, Any]
    protocols: Annotated[dict[str, Over], Field(min_length=1)]

    @property
    def label(self) -> str:
        """How tables call the codec."""
        return self.entrant.label


def read_result(path: Path) -> Result:
    """A results file; raises InputError for one that is missing, damaged or of another version."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable results file ({one_line(error)})") from None
    if not isinstance(data, dict) or data.get("benchmark") != NAME:
        raise InputError(f"{path}: not a results file of {NAME}; 'linksim benchmark' writes one")
    try:
        return Result.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{path}: not a readable results file ({first_error(error)})") from None


def write_result(path: Path, result: Result) -> None:
    """Write a results file."""
    text = json.dumps(result.model_dump(mode="json", exclude_unset=True), indent=1) + "\n"
    write_atomically(path, lambda place: place.write_text(text, encoding="utf-8"))


def over_protocol(
    rows: pd.DataFrame, label: str, others: list[str], *, digest: str, weights: str | None
) -> Over:
    """A codec's part of the rows of a protocol, and its gaps to others among them."""
    own = _ordered(rows, label)
    own[list(QUALITIES)] = own[list(QUALITIES)].round(_DECIMALS)
    kept = [name for name in (*WHERE, *QUALITIES, *_COUNTED) if name in own]
    return Over(
        digest=digest,
        weights=weights,
        rows={name: _plain(own[name]) for name in kept},
        scores=scores(own),
        gaps={other: _gaps(own, _ordered(rows, other)) for other in others if other != label},
    )


def scores(own: pd.DataFrame) -> dict[str, Score]:
    """The mean of each metric, its interval within what the metric can be."""
    found = {name: _means(own, own[name].to_numpy(np.float64)) for name in QUALITIES}
    return {
        name: _rounded(mean.within(COLUMNS[name].least, COLUMNS[name].most))
        for name, mean in found.items()
    }


def _gaps(own: pd.DataFrame, other: pd.DataFrame) -> dict[str, Score]:
    return {
        name: _rounded(
            _means(own, own[name].to_numpy(np.float64) - other[name].to_numpy(np.float64))
        )
        for name in QUALITIES
    }


def _means(own: pd.DataFrame, values: "np.ndarray[Any, np.dtype[np.float64]]") -> Estimate:
    """Of a value a row; what is independent are the images."""
    image, _ = pd.factorize(own["image"])
    sums, counts = np.bincount(image, values), np.bincount(image)
    return means(sums[:, None].astype(np.float64), counts[:, None].astype(np.float64))


def _rounded(found: Estimate) -> Score:
    mean, low, high = (
        round(float(part[0]), _DECIMALS) if np.isfinite(part[0]) else None
        for part in (found.value, found.low, found.high)
    )
    return Score(mean=mean, low=low, high=high)


def _ordered(rows: pd.DataFrame, label: str) -> pd.DataFrame:
    return rows[rows["label"] == label].sort_values(list(WHERE), ignore_index=True)


def _plain(values: "pd.Series[Any]") -> list[Any]:
    if pd.api.types.is_float_dtype(values):
        return [value if np.isfinite(value) else None for value in values]
    return list(values.to_numpy().tolist())


def in_words(name: str) -> str:
    """How tables call a metric."""
    return COLUMNS[name].axis
