"""What a scenario names: an entry point, ``package.module:Name`` or ``./file.py:Name``.

A user's file may import what lies beside it, as ``import helper`` or ``from .helper import x``,
wherever the command is called. A file that has changed since, or whose helpers have, is read anew.
"""

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from linksim.errors import InputError, PluginError, described, one_line, place_of
from linksim.provenance.sources import Sources, SourceTree, is_users
from linksim.runtime.kept import process_kept
from linksim.runtime.seeding import derive_seed

_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_digests: dict[str, str] = {}  # of the sources that loaded modules of users were made from


def plugin_names(group: str) -> list[str]:
    """Names that installed packages give in an entry-point group, sorted."""
    return sorted(_entries(group))


def find_plugin(name: str, *, group: str, kind: str) -> Any:
    """The object that a name stands for.

    kind: what it should be, for messages: ``codec``, ``channel``. Raises InputError where there is
    nothing of that name, and PluginError where its module raises an error.
    """
    if ":" not in name:
        entry = _entries(group).get(name)
        if entry is None:
            raise InputError(
                f"unknown {kind} {name!r}; allowed are {', '.join(plugin_names(group))}, "
                f"package.module:Name or ./file.py:Name"
                if plugin_names(group)
                else f"unknown {kind} {name!r}: this installation of linksim knows none; "
                "install it again (pip install -e .)"
            )
        with _told_as(f"{kind} {name!r}"):
            return entry.load()
    where, _, attribute = name.rpartition(":")
    with _told_as(f"{kind} {name!r}"):
        if where.endswith(".py"):
            module = _import_file(Path(where), kind)
        elif _MODULE.fullmatch(where):
            module = _import_module(where)
        else:
            raise InputError(f"{kind} {name!r}: {where!r} names neither a .py file nor a module")
    if not hasattr(module, attribute):
        raise InputError(f"{kind} {name!r}: {where} has no {attribute}")
    return getattr(module, attribute)


def sources_of_class(cls: Any, tree: SourceTree) -> Sources:
    """The sources that a class or function found by :func:`find_plugin` rests on."""
    path = getattr(sys.modules.get(cls.__module__), "__linksim_file__", None)
    return tree.of_modules([cls.__module__]) if path is None else tree.of_file(path)


def plain_name(cls: type) -> str:
    """Module and name of a class; of one in a user's file, the file's name and not its place."""
    path = getattr(sys.modules.get(cls.__module__), "__linksim_file__", None)
    return f"{cls.__module__ if path is None else path.name}:{cls.__qualname__}"


@cache
def _entries(group: str) -> Mapping[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=group)}


@contextmanager
def _told_as(what: str) -> Iterator[None]:
    """Whatever an import raises, in one line; and the process as it was."""
    try:
        with process_kept():
            yield
    except InputError:
        raise
    except ModuleNotFoundError as error:
        raise PluginError(f"{what}: {one_line(error)}{_hidden(error)}") from error
    except (Exception, SystemExit) as error:
        raise PluginError(f"{what} cannot be imported: {described(error)}") from error


def _hidden(error: ModuleNotFoundError) -> str:
    """Where a user's own package stands before one of ours, which then is not found."""
    top = (error.name or "").partition(".")[0]
    module = sys.modules.get(top)
    if top != "baselines" or module is None:
        return f" ({place_of(error)})"
    places = ", ".join(getattr(module, "__path__", []))
    return f": {places} hides the package of that name which comes with linksim; rename it"


def _import_file(path: Path, kind: str) -> ModuleType:
    if not path.is_file():
        raise InputError(f"{kind} file {path} does not exist")
    path = path.absolute()
    sources = SourceTree().of_file(path)
    package = f"linksim_user_{derive_seed(str(path.parent)):x}"
    name = f"{package}.{re.sub(r'[^0-9A-Za-z_]', '_', path.stem)}"
    if name in sys.modules and _digests.get(name) == sources.digest:
        return sys.modules[name]
    parent = sys.modules.setdefault(package, ModuleType(package))
    parent.__path__ = [str(path.parent)]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    vars(module)["__linksim_file__"] = path
    _forget_changed(sources, package)
    with _first_on_path(path.parent):
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    _digests[name] = sources.digest
    return module


def _import_module(name: str) -> ModuleType:
    if name.partition(".")[0] in {"linksim", *sys.stdlib_module_names}:
        return importlib.import_module(name)
    tree = SourceTree()
    if tree.find(name, None) is None:
        return importlib.import_module(name)  # says what is missing
    sources = tree.of_modules([name])
    if _digests.get(name, sources.digest) != sources.digest:
        _forget_changed(sources, "")
    module = importlib.import_module(name)
    _digests[name] = sources.digest
    return module


def _forget_changed(sources: Sources, package: str) -> None:
    """Drop loaded modules of users that are not what their sources now are: a helper that was
    edited, or that has the name of a helper of another file.

    Raises InputError for a helper with the name of a library's module that is loaded: an import
    would give the library's to whoever asks, or the helper to the library.
    """
    for name, path in sources.files.items():
        for loaded in (name, f"{package}.{name}"):
            module = sys.modules.get(loaded)
            if module is None or name.partition(".")[0] == "linksim":
                continue
            same_file = getattr(module, "__file__", None) == str(path)
            if loaded == name and not same_file and not is_users(module):
                raise InputError(f"{path} has the name of a library that is in use; rename it")
            if (
                not same_file
                or _digests.get(str(path), sources.digests[name]) != (sources.digests[name])
            ):
                del sys.modules[loaded]
        _digests[str(path)] = sources.digests[name]


@contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    """Imports look here first; afterwards last, for what the module imports when it runs."""
    place = str(folder)
    known = place in sys.path
    sys.path.insert(0, place)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(place)
        if not known:
            sys.path.append(place)
