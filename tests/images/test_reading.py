"""Single image files: colour, orientation, damage, and what costs more than it should."""

import os
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from linksim.errors import InputError
from linksim.images.reading import MAX_PIXELS, read_image
from linksim.images.sets import centre_crop
from tests.helpers.limits import limited

PIXELS = np.random.default_rng(0).integers(0, 256, (10, 15, 3), dtype=np.uint8)


def _png(*chunks: tuple[bytes, bytes], size: tuple[int, int] = (10, 15)) -> bytes:
    """A PNG of PIXELS, or of that many grey ones, with further chunks behind its header."""
    grey = size != PIXELS.shape[:2]
    height, width = size
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if grey else 2, 0, 0, 0)
    if grey:
        rows = zlib.compress(bytes((width + 1) * height), 9)
    else:
        rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in PIXELS))
    parts = [_chunk(b"IHDR", header), *(_chunk(*chunk) for chunk in chunks)]
    return b"\x89PNG\r\n\x1a\n" + b"".join([*parts, _chunk(b"IDAT", rows), _chunk(b"IEND", b"")])


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _jpeg(path: Path, *segments: tuple[int, bytes]) -> np.ndarray:
    """A JPEG of PIXELS with further segments (marker, content); what it decodes to without."""
    Image.fromarray(PIXELS).save(path, quality=95)
    plain = read_image(path).permute(1, 2, 0).numpy()
    data = path.read_bytes()
    extra = b"".join(
        bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content
        for marker, content in segments
    )
    path.write_bytes(data[:2] + extra + data[2:])
    return plain


def test_grey_palette_alpha_and_orientation(tmp_path: Path) -> None:
    grey = tmp_path / "grey.png"
    Image.fromarray(np.full((4, 5), 90, np.uint8)).save(grey)
    assert read_image(grey).shape == (3, 4, 5)
    assert read_image(grey).unique().tolist() == [90]

    palette = tmp_path / "palette.png"
    Image.fromarray(np.full((4, 5, 3), (10, 20, 30), np.uint8)).convert(
        "P", palette=Image.Palette.ADAPTIVE
    ).save(palette)
    assert read_image(palette)[:, 0, 0].tolist() == [10, 20, 30]

    alpha = tmp_path / "alpha.png"
    pixels = np.zeros((1, 3, 4), np.uint8)  # black, of alpha 0, 51 and 255
    pixels[0, :, 3] = (0, 51, 255)
    Image.fromarray(pixels).save(alpha)
    assert read_image(alpha)[0, 0].tolist() == [255, 204, 0]


def test_16_bit_files_are_refused(tmp_path: Path) -> None:
    grey = tmp_path / "grey16.png"
    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(grey)
    with pytest.raises(InputError, match=r"grey16\.png: more than 8 bits a channel"):
        read_image(grey)


def test_16_bit_colour_png_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rgb16.png"
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)  # 1x1, 16 bits, RGB
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b"\0" + bytes(6)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks + _chunk(b"IEND", b""))
    with pytest.raises(InputError, match=r"rgb16\.png: more than 8 bits a channel"):
        read_image(path)


def test_truncated_image(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    path.write_bytes(_png()[:300])
    with pytest.raises(InputError, match=r"cut\.png: not a readable image"):
        read_image(path)
    with pytest.raises(InputError, match=r"gone\.png: no such image"):
        read_image(tmp_path / "gone.png")


# ------------------------------------------------------------------- what stands beside the picture

# By hand: where the pixel (0, 0) of the upright picture lies in the file, and whether its rows are
# the file's columns (Exif 2.32, tag 274: "the 0th row is …, the 0th column is …").
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored[::-1].swapaxes(0, 1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: stored[:, ::-1].swapaxes(0, 1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "tiff", "webp"])
def test_every_orientation_whole_and_cropped(tmp_path: Path, orientation: int, kind: str) -> None:
    path = tmp_path / f"turned.{kind}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if kind == "webp" else {}
    Image.fromarray(PIXELS).save(path, exif=exif, **lossless)
    whole = read_image(path)
    assert np.array_equal(whole.permute(1, 2, 0).numpy(), _TURNS[orientation](PIXELS))
    for crop in ((4, 7), (5, 8), (7, 4), (1, 1), tuple(whole.shape[1:])):
        assert torch.equal(read_image(path, crop=crop), centre_crop(whole, crop))
    assert torch.equal(read_image(path, crop=(99, 2)), whole)  # the caller says that it is smaller


def _exif(*entries: tuple[int, int, int, int]) -> bytes:
    """A TIFF directory of (tag, type, count, value or offset), big-endian."""
    table = b"".join(struct.pack(">HHII", *entry) for entry in entries)
    return b"MM\0*\0\0\0\x08" + struct.pack(">H", len(entries)) + table + b"\0\0\0\0"


UPRIGHT = (0x0112, 3, 1, 6 << 16)
BROKEN_EXIF = {
    "no bytes": b"",
    "cut off": b"MM\0*\0\0",
    "not TIFF": b"junk" * 9,
    "a directory far away": b"MM\0*\xff\xff\xff\xf0",
    "a count of 65535": b"MM\0*\0\0\0\x08\xff\xff",
    "an orientation of 99": _exif((0x0112, 3, 1, 99 << 16)),
    "an orientation that is text": _exif((0x0112, 2, 4, 0x41424300)),
    "a resolution over zero": _exif((0x011A, 5, 1, 26), (0x0128, 3, 1, 2 << 16)),
    "a directory that holds itself": _exif((0x8769, 4, 1, 8)),
    "a value behind the end": _exif((0x8769, 4, 1, 0xFFFFFF0)),
    "a type that there is not": _exif((0x0112, 77, 1, 6 << 16)),
}


@pytest.mark.parametrize("exif", BROKEN_EXIF.values(), ids=BROKEN_EXIF)
def test_broken_exif_stops_no_picture(tmp_path: Path, exif: bytes) -> None:
    png, jpeg, webp = (tmp_path / f"a.{kind}" for kind in ("png", "jpg", "webp"))
    png.write_bytes(_png((b"eXIf", exif)))
    assert np.array_equal(read_image(png).permute(1, 2, 0).numpy(), PIXELS)
    plain = _jpeg(jpeg, (0xE1, b"Exif\0\0" + exif))
    assert np.array_equal(read_image(jpeg).permute(1, 2, 0).numpy(), plain)
    Image.fromarray(PIXELS).save(webp, lossless=True, exif=b"Exif\0\0" + exif)
    assert np.array_equal(read_image(webp).permute(1, 2, 0).numpy(), PIXELS)


def test_orientation_is_read_beside_other_damage(tmp_path: Path) -> None:
    """What Pillow cannot write again (issue 8965) does not keep a picture from being turned."""
    path = tmp_path / "a.jpg"
    plain = _jpeg(path, (0xE1, b"Exif\0\0" + _exif(UPRIGHT, (0x8769, 4, 1, 0xFFFFFF0))))
    assert np.array_equal(read_image(path).permute(1, 2, 0).numpy(), _TURNS[6](plain))


def test_other_broken_metadata_stop_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    bomb = b"comment\0\0" + zlib.compress(bytes(2**21))  # more text than Pillow unpacks
    path.write_bytes(_png((b"zTXt", bomb)))
    assert np.array_equal(read_image(path).permute(1, 2, 0).numpy(), PIXELS)
    spoilt = _png((b"tEXt", b"comment\0hello")).replace(b"hello", b"hallo")  # its checksum fails
    path.write_bytes(spoilt)
    assert np.array_equal(read_image(path).permute(1, 2, 0).numpy(), PIXELS)
    path.write_bytes(_png((b"iCCP", b"profile")))
    assert np.array_equal(read_image(path).permute(1, 2, 0).numpy(), PIXELS)
    jpeg = tmp_path / "a.jpg"
    plain = _jpeg(
        jpeg,
        (0xE2, b"MPF\0MM\0*\0\0\0\x08\0\x01\xb0\x02"),  # of several pictures, cut off
        (0xED, b"Photoshop 3.0\0" + b"8BIM\x03\xed\0\0\xff\xff\xff\xff"),
        (0xE2, b"ICC_PROFILE\0\x07\x01junk"),
    )
    assert np.array_equal(read_image(jpeg).permute(1, 2, 0).numpy(), plain)
    tiff = tmp_path / "a.tif"
    exif = Image.Exif()
    exif[0x8827] = 100
    Image.fromarray(PIXELS).save(tiff, exif=exif)
    data = tiff.read_bytes()
    at = data.index(struct.pack("<H", 0x8827))
    pointer = struct.pack("<HHII", 0x8769, 4, 1, len(data) - 3)  # an EXIF directory cut off
    tiff.write_bytes(data[:at] + pointer + data[at + 12 :])
    assert np.array_equal(read_image(tiff).permute(1, 2, 0).numpy(), PIXELS)


# ------------------------------------------------------------------------------ what is no picture


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "circle.png").symlink_to("circle.png")
    with socket.socket(socket.AF_UNIX) as place, limited(seconds=1):
        os.chdir(tmp_path)
        place.bind("socket.png")
        Path("text.png").write_text("no picture")
        for name, message in {
            "fifo": "a FIFO, a device or a socket",
            "socket": "a FIFO, a device or a socket",
            "device": "a FIFO, a device or a socket",
            "folder": "a folder, not an image",
            "empty": "the file is empty",
            "circle": "cannot be read",
            "text": r"not a readable image \(wanted is one of AVIF, BMP, JPEG, .*, WEBP\)",
        }.items():
            with pytest.raises(InputError, match=message):
                read_image(tmp_path / f"{name}.png")


def test_bombs_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(_png(size=(9000, 9000)))  # 81 million pixels in 80 kB
    with limited(seconds=0.5, megabytes=50), pytest.raises(InputError) as caught:
        read_image(bomb, crop=(64, 64))
    assert str(caught.value) == (
        f"{bomb}: 9000x9000 are 81000000 pixels; at most {MAX_PIXELS} are read (images.max_pixels)"
    )
    larger = tmp_path / "larger.png"
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    larger.write_bytes(b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", b""))
    with limited(seconds=0.5, megabytes=50), pytest.raises(InputError, match=r"larger\.png: "):
        read_image(larger)


def test_the_limit_can_be_raised_and_a_crop_does_not_hold_the_image(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(_png(size=(6000, 6000)))
    with limited(megabytes=120):  # 36 MB of grey: not the 108 MB of three channels twice
        image = read_image(path, crop=(64, 48), max_pixels=6000 * 6000)
    assert image.shape == (3, 64, 48)


def test_a_small_jpeg_cannot_ask_for_thousands_of_scans(tmp_path: Path) -> None:
    path = tmp_path / "scans.jpg"
    Image.new("L", (4096, 4096)).save(path, progressive=True)
    data = path.read_bytes()
    last = data.rindex(b"\xff\xda")
    path.write_bytes(data[:-2] + data[last:-2] * 100 + data[-2:])
    with limited(seconds=0.5), pytest.raises(InputError, match=r"\d+ scans over 16777216 pixels"):
        read_image(path)


@pytest.mark.parametrize("kind", ["avif", "bmp", "jp2", "jpg", "png", "ppm", "tif", "webp"])
def test_damage_gives_a_picture_or_one_line(tmp_path: Path, kind: str) -> None:
    """Decoders raise RuntimeError, struct.error, KeyError and more; a user sees one line."""
    path = tmp_path / f"a.{kind}"
    Image.fromarray(PIXELS).save(path)
    whole = path.read_bytes()
    draw = np.random.default_rng(1)
    refused = 0
    for _ in range(60):
        broken = bytearray(whole)
        for at in draw.integers(len(whole), size=3):
            broken[at] = draw.integers(256)
        path.write_bytes(bytes(broken[: draw.integers(len(whole) // 2, len(whole))]))
        try:
            assert read_image(path).dtype == torch.uint8
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)  # noqa: PT017
    assert refused
