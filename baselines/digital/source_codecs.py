"""Source codecs of the digital chain: an image to bytes at some quality, and back.

To add one, subclass :class:`SourceCodec` and list it in :data:`SOURCE_CODECS`.
"""

import hashlib
import io
import warnings
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from baselines.digital import bpg, bpg_container
from linksim.errors import InputError

# What Pillow raises on broken data depends on the format and on the place of the damage.
_PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    RuntimeError,
    MemoryError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


class SourceCodec(ABC):
    """Lossy still-picture coding.

    name: what a scenario calls it.
    qualities: the settings from best to worst; what a number means is the codec's own affair.
    """

    name: str
    qualities: Sequence[int]

    @abstractmethod
    def encode(self, image: NDArray[np.uint8], quality: int) -> bytes:
        """The bytes of an image uint8 [H, W, 3] at one of the ``qualities``."""

    @abstractmethod
    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """The image uint8 [H, W, 3]; zero bytes after the stream are ignored.

        Raises InputError if the stream is broken.
        """


class Bpg(SourceCodec):
    """BPG; the quality is the QP, or stands for it and a finer step.

    qp: a ``whole`` QP and the next are 9 to 12 % of the bytes apart. Between them, ``fine`` codes
    the chroma at a lower QP than the luma, in steps of 1 or 2 %: a PSNR over R, G and B gains
    from it at least as much as from luma. chroma, implementation: as in
    :mod:`baselines.digital.bpg`.
    """

    name = "bpg"

    def __init__(
        self,
        *,
        chroma: bpg.Chroma = "420",
        implementation: bpg.Implementation = "pyav",
        qp: Literal["whole", "fine"] = "whole",
    ) -> None:
        self.chroma = chroma
        self.implementation = implementation
        # As many as there is room for below the next QP: 4:4:4 has more of chroma.
        self._steps = 1 if qp == "whole" else 4 if chroma == "444" else 6
        self.qualities = range((bpg.MAX_QP + 1) * self._steps)

    def encode(self, image: NDArray[np.uint8], quality: int) -> bytes:
        qp, step = divmod(quality, self._steps)
        return bpg.encode(
            image,
            qp,
            chroma=self.chroma,
            implementation=self.implementation,
            chroma_qp_offset=step - (self._steps - 1),
        )

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        # What arrives was coded here, from an image that was not too large to be read.
        limit = bpg_container.MAX_LUMA_SAMPLES
        return bpg.decode(data, implementation=self.implementation, max_pixels=limit)


class PillowCodec(SourceCodec):
    """A codec that Pillow has; a subclass names its format and its options."""

    format: ClassVar[str]

    @abstractmethod
    def options(self, image: NDArray[np.uint8], quality: int) -> dict[str, Any]:
        """What ``PIL.Image.save`` is told for this quality."""

    def encode(self, image: NDArray[np.uint8], quality: int) -> bytes:
        out = io.BytesIO()
        try:
            Image.fromarray(image).save(out, self.format, **self.options(image, quality))
        except _PILLOW_ERRORS as error:
            size = f"{image.shape[1]}x{image.shape[0]} pixels"
            raise InputError(f"{self.name} cannot code an image of {size}: {error}") from None
        return out.getvalue()

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(io.BytesIO(data), formats=[self.format]) as image:
                    return np.asarray(image.convert("RGB"))
        except UnidentifiedImageError:
            reason = "its header is not one"
        except _PILLOW_ERRORS as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{self.name} stream of {len(data)} bytes is broken: {reason}")


class Jpeg(PillowCodec):
    """JPEG, 4:2:0, optimised Huffman tables; the quality is libjpeg's."""

    name = "jpeg"
    format = "JPEG"
    qualities = range(95, 0, -1)

    def options(self, image: NDArray[np.uint8], quality: int) -> dict[str, Any]:
        return {"quality": quality, "subsampling": "4:2:0", "optimize": True}


class Jpeg2000(PillowCodec):
    """JPEG 2000, 9/7 wavelet, bare code stream; quality q asks for 24 / 2^(q/24) bit a pixel."""

    name = "jpeg2000"
    format = "JPEG2000"
    qualities = range(24 * 12)

    def options(self, image: NDArray[np.uint8], quality: int) -> dict[str, Any]:
        return {
            "irreversible": True,
            "no_jp2": True,
            "quality_mode": "rates",
            "quality_layers": [2 ** (quality / 24)],
            # Each resolution halves the sides, and one pixel must be left.
            "num_resolutions": min(6, min(image.shape[:2]).bit_length()),
        }


class WebP(PillowCodec):
    """WebP, lossy, slowest search; the quality is libwebp's."""

    name = "webp"
    format = "WEBP"
    qualities = range(100, -1, -1)

    def options(self, image: NDArray[np.uint8], quality: int) -> dict[str, Any]:
        return {"quality": quality, "method": 6}


class Avif(PillowCodec):
    """AVIF, 4:2:0; the quality is libavif's.

    speed: 0 (slowest search) to 10.
    """

    name = "avif"
    format = "AVIF"
    qualities = range(100, -1, -1)

    def __init__(self, *, speed: int = 4) -> None:
        if not 0 <= speed <= 10:
            raise InputError(f"AVIF speed {speed}; allowed: 0 (slowest) to 10")
        self.speed = speed

    def options(self, image: NDArray[np.uint8], quality: int) -> dict[str, Any]:
        return {"quality": quality, "subsampling": "4:2:0", "speed": self.speed, "max_threads": 1}


class JpegXl(PillowCodec):
    """JPEG XL; quality q is 100 - q/4 of libjxl's scale. Needs ``linksim[jxl]``."""

    name = "jpegxl"
    format = "JXL"
    qualities = range(4, 401)

    def encode(self, image: NDArray[np.uint8], quality: int) -> bytes:
        _register_jpeg_xl()
        return super().encode(image, quality)

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        _register_jpeg_xl()
        return super().decode(data)

    def options(self, image: NDArray[np.uint8], quality: int) -> dict[str, Any]:
        return {"quality": 100 - quality / 4, "effort": 7, "num_threads": 0}


def _register_jpeg_xl() -> None:
    try:
        import pillow_jxl  # noqa: F401  it registers itself with Pillow
    except ImportError:
        raise InputError(
            "source: jpegxl needs pillow-jxl-plugin; pip install 'linksim[jxl]'"
        ) from None


class Memoised(SourceCodec):
    """A codec that remembers what it encoded, for fits of the same images at several budgets.

    codec: the codec. max_bytes: how many bytes of streams it keeps; the oldest unused go first.
    """

    def __init__(self, codec: SourceCodec, *, max_bytes: int = 1 << 26) -> None:
        self.name = codec.name
        self.qualities = codec.qualities
        self._codec = codec
        self._max_bytes = max_bytes
        self._streams: OrderedDict[tuple[bytes, int], bytes] = OrderedDict()
        self._held = 0

    def encode(self, image: NDArray[np.uint8], quality: int) -> bytes:
        digest = hashlib.blake2b(repr(image.shape).encode() + image.tobytes()).digest()
        key = digest, quality
        if key in self._streams:
            self._streams.move_to_end(key)
            return self._streams[key]
        stream = self._streams[key] = self._codec.encode(image, quality)
        self._held += len(stream)
        while self._held > self._max_bytes:
            self._held -= len(self._streams.popitem(last=False)[1])
        return stream

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        return self._codec.decode(data)


_LOOK_AHEAD = 2


def fit(codec: SourceCodec, image: NDArray[np.uint8], max_bytes: int) -> bytes | None:
    """The stream of the best quality that takes at most ``max_bytes``; None if none does.

    Bisection over ``codec.qualities``. Sizes nearly always fall with the quality, but not strictly;
    so the qualities just above the one found are tried as well, until none of them fits.
    """
    qualities = codec.qualities

    def attempt(index: int) -> bytes | None:
        stream = codec.encode(image, qualities[index])
        return stream if len(stream) <= max_bytes else None

    low, high = 0, len(qualities) - 1
    best = attempt(high)
    if best is None:
        return None
    while low < high:
        middle = (low + high) // 2
        stream = attempt(middle)
        if stream is None:
            low = middle + 1
        else:
            high, best = middle, stream
    ahead = high - 2  # high - 1 was tried and does not fit
    while ahead >= max(0, high - 1 - _LOOK_AHEAD):
        stream = attempt(ahead)
        if stream is not None:
            high, best = ahead, stream
        ahead -= 1
    return best


_SCALES = (3 / 4, 1 / 2, 3 / 8, 1 / 4)


def reduced_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """(height, width) of a picture whose sides are that much shorter, at least 1."""
    height, width = (max(1, round(side * scale)) for side in size)
    return height, width


def fit_scaled(codec: SourceCodec, image: NDArray[np.uint8], max_bytes: int) -> bytes | None:
    """As :func:`fit`, of the picture or of a smaller one, whichever comes closer once enlarged.

    Scales of 3/4, 1/2, 3/8 and 1/4 are tried in that order, until one is worse than the one before.
    """
    size = (image.shape[0], image.shape[1])
    best = fit(codec, image, max_bytes)
    least = np.inf if best is None else _squared_error(codec.decode(best), image)
    for scale in _SCALES:
        stream = fit(codec, _resized(image, reduced_size(size, scale)), max_bytes)
        if stream is None:
            continue
        error = _squared_error(_resized(codec.decode(stream), size), image)
        if error >= least:
            break
        best, least = stream, error
    return best


def enlarged(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """A decoded picture at ``size``, the size telling what scale it has; None for any other."""
    found = (picture.shape[0], picture.shape[1])
    if found == size:
        return picture
    if found in [reduced_size(size, scale) for scale in _SCALES]:
        return _resized(picture, size)
    return None


def _resized(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    height, width = size
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def _squared_error(picture: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.mean((picture.astype(np.float64) - other) ** 2))


SOURCE_CODECS: Mapping[str, SourceCodec] = MappingProxyType(
    {codec.name: codec for codec in (Bpg(), Jpeg(), Jpeg2000(), WebP(), Avif(), JpegXl())}
)
"""The codecs by name, with their default options."""
