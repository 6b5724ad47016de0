"""What a training sees: batches of crops of the training images, and the images held out."""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from linksim.errors import InputError
from linksim.images.packed import open_packed
from linksim.images.sets import ImageItem, ImageSet, TrainingCrops, centre_crop, open_images
from linksim.runtime.seeding import derive_seed
from linksim.training.recipe import Recipe

_log = logging.getLogger(__name__)


CACHE_BYTES = 2 * 1024**3
"""Of decoded images that are kept in memory."""


class OnDevice(ImageSet):
    """A set whose images come on a device, until they have filled ``room`` bytes of it."""

    def __init__(self, images: ImageSet, device: torch.device, room: int) -> None:
        super().__init__((), class_names=images.class_names)
        self._images = images
        self._device = device
        self._room = room

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> ImageItem:  # type: ignore[override]
        item = self._images[index]
        if item.image.nbytes > self._room:
            return item
        self._room -= item.image.nbytes
        return replace(item, image=item.image.to(self._device))


class Batches:
    """The crops of every step: images [n, 3, h, w] in [0, 1] and labels [n].

    Crop i of the whole training is a function of (seed, i) alone: each epoch is a permutation of
    the images, and step k takes the crops from k * batch_size on.

    device: where crops are cut and flipped. Images stay on a GPU once they are there, up to half
    of the memory that was free; those beyond are cut on the CPU.
    """

    def __init__(
        self, recipe: Recipe, images: ImageSet, device: torch.device | str = "cpu"
    ) -> None:
        self._batch_size = recipe.batch_size
        self._seed = recipe.seed
        self._device = torch.device(device)
        room = CACHE_BYTES
        if self._device.type == "cuda":
            room = torch.cuda.mem_get_info(self._device)[0] // 2
        self._crops = TrainingCrops(
            [OnDevice(images, self._device, room)],
            cache_bytes=room,
            crop=recipe.images.crop,
            downscale=recipe.images.downscale,
            flip=recipe.images.flip,
            seed=derive_seed(recipe.seed, "crops"),
        )
        self._epoch = -1
        self._order: list[int] = []

    def of(self, step: int, side: int, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Crops of ``side``, of the images ``first`` to before ``last`` of a step's batch."""
        self._crops.set_crop(side)
        start = step * self._batch_size
        samples = [self._sample(i) for i in range(start + first, start + last)]
        images, labels = zip(*samples, strict=True)
        return torch.stack([image.to(self._device) for image in images]), torch.tensor(labels)

    def _sample(self, index: int) -> tuple[Tensor, int]:
        epoch, place = divmod(index, len(self._crops))
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(derive_seed(self._seed, "order", epoch))
            self._order = torch.randperm(len(self._crops), generator=generator).tolist()
            self._epoch = epoch
            self._crops.set_epoch(epoch)
        return self._crops[self._order[place]]


class HeldOut:
    """The held-out images' centre crops, in batches of at most ``size``; read once."""

    def __init__(self, images: ImageSet, *, side: int, size: int) -> None:
        self._images = images
        self._side = side
        self._size = size
        self._crops: list[tuple[Tensor, int]] = []

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if not self._crops:
            self._crops = [
                (centre_crop(item.image, self._side, name=item.name), item.label_index)
                for item in self._images
            ]
        for start in range(0, len(self._crops), self._size):
            images, labels = zip(*self._crops[start : start + self._size], strict=True)
            yield torch.stack(images).float() / 255, torch.tensor(labels)


def open_training_images(recipe: Recipe) -> ImageSet:
    """All images of a recipe's source."""
    settings = recipe.images
    if settings.root is not None and settings.root.is_file():
        return open_packed(settings.root, source=settings.source, split=settings.split)
    return open_images(
        settings.source,
        root=settings.root,
        split=settings.split,
        max_pixels=settings.max_pixels,
    )


def data_digest(images: ImageSet) -> str:
    """SHA-256 of the images' names and of the sizes of their files in bytes."""
    lines = zip(images.names, images.sizes, strict=True)
    return hashlib.sha256("\n".join(f"{name} {size}" for name, size in lines).encode()).hexdigest()


def split_images(recipe: Recipe, images: ImageSet | None = None) -> tuple[ImageSet, ImageSet]:
    """(training, held-out) images: every so-many-th is held out, counted class by class.

    Which are held out does not depend on the crops; then those that are smaller than the largest
    crop are left out of both. Raises InputError where too few are left.
    """
    source, root, holdout = recipe.images.source, recipe.images.root, recipe.images.holdout
    images = open_training_images(recipe) if images is None else images
    if len(images) <= holdout:
        raise InputError(
            f"images.holdout is {holdout}, but {root or source} holds {len(images)} images; "
            "some must be left to train on"
        )
    labels = images.labels
    by_class = sorted(range(len(images)), key=lambda i: labels[i] or 0)
    held = {by_class[i * len(images) // holdout] for i in range(holdout)}
    rest = [i for i in range(len(images)) if i not in held]
    split = images.subset(rest), images.subset(sorted(held))
    training, held_out = (_that_fit(recipe, part) for part in split)
    fit, side = len(training) + len(held_out), recipe.largest_crop
    if fit < len(images):
        few = f"{fit} of {len(images)} photographs of {root or source}"
        if not len(training) or not len(held_out):
            raise InputError(
                f"{few} are at least {side}x{side}, the crop; images.holdout takes "
                f"{holdout}, and some must be left to train on"
            )
        _log.warning("%s are at least %dx%d, the crop; the others are left out", few, side, side)
    return training, held_out


def _that_fit(recipe: Recipe, images: ImageSet) -> ImageSet:
    """Those that the largest crop fits into; of CelebA and CIFAR-10, whose images are all of one
    size, the first speaks for all."""
    side = recipe.largest_crop
    alike = recipe.images.source in ("celeba", "cifar10")
    if alike and len(images[:1].at_least(side)):
        return images
    return images.at_least(side)
