"""Channels by name, by module and by file: a user's own is as good as ours."""

import json
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter

from linksim.errors import InputError
from linksim.link.channel import ChannelSettings
from linksim.link.flat import Rayleigh, Rician
from linksim.link.link import Link
from linksim.link.lookup import Channel, channel_names, find_channel
from tests.helpers.places import HELPERS

NAKAGAMI = f"{HELPERS / 'nakagami.py'}:Nakagami"
READER: TypeAdapter[ChannelSettings] = TypeAdapter(Channel)


def test_by_entry_point_module_and_file() -> None:
    assert {"awgn", "ofdm", "rayleigh", "rician"} <= set(channel_names())
    assert READER.validate_python({"type": "rician", "k_db": 3}) == Rician(k_db=3)
    assert READER.validate_python("rayleigh") == Rayleigh()
    assert find_channel("linksim.link.flat:Rayleigh") is Rayleigh
    own = READER.validate_python({"type": NAKAGAMI, "m": 2, "label": "Mine"})
    assert own.name == "Nakagami(m=2)"
    assert own.shown_name == "Mine"
    assert READER.dump_python(own, exclude_defaults=True) == {
        "type": NAKAGAMI,
        "label": "Mine",
        "m": 2,
    }
    assert READER.validate_python(json.loads(READER.dump_json(own))) == own


def test_the_gains_of_a_users_channel() -> None:
    """|h|^2 of Nakagami-m fading is Gamma(m, 1/m): mean 1, variance 1/m; repeatable by its seed."""
    own = READER.validate_python({"type": NAKAGAMI, "m": 4})
    draw = own.draw([1, 2], 100_000)
    power = draw.h.abs().double().square()
    assert power.mean(dim=1).tolist() == pytest.approx([1, 1], abs=0.01)
    assert power.var(dim=1).tolist() == pytest.approx([0.25, 0.25], abs=0.01)
    assert torch.equal(own.draw([2], 100_000).h, draw.h[1:])
    assert Link(own).equalizer == "mmse"


ABSTRACT = "from linksim import FlatChannel\nclass Half(FlatChannel):\n    pass\n"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"type": "water"},
            "unknown channel 'water'; allowed are awgn, ofdm, rayleigh, rician, site",
        ),
        ({"type": 3}, "is no channel; wanted is {type: …}"),
        ({}, "is no channel"),
        (7, "7 is no channel"),
        ({"type": "linksim.codec:Codec"}, "is not a subclass of linksim.FlatChannel"),
        ({"type": "./half.py:Half"}, "Half does not define gains"),
        ({"type": "./none.py:X"}, "channel file none.py does not exist"),
        (
            {"type": NAKAGAMI, "n": 2},
            r"unknown key 'n'.*\(allowed: type, label, constellation, m\)",
        ),
    ],
)
def test_what_is_no_channel(
    given: object, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("half.py").write_text(ABSTRACT)
    with pytest.raises((InputError, ValueError), match=message):
        READER.validate_python(given)


def test_schema_knows_the_installed_ones_and_leaves_room() -> None:
    schema = json.dumps(READER.json_schema())
    for word in ("Rayleigh", "coherence", "Ofdm", "delay_spread_ns", '"pattern": ":"'):
        assert word in schema
