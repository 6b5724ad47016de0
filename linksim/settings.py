"""YAML files read into frozen, validated settings; what is wrong is said in one line."""

import difflib
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from linksim.errors import InputError, one_line

S = TypeVar("S", bound="Settings")


class Settings(BaseModel):
    """Base of all settings: frozen, and an unknown key is an error that names the known ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            allowed = [field.alias or name for name, field in cls.model_fields.items()]
            for key in data:
                if key not in allowed:
                    close = difflib.get_close_matches(str(key), allowed, 1)
                    hint = f"; did you mean {close[0]!r}?" if close else ""
                    raise ValueError(
                        f"unknown key {str(key)!r}{hint} (allowed: {', '.join(allowed)})"
                    )
        return data


def _parse_ratio(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return float(Fraction(value.replace(" ", "")))
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"{value!r} is not a number or a ratio such as 1/48") from None
    return value


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple | dict) else [value]


def _distinct(values: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(values)) != len(values):
        raise ValueError("values are repeated; each may stand once")
    return values


Precision = Literal["fp32", "bf16"]
Db = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
Cbr = Annotated[float, BeforeValidator(_parse_ratio), Field(gt=0, le=10, allow_inf_nan=False)]


class Steps(Settings):
    """Evenly spaced values: ``{from: 1, to: 19, step: 2}``, both ends included."""

    start: Db = Field(alias="from")
    stop: Db = Field(alias="to")
    step: float = Field(gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.stop < self.start:
            raise ValueError(f"from ({self.start:g}) is above to ({self.stop:g})")
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

    A key ``name`` that the file leaves out is the file's name. A key ``base`` names another file,
    relative to this one, whose keys hold where this one has none.
    """
    data = _read_mapping(path)
    if "name" in model.model_fields:
        data.setdefault("name", path.stem)
    if "base" in data:
        data = _read_mapping(path.parent / str(data.pop("base"))) | data
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{path}: {first_error(error)}") from None


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {one_line(error)}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: must hold keys and values, such as 'snr_db: [1, 5, 9]'")
    return data


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
