"""The two pieces of work that are disturbed: a small sweep and a small training."""

import hashlib
import importlib
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

from tests.helpers.layouts import smooth_picture
from tests.helpers.places import HELPERS

CODEC = HELPERS / "conv.py"

_SCENARIO = f"""
name: sweep
images: {{source: folder, root: photographs}}
channel: {{type: rayleigh, coherence: symbol}}
snr_db: [1, 7]
cbr: 1/12
metrics: [psnr]
trials: 2
codecs:
  - {{codec: {CODEC}:Conv, label: One}}
  - {{codec: {CODEC}:Conv, label: Two, options: {{latent_channels: 8}}}}
pictures: {{images: [p0], snr_db: 7}}
"""
_RECIPE = f"""
name: small
codec: {{codec: {CODEC}:Conv}}
channel: {{type: awgn}}
snr_db: {{low: 0, high: 20}}
cbr: {{low: 1/96, high: 1/12}}
images: {{root: photographs, crop: 32, holdout: 1}}
validation: {{every: 4, snr_db: [7]}}
steps: 12
batch_size: 2
warmup: 2
checkpoint_every: 3
"""


@dataclass(frozen=True)
class Work:
    """A command line, and how what it leaves is told from anything else.

    files: what it needs, by name, beside photographs. outcome: of the folder that it wrote.
    """

    name: str
    files: dict[str, str]
    command: tuple[str, ...]
    outcome: Callable[[Path], str]

    def prepare(self, place: Path) -> None:
        """Write what it needs into a folder."""
        (place / "photographs").mkdir(parents=True)
        for i in range(3):
            smooth_picture(i, (64, 48)).save(place / "photographs" / f"p{i}.png")
        for name, text in self.files.items():
            (place / name).write_text(text)


def run_forked(
    work: Work,
    place: Path,
    out: Path,
    *,
    before: Callable[[], object] = lambda: None,
    after: Callable[[], object] = lambda: None,
) -> tuple[int, str]:
    """(exit status, stderr) of the command in a child that has its modules imported already.

    before, after: called in the child. A status below zero is the signal that ended it.
    """
    said = place / "stderr.txt"
    child = os.fork()
    if child == 0:
        status = 70
        try:
            os.chdir(place)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            sys.argv = ["linksim", *work.command, "--out", str(out)]
            before()
            status = _main()
            after()
        finally:
            sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), said.read_text(errors="replace")


def _main() -> int:
    from linksim.cli.app import main

    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def is_one_line(said: str) -> bool:
    """Whether a failure was told as users are to be told."""
    lines = [line for line in said.splitlines() if line.startswith("linksim: ")]
    return len(lines) == 1 and "Traceback" not in said


def import_what_it_needs(work: Work, place: Path) -> None:
    """Import what a child that does the work imports, so that later ones need not."""
    names = place / "modules.txt"
    status, said = run_forked(
        work, place, place / "first", after=lambda: names.write_text("\n".join(sys.modules))
    )
    if status:
        raise RuntimeError(f"{work.name} does not run: {said}")
    for name in names.read_text().split("\n"):
        with suppress(Exception):
            importlib.import_module(name)


def _rows(folder: Path) -> str:
    rows = pd.read_parquet(folder / "sweep" / "rows.parquet")
    digest = hashlib.sha256(rows.to_csv(index=False).encode())
    for picture in sorted((folder / "sweep" / "pictures").glob("*.png")):
        digest.update(picture.name.encode() + picture.read_bytes())
    return digest.hexdigest()


def _weights(folder: Path) -> str:
    digest = hashlib.sha256()
    for name, values in sorted(load_file(folder / "small" / "small.safetensors").items()):
        digest.update(name.encode() + np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


SWEEP = Work("sweep", {"s.yaml": _SCENARIO}, ("run", "s.yaml"), _rows)
TRAINING = Work("training", {"r.yaml": _RECIPE}, ("train", "r.yaml"), _weights)
