"""Decoded images in one file, which is mapped into memory: nothing is decoded twice.

    magic, 16 bytes
    pixels of one image after the other, uint8 [3, H, W] each
    index: JSON with the source, the split, the classes, and of each image its name, label, sides,
           place, CRC-32, and the size of the file that it came from
    length of the index, 8 bytes, little-endian; its SHA-256, 32 bytes

The index is checked when the file is opened, an image when it is first taken.
"""

import hashlib
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linksim.errors import InputError
from linksim.files import write_atomically
from linksim.images.reading import MAX_PIXELS
from linksim.images.sets import ImageSet
from linksim.images.sources import Source

_MAGIC = b"linksim images 1"
_LENGTH, _DIGEST = 8, 32


def write_packed(
    images: ImageSet,
    path: Path,
    *,
    source: str,
    split: str | None = None,
    on_image: Callable[[int], None] = lambda count: None,
) -> int:
    """Decode a set of images into a file; returns its size in bytes.

    source, split: where the set came from, as :func:`linksim.images.sets.open_images` takes them.
    on_image is told of each image. Raises InputError for one that cannot be read, and where the
    disk refuses; nothing is left then.
    """

    def write(place: Path) -> None:
        entries: list[dict[str, Any]] = []
        with place.open("wb") as file:
            file.write(_MAGIC)
            for item, size in zip(images, images.sizes, strict=True):
                pixels = item.image.contiguous().numpy()
                height, width = pixels.shape[1:]
                entries.append(
                    {
                        "name": item.name,
                        "label": item.label,
                        "height": height,
                        "width": width,
                        "at": file.tell(),
                        "crc32": zlib.crc32(pixels.data),
                        "file_bytes": size,
                    }
                )
                file.write(pixels.data)
                on_image(1)
            about = {"source": source, "split": split, "class_names": images.class_names}
            index = json.dumps({**about, "images": entries}).encode()
            file.write(index)
            file.write(len(index).to_bytes(_LENGTH, "little"))
            file.write(hashlib.sha256(index).digest())

    write_atomically(path, write)
    return path.stat().st_size


def open_packed(path: Path, *, source: str, split: str | None = None) -> ImageSet:
    """The images of a file that :func:`write_packed` wrote, in the order of the set.

    Names, labels and sizes are those of the set, and so is every pixel. Raises InputError for any
    other file, for one that is damaged, and for one made of another source or split.
    """
    try:
        data = np.memmap(path, dtype=np.uint8, mode="c")  # ours to write, but never to the file
    except (OSError, ValueError) as error:
        raise InputError(f"images: {path}: cannot be read ({error})") from None
    if data[: len(_MAGIC)].tobytes() != _MAGIC:
        raise InputError(f"images: {path}: no folder, and no file that 'linksim prepare' made")
    index = _index(path, data)
    made_of = index["source"], index["split"]
    if made_of != (source, split):
        raise InputError(
            f"images: {path} was prepared from {_in_words(*made_of)}, wanted is "
            f"{_in_words(source, split)}"
        )
    sources = [_PackedImage.of(path, data, entry) for entry in index["images"]]
    return ImageSet(sources, class_names=index["class_names"])


def _index(path: Path, data: NDArray[np.uint8]) -> Any:
    end = len(data) - _LENGTH - _DIGEST
    length = int.from_bytes(data[end : end + _LENGTH].tobytes(), "little")
    text = data[max(end - length, 0) : max(end, 0)].tobytes()
    if hashlib.sha256(text).digest() != data[end + _LENGTH :].tobytes():
        raise InputError(f"images: {path}: damaged or cut off; prepare it again")
    return json.loads(text)


def _in_words(source: str, split: str | None) -> str:
    return f"source {source!r}" + ("" if split is None else f", split {split!r}")


@dataclass(frozen=True, kw_only=True)
class _PackedImage(Source):
    """An image of a packed file.

    place: its pixels, mapped. file_bytes: size of the file that it came from. crc32: of the pixels;
    ``checked`` is filled once they were found to have it.
    """

    file: Path
    file_bytes: int
    crc32: int
    checked: list[bool]

    @classmethod
    def of(cls, path: Path, data: NDArray[np.uint8], entry: dict[str, Any]) -> "_PackedImage":
        shape = 3, entry["height"], entry["width"]
        pixels = data[entry["at"] : entry["at"] + shape[0] * shape[1] * shape[2]]
        return cls(
            name=entry["name"],
            label=entry["label"],
            place=torch.from_numpy(pixels).reshape(shape),
            file=path,
            file_bytes=entry["file_bytes"],
            crc32=entry["crc32"],
            checked=[],
        )

    @property
    def size(self) -> int:
        """Bytes of the file that the image came from."""
        return self.file_bytes

    def read(self, *, crop: tuple[int, int] | None = None, max_pixels: int = MAX_PIXELS) -> Tensor:
        """The image as it is mapped; not to be written to."""
        assert isinstance(self.place, Tensor)
        if not self.checked:
            if zlib.crc32(self.place.numpy().data) != self.crc32:
                raise InputError(f"images: {self.file}: {self.name} is damaged; prepare it again")
            self.checked.append(True)
        return self.place
