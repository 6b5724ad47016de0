"""The scenarios that come with linksim, by their names."""

from pathlib import Path

from linksim.errors import InputError

_PACKAGE = Path(__file__).parents[1]
_PLACES = (_PACKAGE / "scenarios", _PACKAGE.parent / "scenarios")  # installed, or a checkout


def scenario_names() -> list[str]:
    """Names of the shipped scenarios, sorted."""
    return sorted(path.stem for path in scenario_folder().glob("*.yaml"))


def scenario_path(name: str | Path) -> Path:
    """A scenario file, or the shipped one of that name; raises InputError."""
    path = Path(name)
    if path.suffix or len(path.parts) != 1 or path.is_file():
        return path
    if path.name not in scenario_names():
        raise InputError(
            f"{name}: no such file, and no scenario of that name comes with linksim; there are "
            f"{', '.join(scenario_names())}"
        )
    return scenario_folder() / f"{path.name}.yaml"


def about_scenario(name: str) -> str:
    """Its first comment: what it shows."""
    lines = scenario_path(name).read_text(encoding="utf-8").splitlines()
    return lines[0].lstrip("# ") if lines and lines[0].startswith("#") else ""


def scenario_folder() -> Path:
    """Where the shipped scenarios lie: in an installed package, or in a checkout."""
    return next((place for place in _PLACES if place.is_dir()), _PLACES[0])
