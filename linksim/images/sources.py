"""Where images come from: folders, and the layouts of known data sets.

Nothing is ever downloaded.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from linksim.errors import InputError
from linksim.images.folders import image_files
from linksim.images.reading import MAX_PIXELS, read_image

KODAK = Path(__file__).parent.parent / "data" / "kodak"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where one image comes from: a file, or pixels uint8 [3, H, W]; its name and its label."""

    name: str
    place: Path | Tensor
    label: int | None = None

    @property
    def size(self) -> int:
        """Bytes of the file, or of the pixels."""
        return self.place.nbytes if isinstance(self.place, Tensor) else self.place.stat().st_size

    @property
    def shorter_side(self) -> int:
        """In pixels, from the file's header where that can be read."""
        if isinstance(self.place, Tensor):
            return min(self.place.shape[-2:])
        try:
            with Image.open(self.place) as file:
                return min(file.size)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return min(self.read().shape[-2:])

    def read(self, *, crop: tuple[int, int] | None = None, max_pixels: int = MAX_PIXELS) -> Tensor:
        """The image, uint8 [3, H, W], as :func:`linksim.images.reading.read_image` gives it; what
        is no file comes whole."""
        if isinstance(self.place, Tensor):
            return self.place.clone()
        return read_image(self.place, crop=crop, max_pixels=max_pixels)


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
    return [Source(name=Path(name).stem, place=folder / name) for name in data.filename], ()


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
        Source(name=f"{split}/{i:05d}", place=pixels[i], label=int(label))
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


def _files(root: Path) -> list[Source]:
    """Every image file below a folder, sorted by name."""
    paths = image_files(root)
    names = {path: path.with_suffix("").as_posix() for path in paths}
    name, times = Counter(names.values()).most_common(1)[0]
    if times > 1:
        raise InputError(
            f"images: {root}: {times} files are called {name!r} but for their extension; "
            "names must differ"
        )
    by_name = sorted(paths, key=lambda path: names[path])
    return [Source(name=names[path], place=root / path) for path in by_name]


def _class_folders(root: Path) -> Opened:
    """Images in one folder a class, the classes taking turns; labels follow the sorted names."""
    if not root.is_dir():
        raise InputError(f"images: {root}: no such folder; it should hold one folder a class")
    names = sorted(
        path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    if not names:
        raise InputError(f"images: {root}: no folders in it; it should hold one folder a class")
    classes: dict[str, list[Source]] = {name: [] for name in names}
    for source in _files(root):
        folder, inside, _ = source.name.partition("/")
        if not inside:
            raise InputError(
                f"images: {root}: the image {source.name!r} lies beside the class folders; "
                "it belongs in one of them"
            )
        classes[folder].append(replace(source, label=names.index(folder)))
    for name, members in classes.items():
        if not members:
            raise InputError(f"images: {root / name}: no image files in this folder of a class")
    turns = (
        (members[turn] for members in classes.values() if turn < len(members))
        for turn in range(max(map(len, classes.values())))
    )
    return [image for turn in turns for image in turn], names


def _check_split(source: str, split: str | None, allowed: tuple[str, ...]) -> str:
    """The split, or the first allowed one where none is given."""
    if split is None:
        return allowed[0] if allowed else ""
    if split not in allowed:
        choice = f"allowed are {', '.join(allowed)}" if allowed else "it has no splits"
        raise InputError(f"images: split is {split!r} for {source!r}; {choice}")
    return split
