"""BPG, the container: one HEVC intra picture with most of its headers cut down to a few bytes.

    magic, pixel format, colour space, size, length | hevc_header | PPS and slice NAL units

The writer takes an HEVC stream apart; the reader puts the missing VPS and SPS back. The layout is
that of F. Bellard's BPG specification (https://bellard.org/bpg/bpg_spec.txt); the HEVC syntax is
that of Rec. ITU-T H.265, clause 7.3.
"""

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

from baselines.digital.bits import BitReader, BitWriter, read_ue7, write_ue7
from baselines.digital.ycbcr import ColorSpace
from linksim.errors import InputError

_Member = TypeVar("_Member", bound=IntEnum)

MAGIC = b"BPG\xfb"
_START_CODE = b"\0\0\1"
_LAST_VCL, _VPS, _SPS, _PPS = 31, 32, 33, 34  # nal_unit_type: H.265, table 7-1
_MAX_HEADER = 64  # bytes; what is defined of it takes 10
_PROFILE_TIER_LEVEL_BITS = 96  # with one sub-layer

# The largest picture of HEVC level 6.2 (H.265, A.4.1). It keeps a damaged header from claiming
# all the memory there is.
MAX_LUMA_SAMPLES = 35_651_584
MAX_SIDE = 16_888


class PixelFormat(IntEnum):
    """Chroma subsampling and position, numbered as in the file."""

    GREY = 0
    YUV420 = 1
    YUV422 = 2
    YUV444 = 3
    YUV420_COSITED = 4
    YUV422_COSITED = 5

    @property
    def chroma_format_idc(self) -> int:
        """The number HEVC gives it: 0 grey, 1 4:2:0, 2 4:2:2, 3 4:4:4."""
        return self - 3 if self > PixelFormat.YUV444 else int(self)


@dataclass(frozen=True, kw_only=True)
class CodingTools:
    """What BPG keeps of the SPS (``hevc_header``), named as in H.265, 7.3.2.2.

    block_sizes: log2_min_luma_coding_block_size_minus3, log2_diff_max_min_luma_coding_block_size,
        log2_min_luma_transform_block_size_minus2, log2_diff_max_min_luma_transform_block_size,
        max_transform_hierarchy_depth_intra.
    pcm, extension: the bits that follow pcm_enabled_flag and sps_extension_present_flag as a string
        of 0 and 1; empty where the flag is 0.
    """

    block_sizes: tuple[int, ...]
    sao: bool
    pcm: str
    strong_intra_smoothing: bool
    extension: str = ""

    @property
    def min_block(self) -> int:
        """Side of the smallest coding block in pixels."""
        return 8 << self.block_sizes[0]

    def to_bytes(self) -> bytes:
        """The fields as ``hevc_header`` holds them, its length left out."""
        bits = BitWriter()
        for value in self.block_sizes:
            bits.ue(value)
        bits.u(self.sao, 1)
        bits.optional(self.pcm)
        bits.u(self.strong_intra_smoothing, 1)
        bits.optional(self.extension)
        return bits.to_bytes()


@dataclass(frozen=True, kw_only=True)
class BpgFile:
    """A BPG file in parts.

    width, height: of the image in pixels. nal_units: PPS and slices, without start codes.
    """

    width: int
    height: int
    pixel_format: PixelFormat
    tools: CodingTools
    nal_units: tuple[bytes, ...]
    color_space: ColorSpace = ColorSpace.BT601
    bit_depth: int = 8
    limited_range: bool = False

    @property
    def coded_size(self) -> tuple[int, int]:
        """(height, width) of the coded picture: the image's, rounded up to the smallest block."""
        block = self.tools.min_block
        return -(-self.height // block) * block, -(-self.width // block) * block

    def to_bytes(self) -> bytes:
        """The file. It says its own length, so bytes that follow it do no harm."""
        hevc_header = self.tools.to_bytes()
        picture = write_ue7(len(hevc_header)) + hevc_header + _START_CODE.join(self.nal_units)
        return b"".join(
            (
                MAGIC,
                bytes((self.pixel_format << 5 | self.bit_depth - 8,)),
                bytes((self.color_space << 4 | self.limited_range << 1,)),
                write_ue7(self.width),
                write_ue7(self.height),
                write_ue7(len(picture)),
                picture,
            )
        )

    def to_hevc(self) -> bytes:
        """The HEVC stream (H.265, Annex B), VPS and SPS put back."""
        units = (_vps(), _sps(self), *self.nal_units)
        return b"".join(b"\0" + _START_CODE + unit for unit in units)


# ----------------------------------------------------------------------------------------- reading


def parse(data: bytes) -> BpgFile:
    """A BPG file in parts. Bytes after its end are ignored. InputError if it is not one."""
    if data[:4] != MAGIC:
        raise InputError(f"not a BPG file: it starts with {data[:4].hex()!r}, not 425047fb")
    if len(data) < 6:
        raise InputError(f"BPG file is cut off: {len(data)} bytes")
    head = BitReader(data[4:6], "BPG header")
    pixel_format = _member(PixelFormat, head.u(3), "pixel format")
    alpha1, bit_depth = head.u(1), 8 + head.u(4)
    color_space = _member(ColorSpace, head.u(4), "colour space")
    extension, alpha2, limited_range, animation = (head.u(1) for _ in range(4))
    if alpha1 or alpha2 or animation:
        raise InputError("BPG file has an alpha plane or an animation; only a plain image is read")
    if bit_depth > 14:
        raise InputError(f"BPG bit depth {bit_depth}; the format allows 8 to 14")
    width, at = read_ue7(data, 6, "BPG width")
    height, at = read_ue7(data, at, "BPG height")
    length, at = read_ue7(data, at, "BPG picture length")
    check_size(height, width)
    if extension:
        extension_length, at = read_ue7(data, at, "BPG extension length")
        at += extension_length
    if at + length > len(data):
        raise InputError(f"BPG file is cut off: {len(data)} bytes of {at + length}")
    picture = data[at : at + length] if length else data[at:]
    tools_length, at = read_ue7(picture, 0, "BPG hevc_header length")
    if tools_length > _MAX_HEADER:
        raise InputError(f"BPG hevc_header of {tools_length} bytes; at most {_MAX_HEADER} are read")
    tools = _parse_tools(BitReader(picture[at : at + tools_length], "BPG hevc_header"))
    return BpgFile(
        width=width,
        height=height,
        pixel_format=pixel_format,
        tools=tools,
        nal_units=split_nal_units(_START_CODE + picture[at + tools_length :]),
        color_space=color_space,
        bit_depth=bit_depth,
        limited_range=bool(limited_range),
    )


def check_size(height: int, width: int) -> None:
    """InputError unless HEVC can code a picture of this size."""
    if not (min(height, width) > 0 and max(height, width) <= MAX_SIDE):
        raise InputError(f"image of {width}x{height} pixels; BPG sides are 1 to {MAX_SIDE}")
    if height * width > MAX_LUMA_SAMPLES:
        raise InputError(f"image of {width}x{height} pixels; at most {MAX_LUMA_SAMPLES} pixels")


def _member(kind: type[_Member], value: int, what: str) -> _Member:
    try:
        return kind(value)
    except ValueError:
        allowed = ", ".join(str(int(member)) for member in kind)
        raise InputError(f"BPG {what} {value} is unknown; allowed: {allowed}") from None


def _parse_tools(bits: BitReader) -> CodingTools:
    tools = CodingTools(
        block_sizes=tuple(bits.ue() for _ in range(5)),
        sao=bool(bits.u(1)),
        pcm=_read_pcm(bits),
        strong_intra_smoothing=bool(bits.u(1)),
        extension=_read_extension(bits),
    )
    _check_tools(tools)
    return tools


def _check_tools(tools: CodingTools) -> None:
    min_cb, diff_cb, min_tb, diff_tb, _ = tools.block_sizes
    if max(tools.block_sizes) > 3 or min_cb + diff_cb > 3 or min_tb + diff_tb > 3:
        raise InputError(f"BPG block sizes {tools.block_sizes} are not those of HEVC")


def _read_pcm(bits: BitReader) -> str:
    if not bits.u(1):
        return ""
    start = bits.position
    bits.u(8)
    bits.ue()
    bits.ue()
    bits.u(1)
    return bits.since(start)


def _read_extension(bits: BitReader) -> str:
    if not bits.u(1):
        return ""
    start = bits.position
    has_range_extension = bits.u(1)
    bits.u(7)
    bits.u(9 * has_range_extension)
    return bits.since(start)


# -------------------------------------------------------------------------------- the HEVC stream


def split_nal_units(stream: bytes) -> tuple[bytes, ...]:
    """The NAL units of an Annex B stream, without start codes and the zeros around them."""
    # A NAL unit never ends in a zero byte (H.265, 7.4.2.1), so zeros belong to what follows.
    units = (unit.rstrip(b"\0") for unit in stream.split(_START_CODE)[1:])
    return tuple(unit for unit in units if unit)


def from_hevc(stream: bytes, *, width: int, height: int, pixel_format: PixelFormat) -> BpgFile:
    """The BPG file of an HEVC stream that holds one intra picture, 8 bit.

    width, height: of the image, which is the upper left of the coded picture.
    """
    units = split_nal_units(stream)
    kinds = [unit[0] >> 1 & 0x3F for unit in units]
    kept = tuple(
        u for u, kind in zip(units, kinds, strict=True) if kind == _PPS or kind <= _LAST_VCL
    )
    sps = units[kinds.index(_SPS)]
    return BpgFile(
        width=width,
        height=height,
        pixel_format=pixel_format,
        tools=_tools_of_sps(sps),
        nal_units=kept,
    )


def _tools_of_sps(unit: bytes) -> CodingTools:
    """What BPG keeps of an SPS with one sub-layer (H.265, 7.3.2.2)."""
    bits = BitReader(unit[2:].replace(b"\0\0\3", b"\0\0"), "SPS")
    bits.u(4 + 3 + 1)  # VPS id, sub-layers, nesting
    bits.u(_PROFILE_TIER_LEVEL_BITS)
    bits.ue()  # SPS id
    if bits.ue() == 3:  # chroma format
        bits.u(1)  # separate colour planes
    bits.ue(), bits.ue()  # size
    if bits.u(1):  # conformance window
        for _ in range(4):
            bits.ue()
    bits.ue(), bits.ue(), bits.ue()  # bit depths, POC length
    bits.u(1)
    for _ in range(3):  # decoded picture buffer
        bits.ue()
    sizes = [bits.ue() for _ in range(6)]
    del sizes[4]  # max_transform_hierarchy_depth_inter
    if bits.u(1):
        raise ValueError("BPG cannot carry scaling lists")
    bits.u(1)  # AMP: of no effect in an intra picture
    sao, pcm = bits.u(1), _read_pcm(bits)
    if bits.ue() or bits.u(1):
        raise ValueError("an intra picture with reference picture sets")
    bits.u(1)  # temporal motion vectors: of no effect either
    # The VUI and the extension flag follow; x265 writes no extension for 8-bit pictures.
    return CodingTools(
        block_sizes=tuple(sizes), sao=bool(sao), pcm=pcm, strong_intra_smoothing=bool(bits.u(1))
    )


def _vps() -> bytes:
    """A VPS with one layer (H.265, 7.3.2.1)."""
    bits = BitWriter()
    bits.u(0, 4)  # VPS id
    bits.u(3, 2)  # base layer internal and available
    bits.u(0, 6 + 3)  # one layer, one sub-layer
    bits.u(1, 1)
    bits.u(0xFFFF, 16)
    _write_profile_tier_level(bits)
    _write_picture_buffer(bits)
    bits.u(0, 6)
    bits.ue(0)  # layer sets
    bits.u(0, 1)  # timing
    bits.u(0, 1)  # extension
    return _nal_unit(_VPS, bits)


def _sps(file: BpgFile) -> bytes:
    """The SPS that a BPG file stands for (H.265, 7.3.2.2)."""
    tools, chroma_format = file.tools, file.pixel_format.chroma_format_idc
    height, width = file.coded_size
    bits = BitWriter()
    bits.u(0, 4 + 3)  # VPS id, one sub-layer
    bits.u(1, 1)
    _write_profile_tier_level(bits)
    bits.ue(0)  # SPS id
    bits.ue(chroma_format)
    if chroma_format == 3:
        bits.u(0, 1)  # separate colour planes
    bits.ue(width)
    bits.ue(height)
    bits.u(0, 1)  # conformance window: the reader crops
    bits.ue(file.bit_depth - 8)
    bits.ue(file.bit_depth - 8)
    bits.ue(4)  # POC length
    _write_picture_buffer(bits)
    for value in (*tools.block_sizes[:4], tools.block_sizes[4], tools.block_sizes[4]):
        bits.ue(value)
    bits.u(0, 1)  # scaling lists
    bits.u(1, 1)  # AMP
    bits.u(tools.sao, 1)
    bits.optional(tools.pcm)
    bits.ue(0)  # short-term reference picture sets
    bits.u(0, 1)  # long-term reference pictures
    bits.u(1, 1)  # temporal motion vectors
    bits.u(tools.strong_intra_smoothing, 1)
    bits.u(0, 1)  # VUI
    bits.optional(tools.extension)
    return _nal_unit(_SPS, bits)


def _write_profile_tier_level(bits: BitWriter) -> None:
    bits.u(0, 3)  # profile space, tier
    bits.u(4, 5)  # format range extensions: all chroma formats and depths
    bits.u(1 << 27, 32)  # compatible with profile 4
    bits.u(0, 48)  # progressive, interlaced, constraint flags
    bits.u(186, 8)  # level 6.2


def _write_picture_buffer(bits: BitWriter) -> None:
    bits.u(1, 1)
    for _ in range(3):  # one picture, no reordering, no latency limit
        bits.ue(0)


def _nal_unit(kind: int, payload: BitWriter) -> bytes:
    payload.u(1, 1)  # rbsp_stop_one_bit
    # Emulation prevention (H.265, 7.4.2): no three bytes may look like a start code.
    escaped = re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", payload.to_bytes())
    return bytes((kind << 1, 1)) + escaped
