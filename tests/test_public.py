"""Tests use what modules show: no test reaches into a name that begins with an underscore."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.places import ROOT

OURS = ("linksim", "baselines")
SHOWN = frozenset(("_replace", "_fields", "_asdict", "_make"))  # of named tuples, by their contract


def private_uses(source: str) -> Iterator[tuple[int, str]]:
    """(line, name) of every private name of another object that a module's code uses."""
    tree = ast.parse(source)
    others = {"self", "cls", *_modules_of_others(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            names = [] if _first_name(node) in others else [node.attr]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names if _is_ours(module)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if _is_ours(alias.name)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            dotted = _is_ours(node.value) and " " not in node.value  # as monkeypatch takes it
            names = [node.value] if dotted else []
        else:
            continue
        for name in names:
            if any(_is_private(part) for part in name.split(".")):
                yield node.lineno, name


def _modules_of_others(tree: ast.Module) -> Iterator[str]:
    """Names that stand for modules which are not ours, as ``import torch`` makes them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if not _is_ours(alias.name):
                    yield alias.asname or alias.name.partition(".")[0]


def _first_name(node: ast.expr) -> str:
    """The name that a chain of attributes begins with; empty for a call or an index."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in SHOWN


def _is_ours(dotted: str) -> bool:
    return dotted.partition(".")[0] in OURS


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from linksim.images.sets import _resized", ["linksim.images.sets._resized"]),
        ("import linksim.selective_scan._native", ["linksim.selective_scan._native"]),
        ("chain._llr(x)", ["_llr"]),
        ("module.loader()._crops[0]", ["_crops"]),
        ("patch.setattr('linksim.files._TEMPORARY', 1)", ["linksim.files._TEMPORARY"]),
        ("self._x = cls._y", []),
        ("scan._replace(D=None).__class__", []),
        ("from torch._subclasses import FakeTensorMode", []),
        ("import torch\ntorch._utils._rebuild_tensor_v2()", []),
    ],
)
def test_private_uses_are_found(source: str, found: list[str]) -> None:
    assert [name for _, name in private_uses(source)] == found


def test_no_test_reaches_into_a_private_name() -> None:
    uses = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in sorted(Path(ROOT, "tests").rglob("*.py"))
        if path != Path(__file__)
        for line, name in private_uses(path.read_text())
    ]
    assert uses == []
