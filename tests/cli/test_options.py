"""``--set``: values read as scenarios' are."""

import pytest

from linksim.cli.options import parse_options
from linksim.errors import InputError


def test_values_are_those_of_a_scenario() -> None:
    given = ["a=1e-3", "b=[1, 2]", "c=text", "d=true", "e={x: 1}", "f=", "g=a=b", "h=2026-11-25"]
    assert parse_options(given) == {
        **{"a": 0.001, "b": [1, 2], "c": "text", "d": True, "e": {"x": 1}, "f": None, "g": "a=b"},
        "h": "2026-11-25",
    }
    assert parse_options(["octal=012", "minutes=1:30"]) == {"octal": "012", "minutes": "1:30"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["a"], "wanted key=value"),
        (["=1"], "wanted key=value"),
        (["a=1", "a=2"], "'a' is set twice"),
        (["a={x: 1, x: 2}"], "'x' stands twice, in lines 1 and 1"),
        (["a=[1"], "not valid YAML"),
        (["a=!!python/object:os.system x"], "not valid YAML"),
        (["a=" + "[" * 200], "nested too deeply|not valid YAML"),
    ],
)
def test_what_is_no_value_is_told_in_one_line(settings: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as told:
        parse_options(settings)
    assert str(told.value).startswith("--set ")
    assert "\n" not in str(told.value)
