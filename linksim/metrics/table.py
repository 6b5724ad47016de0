"""The one table of metrics: what each is called, which way is better, how it is measured.

Scenarios, the sweep, tables, comparisons, figures, outage and recipes read it. A new metric is one
entry of :data:`METRICS`; a user's own is a function that a scenario names, as
``./file.py:function``, told more of by :func:`metric`.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, WithJsonSchema
from torch import Tensor

from linksim.errors import InputError
from linksim.files.tables import TEXT_COLUMNS, WHOLE_COLUMNS
from linksim.metrics import quality
from linksim.metrics.quality import Quality, Steps
from linksim.provenance.plugins import find_plugin

Better = Literal["higher", "lower", "neither"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of quality in rows and tables.

    label, unit: how tables and figures call it. better: which way. least, most: between which its
    values lie. is_rate: whether its values are 0 and 1, so that its mean is a rate. drawn: whether
    it has figures of its own. reported: whether a codec may tell it or not, so that nothing there
    is no failure.
    """

    name: str
    label: str
    unit: str = ""
    better: Better = "higher"
    least: float = -math.inf
    most: float = math.inf
    is_rate: bool = False
    drawn: bool = True
    reported: bool = False

    @property
    def axis(self) -> str:
        """What an axis says: label, unit and, where it is not what one expects, which way."""
        lower = self.better == "lower" and not self.unit
        inside = ", ".join(filter(None, (self.unit, "lower is better" if lower else "")))
        return f"{self.label} ({inside})" if inside else self.label

    @property
    def sign(self) -> int:
        """1, or -1 where less is better."""
        return -1 if self.better == "lower" else 1

    def missed(self, target: float) -> str:
        """That a target was missed, in words: ``PSNR below 25 dB``."""
        where = "above" if self.better == "lower" else "below"
        return f"{self.label} {where} {target:g} {self.unit}".strip()


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What can be measured of decoded images.

    column: of its values. function: images and references to [B]; None for what only a codec's
    report tells (:func:`linksim.metrics.meter.verdicts`). steps: the same in two steps, where that
    is quicker. db: its values in dB, more being better, and the column of that; None for none.
    variant: what is computed at a height and width, where that differs. loss: a differentiable
    form, less being better, to train with.
    """

    column: Column
    function: Quality | None = None
    steps: Steps | None = None
    db: tuple[Callable[[Tensor], Tensor], Column] | None = None
    variant: Callable[[int, int], str] | None = None
    loss: Quality | None = None

    @property
    def name(self) -> str:
        """That of its column."""
        return self.column.name

    @property
    def columns(self) -> tuple[Column, ...]:
        """Of the values and, if any, of their form in dB."""
        return (self.column,) if self.db is None else (self.column, self.db[1])


def _db(name: str, label: str, *, least: float = -math.inf, drawn: bool) -> Column:
    top = quality.CAP_DB
    return Column(name=f"{name}_db", label=label, unit="dB", least=least, most=top, drawn=drawn)


_MEASURED = (
    Metric(
        column=Column(name="psnr", label="PSNR", unit="dB", least=0, most=quality.CAP_DB),
        function=quality.psnr,
        steps=quality.STEPS["psnr"],
    ),
    Metric(
        column=Column(name="ssim", label="SSIM", least=-1, most=1),
        function=quality.ssim,
        steps=quality.STEPS["ssim"],
    ),
    Metric(
        column=Column(name="ms_ssim", label="MS-SSIM", least=0, most=1, drawn=False),
        function=quality.ms_ssim,
        steps=quality.STEPS["ms_ssim"],
        db=(quality.ms_ssim_db, _db("ms_ssim", "MS-SSIM", least=0, drawn=True)),
        variant=quality.ms_ssim_variant,
        loss=quality.ms_ssim_loss,
    ),
    Metric(
        column=Column(name="lpips", label="LPIPS", better="lower", least=0),
        function=quality.lpips,
        steps=quality.STEPS["lpips"],
        db=(quality.lpips_db, _db("lpips", "LPIPS", drawn=False)),
        loss=quality.lpips,
    ),
)

_REPORTED = (
    Column(
        name="snr_db_estimate", label="Estimated SNR", unit="dB", better="neither", reported=True
    ),
    Column(
        name="snr_error_db", label="SNR error", unit="dB", better="lower", least=0, reported=True
    ),
    Column(name="accuracy", label="Accuracy", is_rate=True, reported=True),
)

METRICS: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in _MEASURED})
"""What a scenario can name, by name."""

LOSSES: Mapping[str, Quality] = MappingProxyType(
    {"mse": quality.mse_loss} | {name: m.loss for name, m in METRICS.items() if m.loss is not None}
)
"""Differentiable losses by name, each [B]; less is better."""

COLUMNS: Mapping[str, Column] = MappingProxyType(
    {column.name: column for metric in _MEASURED for column in metric.columns}
    | {column.name: column for column in _REPORTED}
)
"""Every column of quality that linksim knows, in the order in which tables have them."""

AXIS_LABELS: Mapping[str, str] = MappingProxyType(
    {name: column.axis for name, column in COLUMNS.items() if column.drawn}
)
"""What axes say of the columns that have figures."""

_RESERVED = TEXT_COLUMNS | WHOLE_COLUMNS | COLUMNS.keys()


def metric(
    *, label: str = "", unit: str = "", better: Better = "higher", is_rate: bool = False
) -> Callable[[Quality], Metric]:
    """Say of a function, images and references [B, 3, H, W] to [B], what tables should know of it.

        @metric(label="Mean error", unit="levels", better="lower")
        def mean_error(images, references):
            return 255 * (images - references).abs().mean((1, 2, 3))

    Without it the function's name is its label, and higher is better.
    """

    def told(function: Quality) -> Metric:
        name = function.__name__
        shown = label or name.replace("_", " ")
        column = Column(name=name, label=shown, unit=unit, better=better, is_rate=is_rate)
        return Metric(column=column, function=function)

    return told


def find_metric(name: str) -> Metric:
    """The metric of the table, or a user's own, ``./file.py:function``; raises InputError."""
    if name in METRICS:
        return METRICS[name]
    if ":" not in name:
        raise InputError(
            f"metrics: {name!r} is none; allowed are {', '.join(METRICS)} and ./file.py:function"
        )
    found = find_plugin(name, group="linksim.metrics", kind="metric")
    if not isinstance(found, Metric):
        if not callable(found):
            raise InputError(f"metric {name!r}: wanted is a function of images and references")
        found = metric()(found)
    own = name.rpartition(":")[2]
    if own in _RESERVED:
        raise InputError(f"metric {name!r}: tables have a column {own} already; rename it")
    return replace(found, column=replace(found.column, name=own))


def all_columns(own: Iterable[Column] = ()) -> dict[str, Column]:
    """Every column of quality by name, a user's own ones last."""
    return dict(COLUMNS) | {column.name: column for column in own}


def own_columns(names: Sequence[str]) -> list[Column]:
    """Those columns of the metrics that a scenario names which the table does not hold."""
    found = [column for name in names for column in find_metric(name).columns]
    return [column for column in found if column.name not in COLUMNS]


def _known(name: str) -> str:
    find_metric(name)
    return name


def _known_loss(name: str) -> str:
    if name not in LOSSES:
        raise ValueError(f"{name!r} is no loss; allowed are {', '.join(LOSSES)}")
    return name


def _one_of(names: Iterable[str], *others: dict[str, Any]) -> WithJsonSchema:
    known = {"type": "string", "enum": list(names)}
    return WithJsonSchema({"anyOf": [known, *others]} if others else known)


MetricName = Annotated[
    str, AfterValidator(_known), _one_of(METRICS, {"type": "string", "pattern": ":"})
]
"""A field of settings that names a metric."""

LossName = Annotated[str, AfterValidator(_known_loss), _one_of(LOSSES)]
"""A field of settings that names a loss."""
