"""The source codecs of the digital chain, and the search for the quality that fits."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from baselines.digital import bpg
from baselines.digital.source_codecs import (
    SOURCE_CODECS,
    Bpg,
    Memoised,
    SourceCodec,
    enlarged,
    fit,
    fit_scaled,
    reduced_size,
)
from linksim.errors import InputError

CODECS = list(SOURCE_CODECS.values())


def picture(height: int, width: int) -> np.ndarray:
    """A smooth colourful image with an edge."""
    y, x = np.arange(height)[:, None, None], np.arange(width)[None, :, None]
    waves = 128 + 70 * np.sin(x / [19, 27, 31] + y / [23, 17, 29]) + 40 * (x + y > width)
    return np.clip(waves, 0, 255).astype(np.uint8)


class TableCodec(SourceCodec):
    """Streams of given lengths, one a quality, that say their quality; counts its calls."""

    name = "table"

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes
        self.qualities = range(len(sizes))
        self.calls = 0

    def encode(self, image: np.ndarray, quality: int) -> bytes:
        self.calls += 1
        return bytes([quality]) * self.sizes[quality]

    def decode(self, data: bytes) -> np.ndarray:
        raise NotImplementedError


# ------------------------------------------------------------------------------------------ codecs


def test_all_are_there() -> None:
    assert list(SOURCE_CODECS) == ["bpg", "jpeg", "jpeg2000", "webp", "avif", "jpegxl"]
    assert all(features.check(name) for name in ("jpg", "jpg_2000", "webp", "avif"))


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_best_is_large_and_good_and_worst_is_small(codec: SourceCodec) -> None:
    image = picture(96, 120)
    streams = [codec.encode(image, codec.qualities[i]) for i in (0, len(codec.qualities) // 2, -1)]
    sizes = [len(stream) for stream in streams]
    errors = [np.mean((codec.decode(s).astype(float) - image) ** 2) for s in streams]
    assert sizes[0] > sizes[1] > sizes[2]
    assert errors[0] < errors[1] < errors[2]
    assert errors[0] < 10  # above 38 dB


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (1, 70), (17, 33)])
@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_small_sizes(codec: SourceCodec, size: tuple[int, int]) -> None:
    image = picture(*size)
    for quality in (codec.qualities[0], codec.qualities[-1]):
        decoded = codec.decode(codec.encode(image, quality))
        assert decoded.shape == image.shape
        assert decoded.dtype == np.uint8


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_zeros_after_the_stream_do_no_harm(codec: SourceCodec) -> None:
    """A transport block is filled up with zeros."""
    stream = codec.encode(picture(40, 52), codec.qualities[len(codec.qualities) // 2])
    np.testing.assert_array_equal(codec.decode(stream + bytes(1000)), codec.decode(stream))


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_truncation_is_an_input_error(codec: SourceCodec) -> None:
    stream = codec.encode(picture(64, 64), codec.qualities[len(codec.qualities) // 2])
    for length in range(0, len(stream) - 4, 7):
        with pytest.raises(InputError) as error:
            codec.decode(stream[:length])
        assert codec.name in str(error.value).lower() or "HEVC" in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_flipped_bits_give_an_image_or_an_input_error(codec: SourceCodec) -> None:
    stream = codec.encode(picture(48, 48), codec.qualities[len(codec.qualities) // 2])
    rng = np.random.default_rng(3)
    for position in rng.integers(8 * len(stream), size=150).tolist():
        broken = bytearray(stream)
        broken[position // 8] ^= 1 << position % 8
        try:
            assert codec.decode(bytes(broken)).dtype == np.uint8
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017


def test_one_codec_does_not_read_another() -> None:
    streams = {c.name: c.encode(picture(32, 32), c.qualities[3]) for c in CODECS}
    for codec in CODECS:
        for name, stream in streams.items():
            if name != codec.name:
                with pytest.raises(InputError):
                    codec.decode(stream)


def test_an_image_that_a_format_cannot_hold() -> None:
    """WebP ends at 16383 pixels a side."""
    with pytest.raises(InputError, match="webp cannot code an image of 16384x1 pixels"):
        SOURCE_CODECS["webp"].encode(np.zeros((1, 16384, 3), np.uint8), 50)


def test_bpg_options_reach_the_encoder() -> None:
    image = picture(32, 48)
    assert Bpg(chroma="444").encode(image, 30) == bpg.encode(image, 30, chroma="444")
    with pytest.raises(InputError, match="allowed"):
        Bpg(chroma="411").encode(image, 30)  # type: ignore[arg-type]


def error_of(codec: SourceCodec, stream: bytes | None, image: np.ndarray) -> float:
    assert stream is not None
    return float(np.mean((codec.decode(stream).astype(float) - image) ** 2))


def test_fine_steps_end_at_the_whole_qp() -> None:
    image, fine = picture(64, 96), Bpg(qp="fine")
    assert fine.encode(image, 6 * 30 + 5) == bpg.encode(image, 30)
    assert fine.encode(image, 6 * 30) == bpg.encode(image, 30, chroma_qp_offset=-5)
    assert len(fine.qualities) == 52 * 6
    assert Bpg(qp="fine", chroma="444").encode(image, 4 * 30) == bpg.encode(
        image, 30, chroma="444", chroma_qp_offset=-3
    )
    assert Bpg().encode(image, 30) == bpg.encode(image, 30)


def test_fine_steps_leave_less_unused_and_show_more(shared: Path) -> None:
    """On photographs at budgets that no QP fits exactly."""
    unused, gained = [], []
    for name in ("kodim05", "kodim23"):
        with Image.open(shared / "data" / "kodak" / f"{name}.png") as photo:
            image = np.asarray(photo)[100:228, 200:328]
        codecs = Memoised(Bpg()), Memoised(Bpg(qp="fine"))
        for budget in (500, 1130, 2260):
            whole, fine = (fit(codec, image, budget) for codec in codecs)
            errors = [error_of(c, s, image) for c, s in zip(codecs, (whole, fine), strict=True)]
            unused.append([1 - len(stream or b"") / budget for stream in (whole, fine)])
            gained.append(10 * np.log10(errors[0] / errors[1]))
    assert np.mean(unused, axis=0)[1] < 0.03
    assert np.mean(unused, axis=0)[1] < 0.6 * np.mean(unused, axis=0)[0]
    assert min(gained) > -0.05
    assert np.mean(gained) > 0.1


def test_bpgenc_has_whole_qps_alone() -> None:
    with pytest.raises(InputError, match="bpgenc has no chroma_qp_offset"):
        Bpg(implementation="bpgenc", qp="fine").encode(picture(32, 32), 0)


def test_jpeg_xl_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    with pytest.raises(InputError, match=r"jpegxl needs pillow-jxl-plugin; pip install"):
        SOURCE_CODECS["jpegxl"].encode(picture(32, 32), 100)


def test_pillow_reads_what_pillow_wrote() -> None:
    """The streams are ordinary files: Pillow tells their kind from their bytes."""
    for name, kind in (("jpeg", "JPEG"), ("jpeg2000", "JPEG2000"), ("webp", "WEBP")):
        codec = SOURCE_CODECS[name]
        with Image.open(io.BytesIO(codec.encode(picture(40, 40), codec.qualities[5]))) as image:
            assert image.format == kind


# --------------------------------------------------------------------------------------------- fit

IMAGE = np.zeros((1, 1, 3), np.uint8)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_fit_finds_what_an_exhaustive_search_finds(codec: SourceCodec) -> None:
    image = picture(48, 64)
    memo = Memoised(codec)
    sizes = [len(memo.encode(image, quality)) for quality in codec.qualities]
    for budget in (min(sizes), sorted(sizes)[len(sizes) // 3], sorted(sizes)[-2], max(sizes) + 9):
        best = next(q for q, n in zip(codec.qualities, sizes, strict=True) if n <= budget)
        assert fit(memo, image, budget) == memo.encode(image, best)


def test_nothing_fits() -> None:
    assert fit(TableCodec([90, 40, 20]), IMAGE, 19) is None
    assert fit(SOURCE_CODECS["bpg"], picture(32, 32), 10) is None


@pytest.mark.parametrize(
    ("budget", "quality"), [(100, 0), (99, 1), (70, 1), (69, 2), (68, 4), (50, 4), (49, 5)]
)
def test_fit_looks_beyond_a_small_bump(budget: int, quality: int) -> None:
    """Quality 3 takes more than 2 and 4: bisection alone ends behind it with 69 bytes."""
    stream = fit(TableCodec([100, 70, 69, 71, 50, 30, 20]), IMAGE, budget)
    assert stream is not None
    assert stream[0] == quality


def test_fit_takes_few_encodes() -> None:
    codec = TableCodec(list(range(400, 144, -1)))  # 256 qualities
    stream = fit(codec, IMAGE, 300)
    assert stream is not None
    assert stream[0] == 100
    assert codec.calls <= 1 + 8 + 2  # the worst, the bisection, two ahead


# ------------------------------------------------------------------------------------------ scales


def test_a_smaller_picture_is_coded_where_that_is_better(shared: Path) -> None:
    with Image.open(shared / "data" / "kodak" / "kodim05.png") as photo:
        image = np.asarray(photo)[100:228, 200:328]
    size = (128, 128)
    codec = Memoised(SOURCE_CODECS["jpeg"])
    scarce, rich = fit_scaled(codec, image, 700), fit_scaled(codec, image, 6000)
    assert rich == fit(codec, image, 6000)
    assert scarce is not None
    assert codec.decode(scarce).shape[0] < 128
    shown = enlarged(codec.decode(scarce), size)
    assert shown is not None
    whole = fit(codec, image, 700)
    plain = np.inf if whole is None else error_of(codec, whole, image)
    assert np.mean((shown.astype(float) - image) ** 2) < plain


def test_scaling_makes_fit_what_did_not() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    codec = SOURCE_CODECS["jpeg"]
    smallest = len(codec.encode(image, codec.qualities[-1]))
    assert fit(codec, image, smallest - 1) is None
    assert fit_scaled(codec, image, smallest - 1) is not None
    assert fit_scaled(codec, image, 10) is None


def test_the_size_tells_the_scale() -> None:
    assert reduced_size((48, 65), 0.5) == (24, 32)
    assert reduced_size((1, 2), 0.25) == (1, 1)
    picture_ = picture(48, 64)
    assert enlarged(picture_, (48, 64)) is picture_
    for size in ((96, 128), (64, 85), (128, 171), (192, 256)):
        bigger = enlarged(picture_, size)
        assert bigger is not None
        assert bigger.shape == (*size, 3)
    assert enlarged(picture_, (100, 64)) is None


# -------------------------------------------------------------------------------------------- memo


def test_memo_encodes_once() -> None:
    codec = TableCodec([50, 40, 30, 20, 10])
    memo = Memoised(codec)
    assert [fit(memo, IMAGE, n) for n in (45, 45)] == [b"\1" * 40] * 2
    calls = codec.calls
    fit(memo, IMAGE.copy(), 45)
    assert codec.calls == calls
    fit(memo, IMAGE + 1, 45)
    assert codec.calls == 2 * calls


def test_memo_tells_shapes_apart() -> None:
    memo = Memoised(SOURCE_CODECS["jpeg"])
    for shape in ((2, 3, 3), (3, 2, 3)):
        assert memo.decode(memo.encode(np.zeros(shape, np.uint8), 50)).shape == shape


def test_memo_forgets_the_oldest() -> None:
    codec = TableCodec([50, 40, 30])
    memo = Memoised(codec, max_bytes=80)
    for quality in (1, 2, 1, 0):  # 0 does not fit beside 1 and 2: 2 goes, and then 1
        memo.encode(IMAGE, quality)
    assert codec.calls == 3
    memo.encode(IMAGE, 0)
    assert codec.calls == 3
    memo.encode(IMAGE, 2)
    assert codec.calls == 4
