"""The console: what a user wrote is shown as it is, and never obeyed."""

from typing import Any

from rich.console import Console
from rich.text import Text

from linksim.errors import printable


class PlainConsole(Console):
    """A console that reads no markup in texts and shows control characters as escapes."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **settings)

    def render_str(self, text: str, **settings: Any) -> Text:
        """As rich renders a text, with what a terminal would obey shown as escapes."""
        return super().render_str(printable(text), **settings)
