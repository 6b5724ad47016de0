"""YAML files read into frozen, validated settings; what is wrong is said in one line."""

import difflib
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from linksim.errors import InputError
from linksim.files.strict_yaml import read_mapping

S = TypeVar("S", bound="Settings")


class Settings(BaseModel):
    """Base of all settings: frozen, and an unknown key is an error that names the known ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            fields = {field.alias or name: field for name, field in cls.model_fields.items()}
            for key, value in data.items():
                if key not in fields:
                    close = difflib.get_close_matches(str(key), fields, 1)
                    hint = f"; did you mean {close[0]!r}?" if close else ""
                    raise ValueError(
                        f"unknown key {str(key)!r}{hint} (allowed: {', '.join(fields)})"
                    )
                if _holds_numbers(fields[key].annotation):
                    _refuse_guesses(key, value)
        return data


def _holds_numbers(annotation: Any) -> bool:
    """Whether a field's type has numbers in it, and neither free text nor truth values."""
    leaves = set(plain_types(annotation))
    return bool(leaves & {int, float}) and not leaves & {str, bool, Any}


def plain_types(annotation: Any) -> Iterator[Any]:
    """The plain types in an annotation; of a literal there are none."""
    if get_origin(annotation) is Literal:
        return
    parts = get_args(annotation)
    if not parts:
        yield annotation
    for part in parts[:1] if get_origin(annotation) is Annotated else parts:
        yield from plain_types(part)


def _refuse_guesses(key: str, value: Any) -> None:
    """Raise ValueError for a truth value or a number in quotes, of which numbers could be made."""
    if isinstance(value, bool):
        raise ValueError(f"{key}: {value} is no number (yes, no, on and off are true and false)")
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        raise ValueError(f"{key}: {value!r} is text, not a number; write it without quotes")
    if isinstance(value, list | tuple | dict):
        for part in value.values() if isinstance(value, dict) else value:
            _refuse_guesses(key, part)


_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


_RATIO = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?/ ?(\d{1,9}(?:\.\d{1,9})?)")


def _parse_ratio(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    ratio = _RATIO.fullmatch(value.strip())
    if ratio is None or float(ratio[2]) == 0:
        raise ValueError(f"{value!r} is not a number or a ratio such as 1/48")
    return float(Fraction(ratio[1]) / Fraction(ratio[2]))


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple | dict) else [value]


def _distinct(values: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(values)) != len(values):
        raise ValueError("values are repeated; each may stand once")
    return values


def _plain_name(value: str) -> str:
    if not _NAME.fullmatch(value) or len(value.encode()) > MAX_NAME_BYTES:
        raise ValueError(
            f"{value!r} is no name; wanted are letters, digits, _ . and -, the first a letter or a "
            f"digit, at most {MAX_NAME_BYTES} bytes"
        )
    return value


MAX_NAME_BYTES = 100
MAX_VALUES = 100_000
_NAME = re.compile(r"[^\W_][\w.-]*")
Name = Annotated[str, AfterValidator(_plain_name)]
"""Of a scenario or a recipe, and of the folder that it gets: never a path."""

Precision = Literal["fp32", "bf16"]
Db = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
Cbr = Annotated[float, BeforeValidator(_parse_ratio), Field(gt=0, le=10, allow_inf_nan=False)]


class Steps(Settings):
    """Evenly spaced values: ``{from: 1, to: 19, step: 2}``, both ends included."""

    start: Db = Field(alias="from")
    stop: Db = Field(alias="to")
    step: float = Field(gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.stop < self.start:
            raise ValueError(f"from ({self.start:g}) is above to ({self.stop:g})")
        if (self.stop - self.start) / self.step >= MAX_VALUES:
            count = (self.stop - self.start) / self.step + 1
            raise ValueError(f"{count:,.0f} values; at most {MAX_VALUES:,} are allowed")
        return self

    def values(self) -> tuple[float, ...]:
        """start, start + step, … up to stop."""
        count = int((self.stop - self.start) / self.step + 1e-9) + 1
        return tuple(round(self.start + i * self.step, 9) for i in range(count))


def _spread(value: Any) -> Any:
    return Steps.model_validate(value).values() if isinstance(value, dict) else _listed(value)


SnrList = Annotated[
    tuple[Db, ...], BeforeValidator(_spread), Field(min_length=1), AfterValidator(_distinct)
]
CbrList = Annotated[
    tuple[Cbr, ...], BeforeValidator(_listed), Field(min_length=1), AfterValidator(_distinct)
]


class CodecSettings(Settings):
    """Which codec, and how it is set.

    codec: a name that ``linksim codecs`` lists, ``package.module:Class`` or ``./file.py:Class``.
    preset, options: a named set of constructor options, and single ones over it.
    weights: a safetensors file, or ``zoo:NAME`` for those shipped with linksim.
    precision: of a neural codec's layers; symbols and metrics are float32 always.
    label: how tables and figures call it; the codec if left out.
    """

    codec: str
    label: str = ""
    preset: str | None = None
    options: dict[str, Any] = {}
    weights: str | None = None
    precision: Precision = "fp32"

    @model_validator(mode="before")
    @classmethod
    def _labelled(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("label") and "codec" in data:
            return {**data, "label": data["codec"]}
        return data


def load_settings(path: Path, model: type[S]) -> S:
    """Read a YAML file into ``model``; raises InputError that names file, key and what is allowed.

    A key ``name`` that the file leaves out is made of the file's name. A key ``base`` names another
    file, relative to this one, whose keys hold where this one has none; it may have a base too.
    """
    data = read_mapping(path)
    if "name" in model.model_fields:
        data.setdefault("name", usable_name(path.stem))
    data = _over_its_base(data, path, {path.resolve()})
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{path}: {first_error(error)}") from error


def _over_its_base(data: dict[str, Any], path: Path, followed: set[Path]) -> dict[str, Any]:
    base = data.pop("base", None)
    if base is None:
        return data
    if not isinstance(base, str):
        raise InputError(f"{path}: base: {base!r} is no file name")
    under = path.parent / base
    if under.resolve() in followed:
        raise InputError(f"{path}: base: {base} comes back to itself")
    return _over_its_base(read_mapping(under), under, followed | {under.resolve()}) | data


def usable_name(text: str) -> str:
    """A name as :data:`Name` allows it, as close to a text as can be."""
    name = re.sub(r"[^\w.-]+", "-", text).strip("-._")
    while len(name.encode()) > MAX_NAME_BYTES:
        name = name[:-1]
    return name or "unnamed"


def first_error(error: ValidationError) -> str:
    """The first of the errors in one line, with the key that it is about."""
    where, message = _first(error)
    return " ".join(f"{where}: {message}".removeprefix(": ").split())


def _first(error: ValidationError, where: str = "") -> tuple[str, str]:
    errors = error.errors()
    first = errors[0]
    for part in first["loc"]:
        where += f"[{part}]" if isinstance(part, int) else f".{part}" if where else str(part)
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, ValidationError):  # of settings that a validator read
        return _first(cause, where)
    message = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    if first["type"] not in ("value_error", "missing") and not isinstance(given, dict):
        message += f" (given: {given!r})"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return where, message + more
