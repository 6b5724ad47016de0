"""Channels by name: an entry point, ``package.module:Class`` or ``./file.py:Class``."""

import inspect
from typing import Annotated, Any

from pydantic import BeforeValidator, GetJsonSchemaHandler, SerializeAsAny
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from linksim.errors import InputError
from linksim.link.channel import ChannelSettings
from linksim.provenance.plugins import find_plugin, plugin_names

GROUP = "linksim.channels"


def channel_names() -> list[str]:
    """Names of the installed channels, sorted."""
    return plugin_names(GROUP)


def find_channel(name: str) -> type[ChannelSettings]:
    """The channel class that a scenario's ``type`` stands for; raises InputError."""
    found = find_plugin(name, group=GROUP, kind="channel")
    if not (inspect.isclass(found) and issubclass(found, ChannelSettings)):
        raise InputError(
            f"channel {name!r}: {found!r} is not a subclass of linksim.FlatChannel or of "
            "linksim.link.channel.ChannelSettings"
        )
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise InputError(f"channel {name!r}: {found.__name__} does not define {missing}")
    return found


def _read(value: Any) -> Any:
    """A channel as a scenario writes it, ``{type: …}`` or a name alone."""
    if isinstance(value, ChannelSettings):
        return value
    settings = {"type": value} if isinstance(value, str) else value
    if not isinstance(settings, dict) or not isinstance(settings.get("type"), str):
        raise ValueError(
            f"{value!r} is no channel; wanted is {{type: …}} with one of "
            f"{', '.join(channel_names())}, package.module:Class or ./file.py:Class"
        )
    return find_channel(settings["type"]).model_validate(settings)


class _AnyChannel:
    """The JSON schema: the installed channels, or one of the user's own."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        known = [handler(find_channel(name).__pydantic_core_schema__) for name in channel_names()]
        own = {
            "type": "object",
            "properties": {"type": {"type": "string", "pattern": ":"}},
            "required": ["type"],
        }
        return {"anyOf": [*known, own]}


Channel = Annotated[SerializeAsAny[ChannelSettings], BeforeValidator(_read), _AnyChannel()]
"""A field of settings that holds any channel."""
