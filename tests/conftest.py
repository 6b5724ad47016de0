"""Fixtures shared by the tests."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


@pytest.fixture
def browser() -> Iterator[Any]:
    """A headless Chromium; tests that need it skip without."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no Chromium here (Debian's package chromium)")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=path, args=flags)
        yield chromium
        chromium.close()
