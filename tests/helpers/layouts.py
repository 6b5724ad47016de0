"""Folders laid out as known data sets are, for tests."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def smooth_picture(seed: int, size: tuple[int, int]) -> Image.Image:
    """A smooth random picture of (width, height)."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


def write_celeba_lists(root: Path, split_of: Mapping[str, int]) -> None:
    """CelebA's lists for files of these names: 0 train, 1 valid, 2 test."""
    folder = root / "celeba"
    splits = "".join(f"{name} {split}\n" for name, split in split_of.items())
    (folder / "list_eval_partition.txt").write_text(splits)
    table = f"{len(split_of)}\nx y\n" + "".join(f"{name} 1 -1\n" for name in split_of)
    for name in ("list_attr_celeba", "list_bbox_celeba", "list_landmarks_align_celeba"):
        (folder / f"{name}.txt").write_text(table)
    (folder / "identity_CelebA.txt").write_text("".join(f"{name} 1\n" for name in split_of))


def tiny_data_set(source: str, root: Path, size: tuple[int, int], images: int = 4) -> None:
    """A training split of ``div2k``, ``celeba`` or ``afhq`` with a few smooth pictures."""
    names = [f"{i:06d}" for i in range(1, images + 1)]
    folder, suffix = {
        "div2k": ("DIV2K_train_HR", "png"),
        "celeba": ("celeba/img_align_celeba", "jpg"),
        "afhq": ("train/cat", "jpg"),
    }[source]
    (root / folder).mkdir(parents=True)
    for seed, name in enumerate(names):
        smooth_picture(seed, size).save(root / folder / f"{name}.{suffix}")
    if source == "celeba":
        write_celeba_lists(root, {f"{name}.jpg": 0 for name in names})
