"""Image sources: the shipped set, folders, data sets' layouts, odd files, and training crops."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from linksim.errors import InputError
from linksim.images.sets import ImageSet, TrainingCrops, centre_crop, open_images
from tests.helpers.layouts import write_celeba_lists


def _save(path: Path, pixels: object = 0, size: tuple[int, int] = (6, 8)) -> Path:
    """An 8-bit image file of [H, W, 3] pixels, or of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = (
        np.broadcast_to(np.asarray(pixels, np.uint8), (*size, 3)) if np.ndim(pixels) < 3 else pixels
    )
    Image.fromarray(np.asarray(array, np.uint8)).save(path)
    return path


def _noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_kodak_is_shipped_whole() -> None:
    images = open_images("kodak")
    assert images.names == tuple(f"kodim{i:02d}" for i in range(1, 25))
    shapes = [tuple(item.image.shape) for item in images]
    assert shapes.count((3, 512, 768)) == 18
    assert shapes.count((3, 768, 512)) == 6
    assert images[0].image.dtype == torch.uint8


def test_kodak_is_lossless(shared: Path) -> None:
    for item in open_images("kodak", limit=3):
        with Image.open(shared / "data" / "kodak" / f"{item.name}.png") as file:
            expected = np.asarray(file)
        assert np.array_equal(item.image.permute(1, 2, 0).numpy(), expected)


def test_centre_crop_resize_and_limit() -> None:
    images = open_images("kodak", crop=256, limit=2)
    whole = open_images("kodak")[0].image
    assert len(images) == 2
    assert torch.equal(images[0].image, whole[:, 128:384, 256:512])
    assert open_images("kodak", resize=128)[0].image.shape == (3, 128, 192)
    assert open_images("kodak", resize=(40, 50), crop=(40, 32))[0].image.shape == (3, 40, 32)
    assert [item.name for item in images[1:]] == ["kodim02"]


def test_resize_keeps_what_is_smooth(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 256)[None, :, None], (64, 256, 3)).round()
    half = np.broadcast_to(
        (np.linspace(0, 255, 256).reshape(128, 2).mean(1))[None, :, None], (32, 128, 3)
    )
    _save(tmp_path / "ramp.png", ramp)
    got = open_images("folder", root=tmp_path, resize=32)[0].image
    assert np.abs(got.permute(1, 2, 0).numpy()[:, 2:-2] - half[:, 2:-2]).max() <= 1


def test_folder_is_recursive_and_sorted(tmp_path: Path) -> None:
    for name in ("b/z.png", "a.JPG", "b/a.webp", "c.bmp", ".hidden.png", "b/._junk.png"):
        _save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    images = open_images("folder", root=tmp_path)
    assert images.names == ("a", "b/a", "b/z", "c")
    assert all(item.label is None for item in images)


def test_reads_only_when_asked(tmp_path: Path) -> None:
    _save(tmp_path / "a.png", 7)
    (tmp_path / "b.png").write_bytes(b"not a png")
    images = open_images("folder", root=tmp_path)
    assert images[0].image.unique().tolist() == [7]
    with pytest.raises(InputError, match=r"b\.png: not a readable image"):
        images[1]


def test_classes_take_turns(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/2.png", "cat/3.png", "dog/1.png", "wild/1.png", "wild/2.png"):
        _save(tmp_path / name)
    images = open_images("classes", root=tmp_path)
    assert images.names == ("cat/1", "dog/1", "wild/1", "cat/2", "wild/2", "cat/3")
    assert [item.label for item in images] == [0, 1, 2, 0, 2, 0]
    assert images.class_names == images[:3].class_names == ("cat", "dog", "wild")


def test_layouts_of_div2k_and_afhq(tmp_path: Path) -> None:
    _save(tmp_path / "DIV2K_valid_HR" / "0801.png")
    _save(tmp_path / "DIV2K_train_HR" / "0001.png")
    assert open_images("div2k", root=tmp_path).names == ("0801",)
    assert open_images("div2k", root=tmp_path, split="train").names == ("0001",)
    _save(tmp_path / "val" / "dog" / "x.jpg")
    assert open_images("afhq", root=tmp_path).names == ("dog/x",)
    _save(tmp_path / "test" / "cat" / "y.png")
    assert open_images("afhq", root=tmp_path).names == ("cat/y",)


def test_cifar10_as_class_folders(tmp_path: Path) -> None:
    _save(tmp_path / "test" / "airplane" / "0000.jpg")
    _save(tmp_path / "test" / "bird" / "0000.jpg")
    images = open_images("cifar10", root=tmp_path)
    assert [(item.name, item.label) for item in images] == [("airplane/0000", 0), ("bird/0000", 1)]


def test_cifar10_as_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10

    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    pixels = np.arange(2 * 3072, dtype=np.uint64).astype(np.uint8).reshape(2, 3072)
    files = {
        "test_batch": {"data": pixels, "labels": [3, 8]},
        "batches.meta": {"label_names": list("abcdefghij")},
    }
    for name, content in files.items():
        (folder / name).write_bytes(pickle.dumps(content))

    def md5(name: str) -> str:
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    monkeypatch.setattr(CIFAR10, "train_list", [])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5("test_batch")]])
    monkeypatch.setattr(
        CIFAR10,
        "meta",
        {"filename": "batches.meta", "key": "label_names", "md5": md5("batches.meta")},
    )
    images = open_images("cifar10", root=tmp_path)
    assert [(item.name, item.label) for item in images] == [("test/00000", 3), ("test/00001", 8)]
    assert torch.equal(images[1].image.flatten(), torch.from_numpy(pixels[1]))
    (folder / "test_batch").write_bytes(b"broken")
    with pytest.raises(InputError, match="not a whole CIFAR-10"):
        open_images("cifar10", root=tmp_path)


def test_celeba(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CelebA

    with pytest.raises(InputError, match=r"no CelebA; wanted are celeba/img_align_celeba"):
        open_images("celeba", root=tmp_path)
    names = [f"{i:06d}.jpg" for i in (1, 2, 3, 4)]
    for name in names:
        _save(tmp_path / "celeba" / "img_align_celeba" / name)
    write_celeba_lists(tmp_path, dict(zip(names, (0, 2, 2, 0), strict=True)))
    monkeypatch.setattr(CelebA, "_check_integrity", lambda self: True)
    assert open_images("celeba", root=tmp_path).names == ("000002", "000003")
    assert open_images("celeba", root=tmp_path, split="train")[0].image.shape == (3, 6, 8)


def test_bad_requests(tmp_path: Path) -> None:
    _save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"'kodac' is no source; allowed are kodak, folder,"):
        open_images("kodac")
    with pytest.raises(InputError, match="needs a root"):
        open_images("folder")
    with pytest.raises(InputError, match="nowhere: no such folder"):
        open_images("folder", root=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: no image files"):
        open_images("folder", root=tmp_path / "empty")
    _save(tmp_path / "beside" / "cat" / "1.png")
    _save(tmp_path / "beside" / "2.png")
    with pytest.raises(InputError, match="image '2' lies beside the class folders"):
        open_images("classes", root=tmp_path / "beside")
    with pytest.raises(InputError, match="no folders in it"):
        open_images("classes", root=tmp_path / "empty")
    with pytest.raises(InputError, match=r"split is 'dev' for 'div2k'; allowed are valid, train"):
        open_images("div2k", root=tmp_path, split="dev")
    with pytest.raises(InputError, match=r"split is 'test' for 'kodak'; it has no splits"):
        open_images("kodak", split="test")
    with pytest.raises(InputError, match="limit is 0; it must be at least 1"):
        open_images("kodak", limit=0)
    with pytest.raises(InputError, match=r"crop is 0; sides are 1 pixel to"):
        open_images("kodak", crop=0)
    with pytest.raises(InputError, match=r"a: resize 30000 makes 1200000000 pixels of 6x8"):
        open_images("folder", root=tmp_path, resize=30_000)[0]
    with pytest.raises(InputError, match=r"a: the image is 6x8 .*, the crop 7x7"):
        open_images("folder", root=tmp_path, crop=7)[0]
    _save(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="2 files are called 'a'"):
        open_images("folder", root=tmp_path)


def test_centre_crop_by_hand() -> None:
    grid = torch.arange(20).reshape(1, 4, 5)
    assert centre_crop(grid, (2, 3)).tolist() == [[[6, 7, 8], [11, 12, 13]]]


@pytest.fixture
def photographs(tmp_path: Path) -> ImageSet:
    for i, size in enumerate([(40, 60), (64, 48), (32, 32)]):
        _save(tmp_path / f"{i}.png", _noise(*size, seed=i))
    return open_images("folder", root=tmp_path)


def test_crops_depend_on_seed_epoch_and_index_alone(photographs: ImageSet) -> None:
    def crops(seed: int, epoch: int, order: list[int], cache_bytes: int) -> dict[int, torch.Tensor]:
        data = TrainingCrops(
            [photographs], crop=24, downscale=(0.5, 1.0), seed=seed, cache_bytes=cache_bytes
        )
        data.set_epoch(epoch)
        return {i: data[i][0] for i in order}

    first, again = crops(3, 5, [0, 1, 2], 10**6), crops(3, 5, [2, 0, 1, 0], 0)
    assert all(torch.equal(first[i], again[i]) for i in range(3))
    for other in (crops(4, 5, [0, 1], 0), crops(3, 6, [0, 1], 0)):
        assert not any(torch.equal(first[i], other[i]) for i in other)


def test_crops_are_windows_of_the_image(photographs: ImageSet) -> None:
    data = TrainingCrops([photographs], crop=(16, 20), flip=False)
    windows = photographs[0].image.unfold(1, 16, 1).unfold(2, 20, 1)
    places = set()
    for epoch in range(30):
        data.set_epoch(epoch)
        crop, label = data[0]
        assert label == -1
        match = (
            (windows == (crop * 255).round().to(torch.uint8)[:, None, None]).all(-1).all(-1).all(0)
        )
        assert match.sum() == 1
        places.add(tuple(match.nonzero()[0].tolist()))
    assert len(places) > 15


def test_flips_half_of_the_time(photographs: ImageSet) -> None:
    data = TrainingCrops([photographs], crop=32)  # image 2 is 32x32: only the flip is left
    flips = 0
    for epoch in range(200):
        data.set_epoch(epoch)
        crop = (data[2][0] * 255).round().to(torch.uint8)
        flips += not torch.equal(crop, photographs[2].image)
        assert torch.equal(crop, photographs[2].image) or torch.equal(
            crop.flip(-1), photographs[2].image
        )
    assert 70 < flips < 130


def test_downscale_averages_pixels_away(tmp_path: Path) -> None:
    _save(tmp_path / "noise.png", _noise(256, 256))
    images = open_images("folder", root=tmp_path)
    full = TrainingCrops([images], crop=64, seed=1)[0][0].std()
    half = TrainingCrops([images], crop=64, downscale=(0.5, 0.5), seed=1)[0][0].std()
    assert half < 0.7 * full
    never_below_the_crop = TrainingCrops([images], crop=256, downscale=(0.5, 0.5), flip=False)
    assert torch.equal((never_below_the_crop[0][0] * 255).round(), images[0].image.float())


def test_training_data_in_batches(photographs: ImageSet, tmp_path: Path) -> None:
    for name in ("x/1.png", "y/1.png"):
        _save(tmp_path / "classes" / name, _noise(20, 20))
    labelled = open_images("classes", root=tmp_path / "classes")
    data = TrainingCrops([photographs, labelled], crop=16, downscale=(0.5, 1.0))
    images, labels = next(iter(torch.utils.data.DataLoader(data, batch_size=5)))
    assert images.shape == (5, 3, 16, 16)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1
    assert labels.tolist() == [-1, -1, -1, 0, 1]


def test_bad_training_requests(photographs: ImageSet) -> None:
    with pytest.raises(InputError, match="the crop 33x33"):
        TrainingCrops([photographs], crop=33, downscale=(0.5, 1.0))[2]
    with pytest.raises(InputError, match=r"downscale is \(1.0, 0.5\); it must be 0 < low <= high"):
        TrainingCrops([photographs], crop=8, downscale=(1.0, 0.5))
    with pytest.raises(InputError, match="no images in the sources"):
        TrainingCrops([], crop=8)
