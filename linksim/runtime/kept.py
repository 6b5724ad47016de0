"""What code that is not ours may leave changed in the process, put back."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def process_kept() -> Iterator[None]:
    """A block after which torch's default type and device, the standard streams and the folder
    that the process works in are what they were before."""
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    streams, folder = (sys.stdout, sys.stderr), _folder()
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        if torch.get_default_device() != device:
            torch.set_default_device(None if device.type == "cpu" else device)
        sys.stdout, sys.stderr = streams
        if folder is not None and _folder() != folder:
            os.chdir(folder)


def _folder() -> str | None:
    """The folder that the process works in; None where it was removed."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None
