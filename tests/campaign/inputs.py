"""Damaged files of every kind that linksim reads: each is read, or refused in one line."""

import os
import random
import shutil
import signal
import time
import traceback
from collections.abc import Callable
from io import BytesIO
from mmap import mmap
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from tests.campaign.mutations import damaged_bytes, damaged_text
from tests.campaign.work import SWEEP
from tests.helpers.layouts import smooth_picture
from tests.helpers.places import DATA, HELPERS, ROOT

KINDS = ("bpg", "weights", "parquet", "image", "scenario")
SECONDS, GIGABYTES = 1.0, 1.0
"""Of processor time and of memory, what one input may take."""

_BATCH = 500
_PATIENCE = 60  # seconds for one input, after which it counts as hanging

Reader = Callable[[Path], object]


def damage_inputs(kind: str, place: Path, count: int, seed: int) -> tuple[str, list[str]]:
    """Damage files of a kind so many times and read them; what it came to, and the faults.

    Children read them, so that a crash or a hang is one input's and the next ones still come.
    """
    place.mkdir(parents=True)
    samples, read = _PREPARE[kind](place)
    whole = place / f"whole{_SUFFIX[kind]}"
    for sample in samples:  # undamaged they can be read, and what that imports is imported
        whole.write_bytes(sample)
        read(whole)
    board = mmap(-1, 4096)  # what the child is at: its input's number, and what it has seen
    faults: list[str] = []
    totals = np.zeros(2)  # refused, read
    worst = np.zeros(2)  # seconds, gigabytes
    begun, start = time.monotonic(), 0
    while start < count:
        end = min(start + _BATCH, count)
        told = place / "faults.txt"
        told.write_text("")
        child = os.fork()
        if child == 0:
            _read_batch(kind, samples, read, place, range(start, end), seed, board, told)
        status = _wait(child, board)
        at, *seen = np.frombuffer(board, np.float64, 5)
        totals += seen[:2]
        worst = np.maximum(worst, seen[2:])
        faults += told.read_text().splitlines()
        if status:
            how = "hangs" if status == -signal.SIGKILL else f"ends the process ({status})"
            faults.append(f"{kind} {int(at)} of seed {seed}: {how}")
            start = int(at) + 1
        else:
            start = end
        board[:] = bytes(len(board))
    rate = count / (time.monotonic() - begun)
    return (
        f"{count} damaged, {totals[0]:.0f} refused and {totals[1]:.0f} read, at worst "
        f"{worst[0]:.2f} s and {worst[1]:.2f} GB ({rate:.0f} a second)",
        faults,
    )


def _read_batch(
    kind: str,
    samples: list[bytes],
    read: Reader,
    place: Path,
    numbers: range,
    seed: int,
    board: mmap,
    told: Path,
) -> None:
    """In a child: never returns."""
    from linksim.errors import InputError

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    os.chdir(place)
    seen = np.frombuffer(board, np.float64, 5)
    seen.flags.writeable = True
    path = place / f"input{_SUFFIX[kind]}"
    base = _peak_gigabytes()
    for number in numbers:
        seen[0] = number
        draw = random.Random(f"{seed} {kind} {number}")
        damage = damaged_text if kind == "scenario" else damaged_bytes
        path.write_bytes(damage(draw.choice(samples), draw, samples))
        fault, begun = "", time.process_time()
        try:
            read(path)
            seen[2] += 1
        except InputError as error:
            seen[1] += 1
            if "\n" in str(error):
                fault = f"more than one line: {error!r}"
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            fault = f"{error!r} at {Path(where.filename).name}:{where.lineno}"
        took, grew = time.process_time() - begun, _peak_gigabytes() - base
        seen[3], seen[4] = max(seen[3], took), max(seen[4], grew)
        if took > SECONDS:
            fault += f" {took:.2f} s"
        if grew > GIGABYTES:
            fault += f" {grew:.2f} GB"
            base += grew
        if fault:
            with told.open("a") as file:
                file.write(f"{kind} {number} of seed {seed}: {' '.join(fault.split())}\n")
    os._exit(0)


def _wait(child: int, board: mmap) -> int:
    """The child's exit status; one that stays at an input too long is killed."""
    at, since = -1.0, time.monotonic()
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        now = float(np.frombuffer(board, np.float64, 1)[0])
        if now != at:
            at, since = now, time.monotonic()
        elif time.monotonic() - since > _PATIENCE:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.05)


def _peak_gigabytes() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 2**20
    return 0.0


# ------------------------------------------------------------------------------------- the kinds


def _bpg(place: Path) -> tuple[list[bytes], Reader]:
    from baselines.digital import bpg

    files = [path.read_bytes() for path in sorted((DATA / "bpg").glob("*.bpg"))]
    picture = np.asarray(smooth_picture(0, (60, 44)))
    files += [bpg.encode(picture, 30, chroma=chroma) for chroma in ("420", "422", "444")]
    files += [(DATA / "bombs" / "grey_2048x2048.bpg").read_bytes()]
    return files, lambda path: bpg.decode(path.read_bytes())


def _weights(place: Path) -> tuple[list[bytes], Reader]:
    from safetensors.torch import load_file, save

    from linksim.codec_lookup import codec_from_settings
    from linksim.settings import CodecSettings
    from tests.helpers.conv import Conv

    ours = place / "ours.safetensors"
    Conv().save(ours, options={"latent_channels": 16}, card={"steps": 3})
    metadata = {"options": '{"latent_channels": 16}', "card": '{"steps": 3}'}
    theirs = save(load_file(ours), metadata)  # as others write: without digests
    codec = f"{HELPERS / 'conv.py'}:Conv"

    def read(path: Path) -> object:
        return codec_from_settings(CodecSettings(codec=codec, weights=str(path)))

    return [ours.read_bytes(), theirs], read


def _parquet(place: Path) -> tuple[list[bytes], Reader]:
    from linksim.files.tables import read_table

    table = pd.DataFrame(
        {"label": ["a", "b"] * 20, "psnr": np.linspace(20, 30, 40), "trial": range(40)}
    )
    buffer = BytesIO()
    table.to_parquet(buffer, index=False)
    committed = (ROOT / "results" / "outage" / "rows.parquet").read_bytes()
    return [buffer.getvalue(), committed], lambda path: read_table(path, ("label", "psnr"))


def _image(place: Path) -> tuple[list[bytes], Reader]:
    from linksim.images.reading import read_image

    picture = smooth_picture(0, (60, 44))
    files = []
    exif = Image.Exif()
    exif[0x0112] = 6
    for form, options in (
        ("PNG", {}),
        ("PNG", {"exif": exif}),
        ("JPEG", {"exif": exif}),
        ("JPEG", {"progressive": True}),
        ("WEBP", {"exif": exif}),
        ("WEBP", {"lossless": True}),
        ("AVIF", {}),
        ("JPEG2000", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_jpeg"}),
        ("TIFF", {}),
        ("BMP", {}),
        ("PPM", {}),
    ):
        buffer = BytesIO()
        picture.save(buffer, form, **options)
        files.append(buffer.getvalue())
    for mode in ("L", "P", "RGBA", "1"):
        buffer = BytesIO()
        picture.convert(mode).save(buffer, "PNG")
        files.append(buffer.getvalue())
    return files, lambda path: read_image(path, crop=(32, 32))


def _scenario(place: Path) -> tuple[list[bytes], Reader]:
    from linksim.sweep.scenario import load_scenario

    shutil.copytree(ROOT / "scenarios", place, dirs_exist_ok=True)  # some build on others
    files = [path.read_bytes() for path in sorted((ROOT / "scenarios").glob("*.yaml"))]
    return [SWEEP.files["s.yaml"].encode(), *files], load_scenario


_PREPARE = dict(zip(KINDS, (_bpg, _weights, _parquet, _image, _scenario), strict=True))
_SUFFIX = dict(zip(KINDS, (".bpg", ".safetensors", ".parquet", ".image", ".yaml"), strict=True))
