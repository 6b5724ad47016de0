"""Colour for source codecs: RGB to YCbCr with subsampled chroma, and back, in numpy.

Chroma sits where JPEG puts it, midway between the two luma samples it stands for, unless a function
is told ``cosited``. Edges are repeated.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Planes = tuple[NDArray[np.uint16], ...]
"""Y, Cb, Cr (or Y alone), each [h, w], the later ones smaller where chroma is subsampled."""


class ColorSpace(IntEnum):
    """What the three planes mean; the numbers are those of BPG's ``color_space``."""

    BT601 = 0
    RGB = 1  # planes G, B, R
    YCGCO = 2
    BT709 = 3
    BT2020 = 4  # non-constant luminance


_LUMA_WEIGHTS = {  # K_R, K_B: ITU-R BT.601, BT.709, BT.2020
    ColorSpace.BT601: (0.299, 0.114),
    ColorSpace.BT709: (0.2126, 0.0722),
    ColorSpace.BT2020: (0.2627, 0.0593),
}

# Interpolation by two. An up-sampled pair lies a quarter of a sample before and after a midway
# sample. The taps are those of the reference decoder of BPG, found by solving for its output.
_QUARTER = np.array([-1, 4, -10, 57, 18, -6, 2, 0]) / 64
_HALF = np.array([-1, 4, -11, 40, 40, -11, 4, -1]) / 64  # H.265, table 8-11

_REACH = 4  # samples to either side that those filters look at
_BAND = 32  # rows of luma that are turned into colours together: what they need stays in the cache

# Decimation by two to the midpoint of a pair.
_DECIMATE = np.array([-1, -3, 5, 31, 31, 5, -3, -1]) / 64


def rgb_matrix(color_space: ColorSpace) -> NDArray[np.float64]:
    """The 3x3 matrix that turns (Y, Cb, Cr), chroma centred on zero, into (R, G, B)."""
    if color_space is ColorSpace.RGB:
        return np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
    if color_space is ColorSpace.YCGCO:
        return np.array([[1.0, -1, 1], [1, 1, 0], [1, -1, -1]])
    kr, kb = _LUMA_WEIGHTS[color_space]
    kg = 1 - kr - kb
    return np.array(
        [
            [1, 0, 2 * (1 - kr)],
            [1, -2 * kb * (1 - kb) / kg, -2 * kr * (1 - kr) / kg],
            [1, 2 * (1 - kb), 0],
        ]
    )


def _filter(
    plane: NDArray[np.float64], taps: NDArray[np.float64], before: int, axis: int, step: int = 1
) -> NDArray[np.float64]:
    """Correlate ``plane`` with ``taps`` along ``axis``, edges repeated; keep every step-th.

    before: how many taps lie before the sample that an output is named after.
    """
    length = plane.shape[axis]
    pad = [(0, 0), (0, 0)]
    pad[axis] = before, len(taps) - 1 - before
    padded = np.pad(plane, pad, mode="edge").swapaxes(0, axis)
    total = sum(tap * padded[k : k + length : step] for k, tap in enumerate(taps.tolist()) if tap)
    assert isinstance(total, np.ndarray)
    return total.swapaxes(0, axis)


def halve(plane: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """A plane of half the length along ``axis`` (rounded up), midway chroma."""
    return _filter(plane, _DECIMATE, len(_DECIMATE) // 2 - 1, axis, step=2)


def double(plane: NDArray[np.float64], axis: int, cosited: bool = False) -> NDArray[np.float64]:
    """A plane of twice the length along ``axis``: the inverse of :func:`halve`."""
    if cosited:
        pair = [plane, _filter(plane, _HALF, 3, axis)]
    else:
        pair = [_filter(plane, _QUARTER[::-1], 4, axis), _filter(plane, _QUARTER, 3, axis)]
    shape = list(plane.shape)
    shape[axis] *= 2
    return np.stack(pair, axis=axis + 1).reshape(shape)


def _upsampled_rows(
    plane: NDArray[np.uint16], rows: range, shape: tuple[int, ...], cosited: bool, peak: int
) -> NDArray[np.float64]:
    """Some rows of a plane brought to luma size ``shape``, in whole numbers from 0 to peak."""
    if plane.shape[0] < shape[0]:
        # The rows that the filter reaches; beyond the plane's edges it repeats them itself.
        first, last = max(rows.start // 2 - _REACH, 0), rows.stop // 2 + _REACH + 1
        out = double(plane[first:last].astype(np.float64), 0)
        out = out[rows.start - 2 * first : rows.stop - 2 * first]
    else:
        out = plane[rows.start : rows.stop].astype(np.float64)
    if out.shape[1] < shape[1]:
        out = double(out, 1, cosited)[:, : shape[1]]
    return _round(out, peak)


def _round(values: NDArray[np.float64], peak: int) -> NDArray[np.float64]:
    """Whole numbers from 0 to peak; halves go up, as in the integer arithmetic of decoders."""
    return np.clip(np.floor(values + 0.5), 0, peak)


def from_rgb(image: NDArray[np.uint8], *, halve_axes: tuple[int, ...]) -> Planes:
    """Full-range 8-bit BT.601 planes of an RGB image.

    image: uint8 [H, W, 3]. halve_axes: (0, 1) for 4:2:0, (1,) for 4:2:2, () for 4:4:4.
    """
    red, green, blue = np.moveaxis(image, -1, 0).astype(np.float64)
    matrix = np.linalg.inv(rgb_matrix(ColorSpace.BT601)).tolist()
    planes = [r * red + g * green + b * blue for r, g, b in matrix]
    planes[1:] = [chroma + 128 for chroma in planes[1:]]
    for axis in halve_axes:
        planes[1:] = [halve(chroma, axis) for chroma in planes[1:]]
    return tuple(_round(plane, 255).astype(np.uint16) for plane in planes)


def to_rgb(
    planes: Planes,
    *,
    color_space: ColorSpace,
    bit_depth: int = 8,
    limited_range: bool = False,
    cosited: bool = False,
) -> NDArray[np.uint8]:
    """The image uint8 [H, W, 3] of full-size luma and perhaps smaller chroma planes.

    cosited: chroma lies on the left one of its luma pair, as in MPEG-2, rather than midway.
    """
    steps = 1 << (bit_depth - 8)
    peak = 256 * steps - 1
    black, y_span, c_span = (
        (16 * steps, 219 * steps, 224 * steps) if limited_range else (0, peak, peak)
    )
    c_zero = 128 * steps
    if color_space in (ColorSpace.RGB, ColorSpace.YCGCO):
        c_span = y_span  # only the weighted colour differences have a range of their own
    if color_space is ColorSpace.RGB:
        c_zero = black
    gains = np.array([255 / y_span, 255 / c_span, 255 / c_span])
    # To 22 binary places, as the reference decoder of BPG has it: it decides what is a half.
    matrix = np.round(rgb_matrix(color_space) * gains * 2**22) / 2**22
    height, width = planes[0].shape
    image = np.empty((height, width, 3), np.uint8)
    for start in range(0, height, _BAND):
        rows = range(start, min(start + _BAND, height))
        luma, *chroma = (
            _upsampled_rows(plane, rows, (height, width), cosited, peak) for plane in planes
        )
        luma -= black
        if chroma:
            cb, cr = (plane - c_zero for plane in chroma)
            rgb = [_weighted((y, luma), (b, cb), (r, cr)) for y, b, r in matrix.tolist()]
        else:
            rgb = [luma * gains[0]] * 3
        for channel, values in enumerate(rgb):
            image[rows.start : rows.stop, :, channel] = _round(values, 255)
    return image


def _weighted(*terms: tuple[float, NDArray[np.float64]]) -> NDArray[np.float64]:
    """The sum of planes times their weights, most of which are often zero."""
    return sum((w * plane for w, plane in terms if w), start=np.zeros_like(terms[0][1]))
