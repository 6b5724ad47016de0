"""``--set key=value``, as several commands take it."""

from linksim.errors import InputError
from linksim.files.strict_yaml import read_value


def parse_options(settings: list[str]) -> dict[str, object]:
    """Options from ``key=value`` words, the values read as scenarios' are; raises InputError for
    what is none, and for a key that stands twice."""
    options: dict[str, object] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise InputError(f"--set {setting!r}: wanted key=value, such as latent_channels=16")
        if key in options:
            raise InputError(f"--set {setting!r}: {key!r} is set twice; which one is meant?")
        options[key] = read_value(value, f"--set {setting!r}")
    return options
