"""``linksim prepare``."""

from pathlib import Path

from rich.console import Console

from linksim.images.packed import write_packed
from linksim.images.sets import open_images
from linksim.progress import Counting, counted_images


def prepare_images(
    data: Path, *, out: Path | None, source: str, split: str | None, console: Console
) -> None:
    """Decode a data set into one file; raises InputError."""
    images = open_images(source, root=data, split=split)
    path = out or Path(f"{data.resolve().name}.images")
    with Counting(console, "prepare", len(images)) as progress:
        size = write_packed(images, path, source=source, split=split, on_image=progress.advance)
    console.print(
        f"{counted_images(len(images))}, {size / 1e6:.0f} MB, in {path}; train with: --data {path}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
