"""What a training sees: batches of crops of the training images, and the images held out."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from linksim.errors import InputError
from linksim.images.sets import ImageSet, TrainingCrops, open_images
from linksim.seeding import derive_seed
from linksim.training.recipe import Recipe


class Batches(IterableDataset[tuple[Tensor, Tensor]]):
    """Endless batches of crops (images [B, 3, h, w], labels [B]) from a given step on.

    crop_of: the side of the crops of a step.
    """

    def __init__(
        self,
        crops: TrainingCrops,
        *,
        batch_size: int,
        seed: int,
        first_step: int,
        crop_of: Callable[[int], int],
    ) -> None:
        self._crops = crops
        self._batch_size = batch_size
        self._seed = seed
        self._first_step = first_step
        self._crop_of = crop_of
        self._epoch = -1
        self._order: list[int] = []

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        step = self._first_step
        while True:
            self._crops.set_crop(self._crop_of(step))
            first = step * self._batch_size
            samples = [self._sample(i) for i in range(first, first + self._batch_size)]
            images, labels = zip(*samples, strict=True)
            yield torch.stack(images), torch.tensor(labels)
            step += 1

    def _sample(self, index: int) -> tuple[Tensor, int]:
        """Crop number ``index`` of the whole training: each epoch is a permutation of the data."""
        epoch, place = divmod(index, len(self._crops))
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(derive_seed(self._seed, "order", epoch))
            self._order = torch.randperm(len(self._crops), generator=generator).tolist()
            self._epoch = epoch
            self._crops.set_epoch(epoch)
        return self._crops[self._order[place]]


def split_images(recipe: Recipe) -> tuple[ImageSet, ImageSet]:
    """(training, held-out) images: every so-many-th is held out, counted class by class."""
    source, root, holdout = recipe.images.source, recipe.images.root, recipe.images.holdout
    images = open_images(
        source, root=root, split=recipe.images.split, max_pixels=recipe.images.max_pixels
    )
    if len(images) <= holdout:
        raise InputError(
            f"images.holdout is {holdout}, but {root or source} holds {len(images)} images; "
            "some must be left to train on"
        )
    labels = images.labels
    by_class = sorted(range(len(images)), key=lambda i: labels[i] or 0)
    held = {by_class[i * len(images) // holdout] for i in range(holdout)}
    rest = [i for i in range(len(images)) if i not in held]
    return images.subset(rest), images.subset(sorted(held))
