"""Fixtures shared by the tests."""

import os
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when linksim first imports Triton

_SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference material beside the checkout; tests that need it skip without."""
    if not _SHARED.is_dir():
        pytest.skip("reference material (../shared) is not here")
    return _SHARED
