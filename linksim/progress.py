"""The progress bar of long commands."""

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def counting_progress(console: Console, first: str, last: str = "") -> Progress:
    """A bar with what is done of how many, the time gone and the time left.

    first, last: what stands before and after it, in rich's format, such as
    ``{task.description}``.
    """
    return Progress(
        TextColumn(first),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        *([TextColumn(last)] if last else []),
        console=console,
    )
