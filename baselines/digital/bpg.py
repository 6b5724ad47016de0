"""BPG, the still-picture format that papers compare with: HEVC intra in a small container.

    RGB -> YCbCr -> pad -> x265 -> container        container -> HEVC decoder -> crop -> RGB

Everything comes from PyPI; the reference tools `bpgenc` and `bpgdec` can be used instead where they
are installed.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from baselines.digital import bpg_container, hevc
from baselines.digital.bpg_container import PixelFormat
from baselines.digital.ycbcr import from_rgb, to_rgb
from linksim.errors import InputError

Chroma = Literal["420", "422", "444"]
Implementation = Literal["pyav", "bpgenc"]

MAX_QP = 51
MAX_PIXELS = 2**22
"""Of files that come from anywhere: 4.2 million, all of the data sets that this field codes."""

_PIXEL_FORMATS = {
    "420": PixelFormat.YUV420,
    "422": PixelFormat.YUV422,
    "444": PixelFormat.YUV444,
}
_HALVED_AXES = {"420": (0, 1), "422": (1,), "444": ()}


def encode(
    image: NDArray[np.uint8],
    qp: int,
    *,
    chroma: Chroma = "420",
    implementation: Implementation = "pyav",
    chroma_qp_offset: int = 0,
) -> bytes:
    """The BPG file of an image, 8 bit, YCbCr BT.601, full range.

    image: uint8 [H, W, 3], RGB, any size from 1x1.
    qp: quantisation parameter, 0 (best) to 51.
    chroma: subsampling.
    implementation: ``pyav`` (x265 from PyPI) or ``bpgenc`` (the reference encoder on the PATH).
    chroma_qp_offset: -12 to 12, added to the QP for Cb and Cr; 0 with ``bpgenc``.

    Raises InputError if an argument is not one of these.
    """
    _check(image, qp, chroma)
    if implementation == "bpgenc":
        if chroma_qp_offset:
            raise InputError("bpgenc has no chroma_qp_offset; use implementation: pyav")
        return _bpgenc(image, qp, chroma)
    if implementation != "pyav":
        raise InputError(f"implementation {implementation!r}; allowed: pyav, bpgenc")
    height, width = image.shape[:2]
    # BPG's coded picture is the image rounded up to the smallest block, so an image smaller than
    # the encoder takes gets larger blocks.
    min_block = 8 if min(-(-height // 8), -(-width // 8)) * 8 >= hevc.MIN_SIDE else hevc.MIN_SIDE
    padding = ((0, -height % min_block), (0, -width % min_block), (0, 0))
    planes = from_rgb(np.pad(image, padding, mode="edge"), halve_axes=_HALVED_AXES[chroma])
    pixel_format = _PIXEL_FORMATS[chroma]
    stream = hevc.encode(
        planes,
        qp=qp,
        chroma_format_idc=pixel_format.chroma_format_idc,
        min_block=min_block,
        chroma_qp_offset=chroma_qp_offset,
    )
    file = bpg_container.from_hevc(stream, width=width, height=height, pixel_format=pixel_format)
    return file.to_bytes()


def decode(
    data: bytes, *, implementation: Implementation = "pyav", max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """The image uint8 [H, W, 3] in a BPG file; bytes after the file's end are ignored.

    max_pixels: a larger image is refused before it is decoded. A file of 300 bytes can hold the
        largest picture of HEVC, and cost seconds and gigabytes.

    Reads all chroma formats, colour spaces and ranges of BPG, the bit depths that FFmpeg's HEVC
    decoder has (8, 9, 10, 12), and neither alpha planes nor animations. Raises InputError if the
    data is broken or cut off, or holds what is not read.
    """
    file = bpg_container.parse(data)
    coded_pixels = file.coded_size[0] * file.coded_size[1]
    if coded_pixels > max_pixels:
        raise InputError(
            f"BPG file of {file.width}x{file.height} pixels ({coded_pixels} coded); at most "
            f"{max_pixels} are decoded; raise max_pixels"
        )
    if implementation == "bpgenc":
        return _bpgdec(data)
    coded_height, coded_width = file.coded_size
    planes = hevc.decode(
        file.to_hevc(),
        height=coded_height,
        width=coded_width,
        chroma_format_idc=file.pixel_format.chroma_format_idc,
        bit_depth=file.bit_depth,
    )
    # The reference decoder crops first, so that what was padded does not reach the chroma filter.
    factors = [(coded_height // p.shape[0], coded_width // p.shape[1]) for p in planes]
    cropped = tuple(
        plane[: -(-file.height // fy), : -(-file.width // fx)]
        for plane, (fy, fx) in zip(planes, factors, strict=True)
    )
    return to_rgb(
        cropped,
        color_space=file.color_space,
        bit_depth=file.bit_depth,
        limited_range=file.limited_range,
        cosited=file.pixel_format > PixelFormat.YUV444,
    )


def _check(image: NDArray[np.uint8], qp: int, chroma: str) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"image is {image.dtype} {list(image.shape)}; BPG takes uint8 [H, W, 3]")
    if not 0 <= qp <= MAX_QP:
        raise InputError(f"QP {qp}; BPG takes 0 (best) to {MAX_QP}")
    if chroma not in _PIXEL_FORMATS:
        raise InputError(f"chroma {chroma!r}; allowed: {', '.join(_PIXEL_FORMATS)}")
    bpg_container.check_size(*image.shape[:2])


# ----------------------------------------------------------------------------- the reference tools


def _bpgenc(image: NDArray[np.uint8], qp: int, chroma: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "image.png"), Path(folder, "image.bpg")
        Image.fromarray(image).save(source)
        _run("bpgenc", "-q", str(qp), "-f", chroma, "-o", str(target), str(source))
        return target.read_bytes()


def _bpgdec(data: bytes) -> NDArray[np.uint8]:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "image.bpg"), Path(folder, "image.png")
        source.write_bytes(data)
        _run("bpgdec", "-o", str(target), str(source))
        with Image.open(target) as image:
            return np.asarray(image.convert("RGB"))


def _run(program: str, *arguments: str) -> None:
    if shutil.which(program) is None:
        raise InputError(f"{program} is not on the PATH; use implementation: pyav")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise InputError(f"{program} failed: {lines[-1]}")
