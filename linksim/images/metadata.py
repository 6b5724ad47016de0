"""Image files without what is not their picture, for decoders that stumble over it."""

import struct
import zlib
from collections.abc import Iterator

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_SOS, _APP0, _APP14, _APP15, _COM = 0xDA, 0xE0, 0xEE, 0xEF, 0xFE


def without_metadata(data: bytes) -> bytes:
    """A PNG or JPEG file without its metadata; of other formats the same bytes."""
    if data.startswith(_PNG):
        return _PNG + b"".join(_png_chunks(data))
    if data.startswith(_JPEG):
        return _JPEG + b"".join(_jpeg_segments(data))
    return data


def _png_chunks(data: bytes) -> Iterator[bytes]:
    """The chunks that make the picture (PNG specification, section 5): critical ones, transparency
    and an orientation that is whole."""
    at = len(_PNG)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        chunk = data[at : at + 12 + length]
        whole = zlib.crc32(chunk[4:-4]).to_bytes(4, "big") == chunk[-4:]
        if kind[:1].isupper() or kind == b"tRNS" or (kind == b"eXIf" and whole):
            yield chunk
        at += 12 + length


def _jpeg_segments(data: bytes) -> Iterator[bytes]:
    """All segments up to the first scan but those of applications, and then the rest (ITU-T T.81,
    annex B). JFIF's and Adobe's stay, since they say how colours are meant."""
    at = len(_JPEG)
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != _SOS:
        kind, length = struct.unpack_from(">xBH", data, at)
        if not (_APP0 < kind <= _APP15 and kind != _APP14) and kind != _COM:
            yield data[at : at + 2 + length]
        at += 2 + length
    yield data[at:]
