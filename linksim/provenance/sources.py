"""The source files that a module's behaviour rests on: its own, and those that it imports.

    modules and files ──► their import statements, read and not run ──► modules, transitively
                                                      ──► SHA-256 of each, and of data beside them

Followed are linksim, baselines, and whatever else lies outside the folders of installed packages;
of those, the versions count. What stands under ``if TYPE_CHECKING`` is never run and left out. The
package ``linksim`` itself only hands names on: of it, the modules that the used names come from
count.
"""

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from linksim.errors import InputError
from linksim.files import file_digest

ROOT = "linksim"

_OURS = {name: Path(__file__).parents[2] / name for name in (ROOT, "baselines")}
_INSTALLED = frozenset(("site-packages", "dist-packages"))
_STANDARD = tuple(Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib"))
_LIBRARIES = set(sys.stdlib_module_names)  # and names of installed packages, as they are met


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Digests of source files, by the name of the module; data files by module and file name.

    packages: names of installed packages that they import, whose versions count.
    files: where each of them lies.
    """

    digests: Mapping[str, str]
    packages: frozenset[str]
    files: Mapping[str, Path] = field(repr=False)

    @property
    def digest(self) -> str:
        """One for all of them."""
        lines = [f"{name} {digest}" for name, digest in sorted(self.digests.items())]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class SourceTree:
    """Modules and what they import, as the files are now.

    Import statements are found by reading, so that neither a name that is imported late, in a
    function, nor one of :func:`importlib.import_module` with a plain string is missed.
    """

    def __init__(self) -> None:
        self._nodes: dict[tuple[str, Path], _Node] = {}
        self._found: dict[tuple[str, Path | None], ModuleSpec | None] = {}

    def of_modules(self, names: Collection[str]) -> Sources:
        """The sources of modules by their names; InputError for one that is not there.

        The packages that they belong to are followed wherever they are installed.
        """
        walk = _Walk(self, own={name.partition(".")[0] for name in names})
        for name in names:
            if not walk.module(name, None):
                raise InputError(f"{name}: no such module, or none with a source")
        return walk.sources()

    def of_file(self, path: Path) -> Sources:
        """The sources of a Python file that is no module of a package."""
        walk = _Walk(self, own=set())
        walk.file(path)
        return walk.sources()

    def find(self, name: str, folder: Path | None) -> ModuleSpec | None:
        """Where an import of ``name`` would look, a folder before all others, importing nothing."""
        key = (name, folder)
        if key not in self._found:
            parent, _, _ = name.rpartition(".")
            if not parent:
                self._found[key] = _find_top(name, folder)
            else:
                package = self.find(parent, folder)
                places = package.submodule_search_locations if package else None
                self._found[key] = _find_spec(name, list(places)) if places else None
        return self._found[key]

    def node(self, name: str, path: Path) -> "_Node":
        """A source file, read once."""
        if (name, path) not in self._nodes:
            status = path.stat()
            self._nodes[name, path] = _read(path, status.st_mtime_ns, status.st_size)
        return self._nodes[name, path]


@dataclass(frozen=True)
class _Import:
    """``from module import names``, or ``import module`` with the names used of it."""

    module: str
    names: tuple[str, ...]
    level: int


@dataclass(frozen=True)
class _Node:
    """A file: its digest, its imports, and the strings in it that can be file names."""

    digest: str
    imports: tuple[_Import, ...]
    strings: frozenset[str]
    handed_on: Mapping[str, str]


class _Walk:
    """The modules found so far from some starting points."""

    def __init__(self, tree: SourceTree, own: set[str]) -> None:
        self._tree = tree
        self._own = own
        self._digests: dict[str, str] = {}
        self._files: dict[str, Path] = {}
        self._packages: set[str] = set()
        self._begun_at: Path | None = None

    def sources(self) -> Sources:
        return Sources(
            digests=dict(sorted(self._digests.items())),
            packages=frozenset(self._packages),
            files=self._files,
        )

    def file(self, path: Path) -> None:
        self._begun_at = path.absolute()
        self._add(path.name, path, is_package=False, folder=path.absolute().parent, loose=True)

    def module(self, name: str, folder: Path | None) -> bool:
        """Add a module, the packages that it lies in, and what they import; False if there is none
        whose source counts."""
        top = name.partition(".")[0]
        if top in _LIBRARIES and not (folder and _stands_in(folder, top)) and top not in self._own:
            self._packages |= {top} - sys.stdlib_module_names
            return False
        spec = self._tree.find(name, folder)
        if spec is None:
            return False
        if spec.origin is not None and Path(spec.origin) == self._begun_at:
            spec = _find_spec(name, None) or spec  # torch.py does not mean itself by torch
        if not self._counts(name, spec):
            _LIBRARIES.add(top)
            self._packages |= {top} - sys.stdlib_module_names
            return False
        parent = name.rpartition(".")[0]
        if parent and parent != ROOT:
            self.module(parent, folder)
        if spec.origin is None or not Path(spec.origin).is_file():
            return True  # a folder without __init__.py
        is_package = spec.submodule_search_locations is not None
        self._add(name, Path(spec.origin), is_package=is_package, folder=folder, loose=False)
        return True

    def _counts(self, name: str, spec: ModuleSpec) -> bool:
        top = name.partition(".")[0]
        places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
        if not places or places[0] in ("built-in", "frozen"):
            return False
        path = Path(places[0])
        if top in self._own or (top in _OURS and path.is_relative_to(_OURS[top])):
            return True
        return not _is_installed(path)

    def _add(
        self, name: str, path: Path, *, is_package: bool, folder: Path | None, loose: bool
    ) -> None:
        if name in self._files:
            return
        self._files[name] = path
        node = self._tree.node(name, path)
        self._digests[name] = node.digest
        for data in _data_beside(path, node.strings):
            self._digests[f"{name}: {data.name}"] = file_digest(data)
        package = name if is_package else name.rpartition(".")[0]
        for imported in node.imports:
            if loose and imported.level:
                self._follow_beside(imported, path.parent)
            else:
                self._follow(imported, package, folder)

    def _follow(self, imported: _Import, package: str, folder: Path | None) -> None:
        name = imported.module
        if imported.level:
            parts = package.split(".")
            above = parts[: len(parts) - imported.level + 1]
            name = ".".join([*above, *([name] if name else [])])
        if not name:
            return
        if name == ROOT:
            self._follow_root(imported.names)
            return
        self.module(name, folder)
        for used in imported.names:
            if self._tree.find(f"{name}.{used}", folder) is not None:
                self.module(f"{name}.{used}", folder)

    def _follow_root(self, names: tuple[str, ...]) -> None:
        """The modules of linksim's own names, and not all that its ``__init__`` imports."""
        init = self._tree.node(ROOT, _OURS[ROOT] / "__init__.py")
        for name in names or init.handed_on:
            home = init.handed_on.get(name)
            if home is not None:
                self.module(home, None)
            elif self._tree.find(f"{ROOT}.{name}", None) is not None:
                self.module(f"{ROOT}.{name}", None)

    def _follow_beside(self, imported: _Import, folder: Path) -> None:
        """``from .name import …`` in a file that is no module of a package."""
        for name in [imported.module] if imported.module else imported.names:
            self.module(name, folder)


def is_users(module: ModuleType) -> bool:
    """Whether a loaded module belongs neither to Python, nor to linksim or an installed package."""
    file = getattr(module, "__file__", None)
    if file is None:
        return module.__name__ not in sys.stdlib_module_names
    ours = any(Path(file).is_relative_to(home) for home in _OURS.values())
    return not ours and not _is_installed(Path(file))


def _is_installed(path: Path) -> bool:
    if not _INSTALLED.isdisjoint(path.parts):
        return True
    return any(path.is_relative_to(standard) for standard in _STANDARD)


def _find_top(name: str, folder: Path | None) -> ModuleSpec | None:
    if name == ROOT:
        return PathFinder.find_spec(name, [str(_OURS[ROOT].parent)])
    beside = PathFinder.find_spec(name, [str(folder)]) if folder is not None else None
    if beside is not None and beside.origin is not None:
        return beside
    return _find_spec(name, None) or beside


def _find_spec(name: str, places: list[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = find(name, places) if find else None
        if spec is not None:
            return spec
    return None


@lru_cache(maxsize=4096)
def _read(path: Path, mtime_ns: int, size: int) -> _Node:
    """A file of that time and size. What is no Python source imports nothing."""
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    try:
        tree = ast.parse(content) if path.suffix == ".py" else ast.Module([], [])
    except (SyntaxError, ValueError):
        tree = ast.Module([], [])
    reader = _Reader()
    reader.visit(tree)
    return _Node(
        digest=digest,
        imports=tuple(reader.all_imports()),
        strings=frozenset(reader.strings),
        handed_on=reader.handed_on,
    )


class _Reader(ast.NodeVisitor):
    """Imports and strings of a syntax tree."""

    def __init__(self) -> None:
        self.strings: set[str] = set()
        self.handed_on: dict[str, str] = {}
        self._imports: list[_Import] = []
        self._plain: dict[str, str] = {}
        self._used: dict[str, set[str]] = {}

    def all_imports(self) -> Iterator[_Import]:
        yield from self._imports
        for bound, module in self._plain.items():
            used = self._used.get(bound, set()) if module == ROOT else ()
            yield _Import(module, tuple(sorted(used)), 0)

    def visit_If(self, node: ast.If) -> None:
        if _last_name(node.test) != "TYPE_CHECKING":
            self.generic_visit(node)
        for statement in node.orelse if _last_name(node.test) == "TYPE_CHECKING" else ():
            self.visit(statement)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._plain[alias.asname or alias.name] = alias.name

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        names = tuple(alias.name for alias in node.names)
        self._imports.append(_Import(node.module or "", names, node.level))
        for alias in node.names:
            self.handed_on[alias.asname or alias.name] = node.module or ""

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.value, ast.Name):
            self._used.setdefault(node.value.id, set()).add(node.attr)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if _last_name(node.func) in ("import_module", "__import__") and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                level = len(first.value) - len(first.value.lstrip("."))
                self._imports.append(_Import(first.value.lstrip("."), (), level))
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and 2 < len(node.value) < 200 and "\n" not in node.value:
            self.strings.add(node.value)


def _stands_in(folder: Path, name: str) -> bool:
    return (folder / f"{name}.py").exists() or (folder / name).is_dir()


def _last_name(node: ast.expr) -> str:
    """``c`` of the expressions ``c`` and ``a.b.c``."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _data_beside(path: Path, strings: frozenset[str]) -> Iterator[Path]:
    """Files that a source names by a plain string and that lie beside it or, of linksim, among its
    data: tables, weights."""
    folders = [path.parent]
    if path.is_relative_to(_OURS[ROOT]):
        folders.append(_OURS[ROOT] / "data")
    for text in sorted(strings):
        suffix = Path(text).suffix
        if not suffix or suffix == ".py" or suffix == text or "\0" in text:
            continue
        for folder in folders:
            data = folder / Path(text).name
            if data.is_file():
                yield data
