"""Fixtures shared by the tests."""

from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference material beside the checkout; tests that need it skip without."""
    if not _SHARED.is_dir():
        pytest.skip("reference material (../shared) is not here")
    return _SHARED
