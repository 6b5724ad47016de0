"""One image file, read whole or refused in one line.

Files come from anywhere, and decoders fail in ways of their own: whatever one raises is an
InputError here. What stands in metadata never stops a picture whose pixels can be read.
"""

import os
import stat
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError
from torch import Tensor

from linksim.errors import InputError, one_line
from linksim.images.metadata import without_metadata

FILE_TYPES = frozenset(
    (".avif", ".bmp", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
MAX_PIXELS = 2**25
"""33.5 million: a frame of 8K video, the photographs of most cameras. Each costs a decoder up to 13
bytes, however small the file is."""

_FORMATS = ("AVIF", "BMP", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
_SCANS = 16  # of the largest image; a progressive JPEG of 300 bytes can ask for thousands
_UPRIGHT = {  # what undoes an EXIF orientation (Exif 2.32, tag 274)
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)


def read_image(
    path: Path, *, crop: tuple[int, int] | None = None, max_pixels: int = MAX_PIXELS
) -> Tensor:
    """An image file as uint8 [3, H, W], upright as its EXIF orientation says.

    crop: (height, width) of the middle, where only that is wanted; a smaller image comes whole.
    max_pixels: a larger image is refused before it is decoded.

    Grey is repeated over the three channels; transparency is laid over white; colour profiles are
    ignored; of several pictures in a file the first is taken. Raises InputError for a file that
    cannot be read and for PNG and TIFF of more than 8 bits a channel; of the other formats Pillow
    gives the values rounded to 8 bits.
    """
    data = _bytes_of(path)
    try:
        pixels = _decoded(data, crop, max_pixels)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:  # decoders raise what they like
        try:
            pixels = _decoded(without_metadata(data), crop, max_pixels)
        except Exception:
            reason = one_line(error) or type(error).__name__
            if isinstance(error, UnidentifiedImageError):
                reason = f"wanted is one of {', '.join(_FORMATS)}"
            raise InputError(f"{path}: not a readable image ({reason})") from None
    return torch.from_numpy(np.array(pixels.transpose(2, 0, 1), order="C"))


def _bytes_of(path: Path) -> bytes:
    """What a file holds, if it is one: opening a FIFO or a device might never return."""
    try:
        kind = os.stat(path).st_mode
        if not stat.S_ISREG(kind):
            what = "a folder" if stat.S_ISDIR(kind) else "a FIFO, a device or a socket"
            raise InputError(f"{path}: {what}, not an image file")
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such image") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if not data:
        raise InputError(f"{path}: not a readable image (the file is empty)")
    return data


def _decoded(data: bytes, crop: tuple[int, int] | None, max_pixels: int) -> NDArray[np.uint8]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata, and of sizes that we check ourselves
        with Image.open(BytesIO(data), formats=_FORMATS) as file:
            _check_cost(file, data, max_pixels)
            if _bits_above_8(file):
                raise InputError("more than 8 bits a channel; convert it to 8-bit sRGB")
            file.load()
            image = _upright(file, crop)
            pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    if crop is None or crop[0] > pixels.shape[0] or crop[1] > pixels.shape[1]:
        return pixels
    return pixels[: crop[0], : crop[1]]


def _check_cost(file: ImageFile.ImageFile, data: bytes, max_pixels: int) -> None:
    pixels = file.width * file.height
    if pixels > max_pixels:
        raise InputError(
            f"{file.width}x{file.height} are {pixels} pixels; at most {max_pixels} are read "
            "(images.max_pixels)"
        )
    scans = data.count(b"\xff\xda") if file.format in ("JPEG", "MPO") else 1
    if scans * pixels > _SCANS * max_pixels:
        raise InputError(f"{scans} scans over {pixels} pixels; no picture needs so many")


def _upright(file: ImageFile.ImageFile, crop: tuple[int, int] | None) -> Image.Image:
    """The picture as it is to be seen, on white; of one to be cropped only the middle.

    The middle is as large as the crop or larger by one, so that it is the same whatever way up.
    """
    image: Image.Image = file
    orientation = _orientation(file)
    if crop is not None:
        height, width = crop[::-1] if orientation in _SIDEWAYS else crop
        left, top = (image.width - width) // 2, (image.height - height) // 2
        if min(left, top) >= 0:
            image = image.crop((left, top, image.width - left, image.height - top))
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
    if image.has_transparency_data:
        image = image.convert("RGBA")
        page = Image.new("RGB", image.size, "white")
        page.paste(image, mask=image.getchannel("A"))
        image = page
    return image


def _orientation(file: ImageFile.ImageFile) -> object:
    """What the metadata of a loaded picture say; nothing where they are broken.

    Pillow has turned a TIFF already, and forgotten that it did.
    """
    try:
        return file.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # parsers of metadata raise what they like
        return None


def _bits_above_8(file: Image.Image) -> bool:
    """Whether Pillow would have to throw bits away (it does so for 16-bit RGB without a word)."""
    raw_modes = [str(tile[3]) for tile in getattr(file, "tile", [])]
    return file.mode[:1] in ("I", "F") or any(";16" in mode for mode in raw_modes)
