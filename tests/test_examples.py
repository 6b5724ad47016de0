"""The examples in docstrings of the public API do what they say."""

import doctest
import importlib

import pytest

MODULES = (
    *("linksim.codec", "linksim.entrance", "linksim.neural_codec", "linksim.units"),
    *("linksim.images.sets", "linksim.link.equalizer", "linksim.link.flat"),
    *("linksim.metrics.quality", "linksim.results.bjontegaard", "linksim.selective_scan.api"),
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_of(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0
