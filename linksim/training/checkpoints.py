"""What a training needs to go on: one folder a checkpoint, in files of at most a given size.

    checkpoints/step_000000500/part_000, part_001, …   the state, cut into pieces
                               manifest.json           step, run, and every piece's size and digest

A checkpoint is written beside its place and renamed, so that one that is there was finished; what
is damaged afterwards is noticed by its digest.
"""

import hashlib
import io
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

from linksim.errors import InputError, one_line

_MEGABYTE = 10**6
_KEPT = 2


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """The checkpoints of one run.

    run: its identity. shard_mb: the largest size of a file in megabytes; None writes one file.
    keep_every: besides the last two, those at multiples of so many steps are kept.
    """

    folder: Path
    run: str
    shard_mb: int | None = None
    keep_every: int | None = None

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, in rising order."""
        names = (path.name for path in self.folder.glob("step_*"))
        return sorted(int(name.removeprefix("step_")) for name in names if name[5:].isdigit())

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the state after a step; older checkpoints go. Raises InputError."""
        place = self._place(step)
        temporary = self.folder / f".{place.name}.{uuid4().hex}.tmp"
        try:
            temporary.mkdir(parents=True)
            self._write(temporary, step, state)
            if place.exists():  # damaged, or it would have been gone on from
                shutil.rmtree(place)
            temporary.rename(place)
        except OSError as error:
            raise InputError(
                f"cannot write {place}: {error.strerror or error}; the checkpoints before it "
                "are kept"
            ) from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        for old in self.steps()[:-_KEPT]:
            if not self.keep_every or old % self.keep_every:
                shutil.rmtree(self._place(old), ignore_errors=True)

    def load(self, step: int) -> dict[str, Any]:
        """The state after a step; raises InputError for a checkpoint that is not whole."""
        place = self._place(step)
        manifest = _manifest(place)
        if manifest["run"] != self.run:
            raise InputError(f"{place}: a checkpoint of another run than {self.folder.parent}")
        data = b"".join(_part(place, entry) for entry in manifest["parts"])
        try:
            state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except Exception as error:
            raise InputError(f"{place}: not a readable state ({one_line(error)})") from None
        return dict(state)

    def sweep(self) -> None:
        """Remove what a kill left half written."""
        for path in self.folder.glob(".*.tmp"):
            shutil.rmtree(path, ignore_errors=True)

    def _place(self, step: int) -> Path:
        return self.folder / f"step_{step:09d}"

    def _write(self, folder: Path, step: int, state: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        data = buffer.getbuffer()
        size = self.shard_mb * _MEGABYTE if self.shard_mb else max(len(data), 1)
        parts = []
        for i, start in enumerate(range(0, len(data), size)):
            piece = data[start : start + size]
            name = f"part_{i:03d}"
            _write_through(folder / name, piece)
            digest = hashlib.sha256(piece).hexdigest()
            parts.append({"name": name, "bytes": len(piece), "sha256": digest})
        manifest = json.dumps({"step": step, "run": self.run, "parts": parts}, indent=2)
        _write_through(folder / "manifest.json", manifest.encode())


def _write_through(path: Path, data: bytes | memoryview) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _manifest(place: Path) -> dict[str, Any]:
    path = place / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
        parts = [
            {key: part[key] for key in ("name", "bytes", "sha256")} for part in manifest["parts"]
        ]
        return {"run": manifest["run"], "parts": parts}
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path}: damaged") from None


def _part(place: Path, entry: dict[str, Any]) -> bytes:
    path = place / Path(str(entry["name"])).name
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise InputError(f"{path}: damaged, or of another run (its digest is not the manifest's)")
    return data
