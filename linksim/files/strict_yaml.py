"""YAML files that say one thing: read strictly, within bounds, what is wrong told in one line.

Other than in YAML 1.1, ``1e-3`` is a number, ``1:30``, ``012`` and ``2026-11-25`` are none, and a
key that stands twice is an error. Labels and other names are text as they are written: ``7``,
``0.10``, ``no``.
"""

import re
import stat
from pathlib import Path
from typing import Any

import yaml

from linksim.errors import InputError, one_line

MAX_BYTES = 1_000_000
MAX_VALUES = 200_000
MAX_DEPTH = 50

TEXT_KEYS = frozenset(
    (
        *("about", "base", "codec", "label", "name", "preset", "root", "source", "split"),
        *("type", "weights"),
    )
)
"""Keys whose value is text, however it is written."""

TEXT_LISTS = frozenset(("images",))
"""Keys of lists of such names."""

FREE_KEYS = frozenset(("options",))
"""Keys below which names mean what a plug-in makes of them."""


def read_mapping(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file; raises InputError."""
    data = read_value(_text_of(path), str(path))
    if not isinstance(data, dict):
        raise InputError(f"{path}: must hold keys and values, such as 'snr_db: [1, 5, 9]'")
    return data


def read_value(text: str, name: str) -> Any:
    """What YAML text means; raises InputError, which begins with the text's name."""
    try:
        node = yaml.compose(text, Loader=_Loader)
        if node is None:
            return None
        _check(node, name)
        if isinstance(node, yaml.MappingNode):
            _mark_texts(node)
        return _Loader("").construct_document(node)
    except RecursionError:
        raise InputError(f"{name}: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name}: not valid YAML: {one_line(error)}") from None


def _text_of(path: Path) -> str:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode) or not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path}: not a file that can be read as YAML")
        if status.st_size > MAX_BYTES:
            raise InputError(
                f"{path}: {status.st_size:,} bytes; at most {MAX_BYTES:,} are read as YAML"
            )
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({one_line(error)})") from None


class _Loader(yaml.SafeLoader):
    """SafeLoader with fewer guesses."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - of PyYAML's making


_IMPLICIT = (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    (
        "bool",
        r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF",
        "yYnNtTfFoO",
    ),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("merge", r"<<", "<"),
)
for _kind, _pattern, _first in _IMPLICIT:
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}",
        re.compile(rf"(?:{_pattern})\Z"),
        ["" if letter == "\0" else letter for letter in _first],
    )


def _float(loader: _Loader, node: yaml.ScalarNode) -> float:
    text = node.value.lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


def _int(loader: _Loader, node: yaml.ScalarNode) -> int:
    if len(node.value) > 100:
        raise ValueError(f"a number of {len(node.value)} digits{node.start_mark}")
    return int(node.value)


_Loader.add_constructor("tag:yaml.org,2002:float", _float)
_Loader.add_constructor("tag:yaml.org,2002:int", _int)


def _check(node: yaml.Node, name: str) -> None:
    """Raise InputError for keys that stand twice, and for more than a file of settings can mean."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node, depth: int, above: frozenset[int]) -> int:
        if id(node) in above:
            raise InputError(f"{name}: line {_line(node)}: a value that contains itself")
        if depth > MAX_DEPTH:
            raise InputError(f"{name}: line {_line(node)}: nested too deeply")
        if id(node) not in sizes:
            parts: list[yaml.Node] = []
            if isinstance(node, yaml.MappingNode):
                _check_keys(node, name)
                parts = [part for pair in node.value for part in pair]
            elif isinstance(node, yaml.SequenceNode):
                parts = node.value
            inside = above | {id(node)}
            sizes[id(node)] = 1 + sum(size(part, depth + 1, inside) for part in parts)
        if sizes[id(node)] > MAX_VALUES:
            raise InputError(f"{name}: more than {MAX_VALUES:,} values")
        return sizes[id(node)]

    size(node, 0, frozenset())


def _check_keys(node: yaml.MappingNode, name: str) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
            continue
        if key.value in lines:
            raise InputError(
                f"{name}: {key.value!r} stands twice, in lines {lines[key.value]} and "
                f"{_line(key)}; which one is meant?"
            )
        lines[key.value] = _line(key)


def _mark_texts(node: yaml.Node) -> None:
    """Make text of what stands under the keys of text."""
    if isinstance(node, yaml.SequenceNode):
        for part in node.value:
            _mark_texts(part)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = getattr(key, "value", None)
            if isinstance(name, str) and name in FREE_KEYS:
                continue
            if isinstance(name, str) and name in TEXT_KEYS:
                _make_text(value)
            elif isinstance(name, str) and name in TEXT_LISTS:
                for part in value.value if isinstance(value, yaml.SequenceNode) else ():
                    _make_text(part)
            _mark_texts(value)
            if name == "codecs" and isinstance(value, yaml.SequenceNode):
                for part in value.value:
                    _make_text(part)


def _make_text(node: yaml.Node) -> None:
    if isinstance(node, yaml.ScalarNode) and node.tag != "tag:yaml.org,2002:null":
        node.tag = "tag:yaml.org,2002:str"


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
