"""scenarios/published.yaml asks for what SwinJSCC w/ SA&RA can send."""

import pytest

from linksim.sweep.scenario import load_scenario
from tests.helpers.places import ROOT

CHANNELS = (32, 64, 96, 128, 192)
"""That the authors trained to keep, of 320."""


def test_cbrs_are_the_authors_rates_and_have_published_points() -> None:
    scenario = load_scenario(ROOT / "scenarios" / "published.yaml")
    assert [1536 * cbr for cbr in scenario.cbr] == pytest.approx(CHANNELS)
    of_codec = [one for one in scenario.published if one.label.startswith("SwinJSCC")]
    assert [one.snr_db for one in of_codec] == list(scenario.snr_db)
    for curve in of_codec:
        assert [cbr for cbr, _ in curve.points] == pytest.approx(scenario.cbr)
        values = [value for _, value in curve.points]
        assert values == sorted(values)
