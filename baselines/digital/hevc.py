"""One HEVC intra picture: x265 writes it and FFmpeg's decoder reads it, both through PyAV."""

from fractions import Fraction

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from baselines.digital.ycbcr import Planes
from linksim.errors import InputError

_CHROMA_NAMES = {0: "gray", 1: "yuv420p", 2: "yuv422p", 3: "yuv444p"}

# x265 and libavcodec take no picture with a side below 16 and no block larger than a side.
MIN_SIDE = 16

# No bytes that an arithmetic decoder, which reads zeros behind the end, takes for that end.
_FILLER = b"\xb5" * 64

_X265_PARAMS = {
    # One picture, one thread, nothing but VPS, SPS, PPS and slice.
    "log-level": "none",
    "pools": "none",
    "frame-threads": 1,
    "wpp": 0,
    "info": 0,
    "repeat-headers": 1,
    "keyint": 1,
    "bframes": 0,
    "rc-lookahead": 0,
    "allow-non-conformance": 1,  # long thin pictures need smaller blocks than their level has
    # Constant QP, for the I slice the one asked for, and no distortion measure but the MSE.
    "ipratio": 1,
    "aq-mode": 0,
    "cutree": 0,
    "psy-rd": 0,
    "psy-rdoq": 0,
    # Searches: as the preset `veryslow`, where it matters to intra pictures.
    "rd": 6,
    "rdoq-level": 2,
    "tu-intra-depth": 3,
}


def encode(
    planes: Planes, *, qp: int, chroma_format_idc: int, min_block: int, chroma_qp_offset: int = 0
) -> bytes:
    """The HEVC stream (Annex B) of one 8-bit picture.

    planes: Y, Cb, Cr, whose luma sides are multiples of min_block and at least MIN_SIDE.
    qp: 0 to 51, the slice's. chroma_qp_offset: -12 to 12, of Cb and Cr.
    chroma_format_idc: 1 4:2:0, 2 4:2:2, 3 4:4:4. min_block: 8, 16 or 32.
    InputError where x265 refuses the size.
    """
    height, width = planes[0].shape
    largest_block = next(size for size in (64, 32, 16) if size <= min(height, width))
    params = _X265_PARAMS | {"qp": qp, "ctu": largest_block, "min-cu-size": min_block}
    params |= {"cbqpoffs": chroma_qp_offset, "crqpoffs": chroma_qp_offset}
    context = av.CodecContext.create("libx265", "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height = width, height
    context.pix_fmt = _CHROMA_NAMES[chroma_format_idc]
    context.time_base = Fraction(1, 25)
    context.options = {"x265-params": ":".join(f"{key}={value}" for key, value in params.items())}
    frame = av.VideoFrame(width, height, context.pix_fmt)
    for target, plane in zip(frame.planes, planes, strict=True):
        rows = np.zeros((target.height, target.line_size), np.uint8)
        rows[:, : plane.shape[1]] = plane
        target.update(rows.tobytes())
    try:
        packets = [*context.encode(frame), *context.encode(None)]
    except av.FFmpegError as error:
        raise InputError(f"x265 refuses a picture of {width}x{height}: {error.strerror}") from None
    return b"".join(bytes(packet) for packet in packets)


def decode(
    stream: bytes, *, height: int, width: int, chroma_format_idc: int, bit_depth: int
) -> Planes:
    """The planes of the one picture in an HEVC stream (Annex B).

    InputError if the stream is broken or cut off, or does not hold a picture of the size and format
    given.
    """
    name = _CHROMA_NAMES[chroma_format_idc] + (f"{bit_depth}le" if bit_depth > 8 else "")
    expected = name, height, width
    planes = _decode_picture(stream, expected)
    # The decoder takes what it finds behind a slice that was cut off for its end. A whole slice
    # says where it ends, and nothing that follows can change the picture.
    again = _decode_picture(stream + _FILLER, expected)
    if not all(np.array_equal(a, b) for a, b in zip(planes, again, strict=True)):
        raise InputError("HEVC stream is broken: its slice does not end where its data does")
    return planes


def _decode_picture(stream: bytes, expected: tuple[str, int, int]) -> Planes:
    context = av.CodecContext.create("hevc", "r")
    assert isinstance(context, VideoCodecContext)
    context.thread_count = 1
    context.options = {"err_detect": "explode"}
    try:
        frames = [*context.decode(av.Packet(stream)), *context.decode(None)]
    except av.FFmpegError as error:
        raise InputError(f"HEVC stream is broken: {error.strerror}") from None
    if len(frames) != 1:
        raise InputError(f"HEVC stream is broken: it holds {len(frames)} pictures instead of one")
    frame = frames[0]
    found = frame.format.name.replace("yuvj", "yuv"), frame.height, frame.width
    if found != expected:
        raise InputError(f"HEVC stream holds a picture {found}; its header says {expected}")
    return tuple(_plane(frame, i) for i in range(len(frame.planes)))


def _plane(frame: av.VideoFrame, index: int) -> NDArray[np.uint16]:
    plane = frame.planes[index]
    sample = "<u2" if frame.format.components[index].bits > 8 else "u1"
    samples: NDArray[np.uint16] = np.frombuffer(memoryview(plane), sample).astype(np.uint16)
    return samples.reshape(plane.height, -1)[:, : plane.width]
