"""Images from data sets and folders, and crops of them to train on. Nothing is ever downloaded.

    source name ──► ImageSet (lazy, sorted, cropped)  ──► sweep
                    ImageSet (uncropped)  ──► TrainingCrops (cached, random) ──► training

Every image is 8-bit sRGB, uint8 [3, H, W].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import overload

from torch import Tensor
from torch.utils.data import Dataset

from linksim.errors import InputError
from linksim.images.reading import MAX_PIXELS
from linksim.images.sources import KODAK, SOURCES, Source
from linksim.runtime.seeding import derive_seed

Size = int | tuple[int, int]


@dataclass(frozen=True, eq=False)
class ImageItem:
    """An image with a name that no other image of its set has.

    name: path below the set's folder without its extension, such as ``sub/dir/name``.
    image: uint8 [3, H, W].
    label: index into :attr:`ImageSet.class_names`, or None.
    """

    name: str
    image: Tensor
    label: int | None = None

    @property
    def label_index(self) -> int:
        """The label, or -1 where there is none, as tensors of labels hold it."""
        return -1 if self.label is None else self.label


class ImageSet(Sequence[ImageItem]):
    """Images that are read when asked for, first resized and then cropped at the centre."""

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        crop: tuple[int, int] | None = None,
        resize: Size | None = None,
        max_pixels: int = MAX_PIXELS,
        class_names: Sequence[str] = (),
    ) -> None:
        self._sources = tuple(sources)
        self._crop = crop
        self._resize = resize
        self._max_pixels = max_pixels
        self.class_names = tuple(class_names)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all images, in order, without reading any."""
        return tuple(source.name for source in self._sources)

    @property
    def labels(self) -> tuple[int | None, ...]:
        """Labels of all images, in order, without reading any."""
        return tuple(source.label for source in self._sources)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of all images' files in bytes, in order, without reading any."""
        return tuple(source.size for source in self._sources)

    def at_least(self, side: int) -> "ImageSet":
        """The images whose sides are that long or longer; no more than their headers are read."""
        return self.subset([i for i, s in enumerate(self._sources) if s.shorter_side >= side])

    def subset(self, indices: Sequence[int]) -> "ImageSet":
        """The images at these places, in this order."""
        return ImageSet(
            [self._sources[i] for i in indices],
            crop=self._crop,
            resize=self._resize,
            max_pixels=self._max_pixels,
            class_names=self.class_names,
        )

    def __len__(self) -> int:
        return len(self._sources)

    @overload
    def __getitem__(self, index: int) -> ImageItem: ...
    @overload
    def __getitem__(self, index: slice) -> "ImageSet": ...
    def __getitem__(self, index: int | slice) -> "ImageItem | ImageSet":
        if isinstance(index, slice):
            return self.subset(range(len(self))[index])
        source = self._sources[index]
        crop_at_once = self._crop if self._resize is None else None
        image = source.read(crop=crop_at_once, max_pixels=self._max_pixels)
        if self._resize is not None:
            _check_resize_fits(source.name, image.shape[-2:], self._resize, self._max_pixels)
            image = _resized(image, self._resize)
        if self._crop is not None:
            image = centre_crop(image, self._crop, name=source.name)
        return ImageItem(name=source.name, image=image, label=source.label)


def open_images(
    source: str,
    *,
    root: Path | None = None,
    split: str | None = None,
    crop: Size | None = None,
    resize: Size | None = None,
    limit: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> ImageSet:
    """The images of a data set, in a fixed order.

    source: one of :data:`linksim.images.sources.SOURCES`.
        ``kodak``: the 24 Kodak photographs, which come with linksim.
        ``folder``: every image file below ``root``, sorted by path; what else it holds is counted
        in one line of the log.
        ``classes``: one folder a class below ``root``; the classes take turns, so that a limit
        keeps them balanced.
        ``celeba``: torchvision's layout, ``root/celeba``; split train, valid, test (default) or
        all.
        ``div2k``: ``root/DIV2K_{train,valid}_HR``; split train or valid (default).
        ``afhq``: ``root/<split>/{cat,dog,wild}``; split train, val or test (default: test, or val
        as in version 1).
        ``cifar10``: ``root/cifar-10-batches-py``, or ``root/<split>/<class>`` of image files;
        split train or test (default).
    crop: height and width, or one number for both, cut from the centre.
    resize: before the crop, (height, width), or one number for the shorter side; bicubic with
        antialiasing.
    limit: keep only the first so many.
    max_pixels: a file that holds a larger image is refused before it is decoded.

    Raises InputError for a missing or empty folder and an unknown source or split; reading an item
    raises it for a file that is broken, too large or smaller than the crop.

    >>> first = open_images("kodak", crop=256, limit=2)[0]
    >>> first.name, first.image.shape, first.image.dtype
    ('kodim01', torch.Size([3, 256, 256]), torch.uint8)
    """
    if source not in SOURCES:
        raise InputError(f"images: {source!r} is no source; allowed are {', '.join(SOURCES)}")
    if limit is not None and limit < 1:
        raise InputError(f"images: limit is {limit}; it must be at least 1")
    for key, size in (("crop", crop), ("resize", resize)):
        if size is not None and not 1 <= min(_pair(size)) <= max(_pair(size)) <= max_pixels:
            raise InputError(f"images: {key} is {size}; sides are 1 pixel to {max_pixels}")
    if source == "kodak":
        root = KODAK
    elif root is None:
        raise InputError(f"images: source {source!r} needs a root, the folder that holds it")
    elif not root.is_dir():
        raise InputError(f"images: {root}: no such folder")
    sources, class_names = SOURCES[source](root, split)
    return ImageSet(
        sources[:limit],
        crop=None if crop is None else _pair(crop),
        resize=resize,
        max_pixels=max_pixels,
        class_names=class_names,
    )


def centre_crop(image: Tensor, size: Size, *, name: str = "image") -> Tensor:
    """The middle of [..., H, W]; raises InputError where the image is smaller than ``size``."""
    (height, width), (crop_h, crop_w) = image.shape[-2:], _pair(size)
    _check_crop_fits(name, (height, width), (crop_h, crop_w))
    top, left = (height - crop_h) // 2, (width - crop_w) // 2
    return image[..., top : top + crop_h, left : left + crop_w].contiguous()


class TrainingCrops(Dataset[tuple[Tensor, int]]):
    """Random crops of images: (float32 [3, h, w] in [0, 1], label or -1 where there is none).

    Item i of epoch e is a function of (seed, e, i) alone. Decoded images stay in memory up to
    ``cache_bytes``, so that a data loader needs no worker processes.

    sources: sets of images, taken one after the other.
    crop: height and width of the crops, or one number for both.
    downscale: (low, high); the image is first scaled by a factor drawn uniformly between them, but
        never below the crop. It removes the artefacts of JPEG. (What is computed is the same
        thing in the cheaper order: a larger crop, scaled.)
    flip: mirror left and right with probability one half.
    """

    def __init__(
        self,
        sources: Sequence[ImageSet],
        *,
        crop: Size,
        downscale: tuple[float, float] | None = None,
        flip: bool = True,
        seed: int = 0,
        cache_bytes: int = 2 * 1024**3,
    ) -> None:
        if downscale is not None and not 0 < downscale[0] <= downscale[1] <= 1:
            raise InputError(f"downscale is {downscale}; it must be 0 < low <= high <= 1")
        self._places = [(images, i) for images in sources for i in range(len(images))]
        if not self._places:
            raise InputError("training images: no images in the sources; at least one is needed")
        self._crop = _pair(crop)
        self._downscale = downscale
        self._flip = flip
        self._seed = seed
        self._epoch = 0
        self._cache: dict[int, ImageItem] = {}
        self._cache_left = cache_bytes

    def set_epoch(self, epoch: int) -> None:
        """Draw other crops; call it before each pass over the data."""
        self._epoch = epoch

    def set_crop(self, crop: Size) -> None:
        """Cut crops of another size from now on."""
        self._crop = _pair(crop)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        item = self._item(index)
        draw = Random(derive_seed(self._seed, "crop", self._epoch, index))
        image = self._random_crop(item, draw)
        if self._flip and draw.random() < 0.5:
            image = image.flip(-1)
        return image.float() / 255, item.label_index

    def _item(self, index: int) -> ImageItem:
        if index in self._cache:
            return self._cache[index]
        images, i = self._places[index]
        item = images[i]
        if item.image.nbytes <= self._cache_left:
            self._cache[index] = item
            self._cache_left -= item.image.nbytes
        return item

    def _random_crop(self, item: ImageItem, draw: Random) -> Tensor:
        (height, width), (crop_h, crop_w) = item.image.shape[-2:], self._crop
        _check_crop_fits(item.name, (height, width), self._crop)
        scale = 1.0 if self._downscale is None else draw.uniform(*self._downscale)
        scale = max(scale, crop_h / height, crop_w / width)
        cut_h, cut_w = min(round(crop_h / scale), height), min(round(crop_w / scale), width)
        top, left = draw.randint(0, height - cut_h), draw.randint(0, width - cut_w)
        cut = item.image[:, top : top + cut_h, left : left + cut_w]
        return cut if (cut_h, cut_w) == self._crop else _resized(cut, self._crop)


def _check_crop_fits(name: str, size: tuple[int, int], crop: tuple[int, int]) -> None:
    if crop[0] > size[0] or crop[1] > size[1]:
        raise InputError(
            f"{name}: the image is {size[0]}x{size[1]} (height x width), the crop "
            f"{crop[0]}x{crop[1]}; crop less or resize first"
        )


def _check_resize_fits(name: str, size: Sequence[int], resize: Size, max_pixels: int) -> None:
    if isinstance(resize, tuple):
        pixels = resize[0] * resize[1]
    else:
        pixels = resize * resize * max(size) // min(size)
    if pixels > max_pixels:
        raise InputError(
            f"{name}: resize {resize} makes {pixels} pixels of {size[0]}x{size[1]}; at most "
            f"{max_pixels} are allowed (images.max_pixels)"
        )


def _resized(image: Tensor, size: Size) -> Tensor:
    # torchvision takes seconds to import, and most sweeps resize nothing.
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as TF

    shape = list(size) if isinstance(size, tuple) else [size]
    resized: Tensor = TF.resize(
        image, shape, interpolation=InterpolationMode.BICUBIC, antialias=True
    )
    return resized


def _pair(size: Size) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)
