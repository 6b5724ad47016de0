"""Where images come from: the layouts of known data sets, folders, and reading one file.

Nothing is ever downloaded.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from linksim.errors import InputError

KODAK = Path(__file__).parent.parent / "data" / "kodak"
FILE_TYPES = frozenset(
    (".avif", ".bmp", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)


@dataclass(frozen=True)
class Source:
    """Where one image comes from: its name, its label and how to read it."""

    name: str
    read: Callable[[], Tensor]
    label: int | None = None


def read_image(path: Path) -> Tensor:
    """An image file as uint8 [3, H, W], upright as its EXIF orientation says.

    Grey is repeated over the three channels; transparency is laid over white; colour profiles are
    ignored. Raises InputError for a file that cannot be read and for PNG and TIFF of more than 8
    bits a channel; of the other formats Pillow gives the values rounded to 8 bits.
    """
    try:
        with Image.open(path) as file:
            if _bits_above_8(file):
                raise InputError(f"{path}: more than 8 bits a channel; convert it to 8-bit sRGB")
            upright = ImageOps.exif_transpose(file)
            if upright.has_transparency_data:
                page = Image.new("RGBA", upright.size, "white")
                upright = Image.alpha_composite(page, upright.convert("RGBA"))
            pixels = np.array(upright.convert("RGB"))
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such image") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error).replace(str(path), "the file").splitlines()[0]
        raise InputError(f"{path}: not a readable image ({reason})") from None
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


Opened = tuple[list[Source], Sequence[str]]
"""Sources in a fixed order, and the names of their classes if they have any."""


def _open_kodak(root: Path, split: str | None) -> Opened:
    _check_split("kodak", split, ())
    return _files(root), ()


def _open_folder(root: Path, split: str | None) -> Opened:
    _check_split("folder", split, ())
    return _files(root), ()


def _open_classes(root: Path, split: str | None) -> Opened:
    _check_split("classes", split, ())
    return _class_folders(root)


def _open_celeba(root: Path, split: str | None) -> Opened:
    from torchvision.datasets import CelebA

    split = _check_split("celeba", split, ("test", "train", "valid", "all"))
    try:
        data = CelebA(str(root), split=split, download=False)
    except (RuntimeError, OSError):
        raise InputError(
            f"images: {root}: no CelebA; wanted are celeba/img_align_celeba/*.jpg, "
            "celeba/list_eval_partition.txt and the other lists that come with it"
        ) from None
    folder = root / CelebA.base_folder / "img_align_celeba"
    return [
        Source(name=Path(name).stem, read=partial(read_image, folder / name))
        for name in data.filename
    ], ()


def _open_div2k(root: Path, split: str | None) -> Opened:
    split = _check_split("div2k", split, ("valid", "train"))
    folder = root / f"DIV2K_{split}_HR"
    if not folder.is_dir():
        raise InputError(f"images: {folder}: no such folder; DIV2K keeps its {split} split there")
    return _files(folder), ()


def _open_afhq(root: Path, split: str | None) -> Opened:
    if split is None:
        split = "test" if (root / "test").is_dir() else "val"
    return _class_folders(root / _check_split("afhq", split, ("test", "train", "val")))


def _open_cifar10(root: Path, split: str | None) -> Opened:
    from torchvision.datasets import CIFAR10

    split = _check_split("cifar10", split, ("test", "train"))
    if not (root / CIFAR10.base_folder).is_dir():
        return _class_folders(root / split)
    try:
        data = CIFAR10(str(root), train=split == "train", download=False)
    except (RuntimeError, OSError) as error:
        raise InputError(f"images: {root}: not a whole CIFAR-10 ({error})") from None
    pixels = torch.from_numpy(data.data).permute(0, 3, 1, 2)
    return [
        Source(name=f"{split}/{i:05d}", read=partial(pixels[i].clone), label=int(label))
        for i, label in enumerate(data.targets)
    ], data.classes


SOURCES: dict[str, Callable[[Path, str | None], Opened]] = {
    "kodak": _open_kodak,
    "folder": _open_folder,
    "classes": _open_classes,
    "celeba": _open_celeba,
    "div2k": _open_div2k,
    "afhq": _open_afhq,
    "cifar10": _open_cifar10,
}


def _files(root: Path, *, label: int | None = None, prefix: str = "") -> list[Source]:
    """Every image file below a folder, sorted by path; hidden ones are left out."""
    paths = [
        path.relative_to(root)
        for path in root.rglob("*")
        if path.suffix.lower() in FILE_TYPES and not path.name.startswith(".") and path.is_file()
    ]
    if not paths:
        kinds = ", ".join(sorted(kind[1:] for kind in FILE_TYPES))
        raise InputError(f"images: {root}: no image files in this folder; looked for {kinds}")
    names = {path: prefix + path.with_suffix("").as_posix() for path in paths}
    name, times = Counter(names.values()).most_common(1)[0]
    if times > 1:
        raise InputError(
            f"images: {root}: {times} files are called {name!r} but for their extension; "
            "names must differ"
        )
    return [
        Source(name=names[path], read=partial(read_image, root / path), label=label)
        for path in sorted(paths, key=lambda path: names[path])
    ]


def _class_folders(root: Path) -> Opened:
    """Images in one folder a class, the classes taking turns; labels follow the sorted names."""
    if not root.is_dir():
        raise InputError(f"images: {root}: no such folder; it should hold one folder a class")
    folders = sorted(
        path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    if not folders:
        raise InputError(f"images: {root}: no folders in it; it should hold one folder a class")
    classes = [
        _files(folder, label=label, prefix=f"{folder.name}/")
        for label, folder in enumerate(folders)
    ]
    turns = (
        (images[turn] for images in classes if turn < len(images))
        for turn in range(max(map(len, classes)))
    )
    return [image for turn in turns for image in turn], [folder.name for folder in folders]


def _check_split(source: str, split: str | None, allowed: tuple[str, ...]) -> str:
    """The split, or the first allowed one where none is given."""
    if split is None:
        return allowed[0] if allowed else ""
    if split not in allowed:
        choice = f"allowed are {', '.join(allowed)}" if allowed else "it has no splits"
        raise InputError(f"images: split is {split!r} for {source!r}; {choice}")
    return split


def _bits_above_8(file: Image.Image) -> bool:
    """Whether Pillow would have to throw bits away (it does so for 16-bit RGB without a word)."""
    raw_modes = [str(tile[3]) for tile in getattr(file, "tile", [])]
    return file.mode[:1] in ("I", "F") or any(";16" in mode for mode in raw_modes)
