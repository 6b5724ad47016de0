"""The list of cases names tests that are there."""

import re

from tests.helpers.places import ROOT

NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_every_case_names_tests_that_exist() -> None:
    rows = (ROOT / "tests" / "cases.md").read_text().splitlines()
    cases = [row for row in rows if row.startswith("| ") and not row.startswith("| case ")]
    assert len(cases) >= 30
    for case in cases:
        named = NAMED.findall(case)
        assert named, case
        for file, test in named:
            assert f"\ndef {test}(" in (ROOT / file).read_text(), f"{file}::{test}"
