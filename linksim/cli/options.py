"""``--set key=value``, as several commands take it."""

import yaml

from linksim.errors import InputError, one_line


def parse_options(settings: list[str]) -> dict[str, object]:
    """Options from ``key=value`` words, the values read as YAML; raises InputError."""
    options: dict[str, object] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise InputError(f"--set {setting!r}: wanted key=value, such as latent_channels=16")
        try:
            options[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(f"--set {setting!r}: not a value: {one_line(error)}") from None
    return options
