"""Codecs by name, by module and by file."""

import pytest

from linksim.codec import Codec
from linksim.codec_lookup import build_codec, codec_names, find_codec, option_names
from linksim.errors import InputError
from tests.helpers.places import HELPERS

THUMBNAIL = HELPERS / "thumbnail.py"


def test_by_entry_point_module_and_file() -> None:
    assert {"mambajscc", "bpg_ldpc", "bpg_capacity"} <= set(codec_names())
    by_name = find_codec("mambajscc")
    assert find_codec("linksim.mambajscc.model:MambaJSCC") is by_name
    assert issubclass(find_codec(f"{THUMBNAIL}:Thumbnail"), Codec)


def test_every_installed_codec_says_what_it_is() -> None:
    for name in codec_names():
        cls = find_codec(name)
        assert cls.summary, name
        assert cls.paper, name
        for preset in cls.presets.values():
            assert set(preset) <= set(option_names(cls))


def test_options() -> None:
    name = f"{THUMBNAIL}:Thumbnail"
    assert build_codec(name, options={"factor": 4}).factor == 4  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="no option 'faktor'; allowed are factor"):
        build_codec(name, options={"faktor": 4})
    with pytest.raises(InputError, match="no preset 'big'; allowed are none"):
        build_codec(name, preset="big")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "unknown codec 'nothing'; allowed are .*bpg_ldpc"),
        ("no.such.module:X", "No module named"),
        ("linksim.codec:Nothing", "has no Nothing"),
        ("linksim.codec:Frame", "not a subclass"),
    ],
)
def test_what_is_not_a_codec(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_codec(name)
