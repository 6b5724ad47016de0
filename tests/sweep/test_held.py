"""A plug-in cannot change the measurement, and is told in one line where it breaks the contract."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as budget
from hypothesis import strategies as st

from linksim.errors import InputError
from linksim.sweep.held import MEASURED
from tests.helpers.small import rows, write_codec

GREEDY = """
class Plain(Codec):
    '''Sends the mean of each image.'''
    encoder_uses_snr = False
    def encode(self, images, tx):
        mean = images.mean((1, 2, 3))
        reals = torch.stack([torch.ones(len(images)), mean, mean], 1)
        return Frame.analog(torch.complex(reals, torch.zeros_like(reals)))
    def decode(self, received, rx):
        level = received.symbols[:, 1].real / received.symbols[:, 0].real
        return level[:, None, None, None].expand(-1, 3, *rx.image_size).contiguous().float()
class Images(Plain):
    def encode(self, images, tx):
        return super().encode(images.mul_(0.5), tx)
class Snr(Plain):
    encoder_uses_snr = True
    def encode(self, images, tx):
        tx.snr_db.fill_(90.0)
        return super().encode(images, tx)
    def decode(self, received, rx):
        rx.snr_db.fill_(90.0)
        return super().decode(received, rx)
class Used(Plain):
    def decode(self, received, rx):
        received.used.fill_(1)
        received.symbols.zero_().add_(1)
        return super().decode(received, rx)
class Buffer(Plain):
    '''Hands out one buffer again and again.'''
    def encode(self, images, tx):
        frame = super().encode(images, tx)
        if not hasattr(self, "buffer"):
            self.buffer = frame.symbols
        self.buffer.copy_(frame.symbols)
        return Frame.analog(self.buffer)
class Defaults(Plain):
    def decode(self, received, rx):
        import os, sys
        out = super().decode(received, rx)
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        torch.manual_seed(0)
        sys.stdout = None
        os.chdir("/")
        return out
"""


def without_name(table: pd.DataFrame, label: str) -> pd.DataFrame:
    chosen = table[table["label"] == label].reset_index(drop=True)
    return chosen.drop(columns=["label", "codec"])


@pytest.mark.parametrize("other", ["Images", "Snr", "Used", "Buffer", "Defaults"])
def test_what_stands_before_a_codec_cannot_change_it(
    other: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = Path.cwd()
    path = write_codec(
        tmp_path / "g.py", GREEDY.replace(" " * 8 + "return Frame", " " * 8 + "return Frame")
    )
    names = [{"codec": f"{path}:{name}", "label": name} for name in (other, "Plain")]
    alone = without_name(rows(tmp_path / "a", names[1]), "Plain")
    both = rows(tmp_path / "b", *names)
    pd.testing.assert_frame_equal(without_name(both, "Plain"), alone, check_exact=True)
    assert set(both["symbols"]) == {3}
    assert torch.get_default_dtype() == torch.float32
    assert torch.get_default_device() == torch.device("cpu")
    print("still seen")
    assert capsys.readouterr().out == "still seen\n"
    assert Path.cwd() == here
    if other == "Buffer":
        pd.testing.assert_frame_equal(without_name(both, "Buffer"), alone, check_exact=True)


REPORTS = """
class Reports(Flat):
    def __init__(self, *, key="psnr", value=99.0, shape=None):
        super().__init__()
        self.key, self.value, self.shape = key, value, shape
    def decode(self, received, rx):
        count = len(received.symbols)
        column = torch.full((count,) if self.shape is None else tuple(self.shape), self.value)
        return Decoded(images=super().decode(received, rx), report={self.key: column})
"""


@pytest.mark.parametrize(
    "key",
    [
        "psnr",
        "psnr_lo",
        "ms_ssim",
        "lpips_db",
        "symbols",
        "trial",
        "seed",
        "snr_db",
        "image",
        "label",
    ],
)
def test_measured_columns_cannot_be_reported(key: str, tmp_path: Path) -> None:
    path = write_codec(tmp_path / "r.py", REPORTS)
    with pytest.raises(InputError, match=f"reports '{key}', a column that linksim measures"):
        rows(tmp_path, {"codec": f"{path}:Reports", "options": {"key": key}})


def test_other_columns_can(tmp_path: Path) -> None:
    path = write_codec(tmp_path / "r.py", REPORTS)
    own = {"codec": f"{path}:Reports", "options": {"key": "my_estimate"}}
    assert set(rows(tmp_path, own)["my_estimate"]) == {99.0}
    for options, message in (
        ({"key": "two words"}, "reports 'two words'; wanted a name such as my_column"),
        ({"key": "mine", "shape": [1, 2]}, r"mine as float32 \[1, 2\]; wanted a tensor \[1\]"),
    ):
        with pytest.raises(InputError, match=message):
            rows(tmp_path, {"codec": f"{path}:Reports", "options": options})
    assert {"pilot_symbols", "papr_db", "ebno_db", "cbr_realised"} <= MEASURED


DROPS = """
class Drops(Codec, nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)
    def encode(self, images, tx):
        self.seen = images.clone()
        return Frame.analog(torch.ones(len(images), 4, dtype=torch.complex64))
    def decode(self, received, rx):
        return self.drop(self.seen)
class Holds(Drops):
    '''Its module hides in a list.'''
    def __init__(self):
        super().__init__()
        self.hidden = [nn.Dropout(0.5)]
    def decode(self, received, rx):
        return self.hidden[0](self.seen)
class Plain(Codec):
    '''No torch module itself.'''
    def __init__(self):
        self.parts = {"drop": nn.Dropout(0.5)}
    encode = Drops.encode
    def decode(self, received, rx):
        return self.parts["drop"](self.seen)
"""


@pytest.mark.parametrize("name", ["Drops", "Holds", "Plain"])
def test_torch_modules_are_in_evaluation_mode(name: str, tmp_path: Path) -> None:
    path = write_codec(tmp_path / "d.py", DROPS)
    assert set(rows(tmp_path, f"{path}:{name}")["psnr"]) == {100.0}


OUTPUTS = """
class Shows(Codec):
    def __init__(self, *, how="float"):
        self.how = how
    def encode(self, images, tx):
        self.seen = images.clone()
        return Frame.analog(torch.ones(len(images), 4, dtype=torch.complex64))
    def decode(self, received, rx):
        x = self.seen * 0.9
        return {
            "float": x, "uint8": (x * 255).round().to(torch.uint8), "levels": x * 255,
            "double": x.double(), "half": x.half(), "wide": x[..., :16], "none": None,
            "list": [x], "meta": x.to("meta"), "overshoot": x * 1.5 - 0.2,
        }[self.how]
"""


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            "uint8",
            r"o\.py:\d+: Shows\.decode gave uint8 \[1, 3, 32, 32\]; wanted images float32 \[",
        ),
        ("levels", r"gave values from .* wanted images float32 .* in \[0, 1\], not 0\.\.255"),
        ("double", r"gave float64"),
        ("half", r"gave float16"),
        ("wide", r"gave float32 \[1, 3, 32, 16\]; wanted"),
        ("none", r"gave None; wanted .*linksim/codec\.py"),
        ("list", r"gave a list; wanted"),
        ("meta", r"gave float32 \[1, 3, 32, 32\] on meta; wanted"),
    ],
)
def test_outputs_that_break_the_contract(how: str, message: str, tmp_path: Path) -> None:
    path = write_codec(tmp_path / "o.py", OUTPUTS)
    with pytest.raises(InputError, match=message):
        rows(tmp_path, {"codec": f"{path}:Shows", "options": {"how": how}})


def test_outputs_that_keep_it(tmp_path: Path) -> None:
    path = write_codec(tmp_path / "o.py", OUTPUTS)
    for how in ("float", "overshoot"):
        own = {"codec": f"{path}:Shows", "options": {"how": how}, "label": how}
        assert rows(tmp_path, own)["psnr"].between(10, 40).all()


NAN = """
class Dark(Flat):
    '''No number for dark images, and one endless value for bright ones, if asked.'''
    def __init__(self, *, worst="nan", which="kodim01"):
        super().__init__()
        self.worst = float(worst)
    def decode(self, received, rx):
        out = super().decode(received, rx)
        self.count = getattr(self, "count", 0) + 1
        if rx.snr_db[0] < 7:
            out[0, 1, 2, 3] = self.worst
        return out
"""


@pytest.mark.parametrize("worst", ["nan", "inf", "-inf"])
def test_pictures_that_are_no_numbers_have_failed_and_stay(worst: str, tmp_path: Path) -> None:
    path = write_codec(tmp_path / "n.py", NAN)
    table = rows(tmp_path, {"codec": f"{path}:Dark", "options": {"worst": worst}})
    lost = table["snr_db"] == 5
    assert table["failed"].equals(lost)
    assert table["psnr"].isna().equals(lost)
    assert len(table) == 4


RANDOM = """
import random
import numpy as np
class Draws(Codec):
    def __init__(self, *, how="torch"):
        self.how = how
        self.start = {"init": torch.rand(1).item()}.get(how, 0.0)
    def draw(self, shape):
        if self.how == "numpy":
            return torch.from_numpy(np.random.random(shape)).float()
        if self.how == "python":
            return torch.full(shape, random.random())
        if self.how == "sionna":
            from sionna.phy import config
            return torch.rand(shape, generator=config.torch_rng("cpu"))
        return torch.full(shape, self.start) if self.how == "init" else torch.rand(shape)
    def encode(self, images, tx):
        s = torch.view_as_complex(self.draw((len(images), 4, 2)).contiguous()) + 0.1
        return Frame.analog(s)
    def decode(self, received, rx):
        out = self.draw((len(received.symbols), 3, *rx.image_size))
        return (out + received.symbols.real.mean(1)[:, None, None, None]).clamp(0, 1)
class Quiet(Draws):
    encoder_uses_snr = False
"""
HOWS = ["torch", "numpy", "python", "sionna", "init"]
ORDER = ["label", "snr_db", "image", "trial"]


@pytest.mark.parametrize("name", ["Draws", "Quiet"])
def test_a_stochastic_codec_repeats_itself(name: str, tmp_path: Path) -> None:
    """Twice, in another order, in batches: the same rows; every image and trial its own draws."""
    path = write_codec(tmp_path / "r.py", RANDOM)
    codecs = [{"codec": f"{path}:{name}", "label": how, "options": {"how": how}} for how in HOWS]
    runs = [
        rows(tmp_path / "a", *codecs, trials=2),
        rows(tmp_path / "b", *codecs[::-1], trials=2, snr_db=[10, 5]),
        rows(tmp_path / "c", *codecs, trials=2, batch_size=2),
    ]
    first, *others = (table.sort_values(ORDER, ignore_index=True) for table in runs)
    for table in others:
        pd.testing.assert_frame_equal(first, table, check_exact=True)
    drawn = first[first["label"] == "torch"]["psnr"]
    assert drawn.nunique() == len(drawn) == 8


def test_the_callers_random_numbers_are_left_alone(tmp_path: Path) -> None:
    path = write_codec(tmp_path / "r.py", RANDOM)
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    wanted = torch.rand(2), np.random.random(2)  # noqa: NPY002
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    rows(tmp_path, {"codec": f"{path}:Draws"}, snr_db=[5])
    assert torch.equal(torch.rand(2), wanted[0])
    assert np.array_equal(np.random.random(2), wanted[1])  # noqa: NPY002


@pytest.fixture(scope="module")
def stochastic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stochastic")
    return write_codec(folder / "r.py", RANDOM)


@budget(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    codecs=st.permutations(["torch", "numpy", "flat"]),
    snrs=st.permutations([0, 10]),
    batch_size=st.integers(1, 3),
    limit=st.integers(1, 3),
)
def test_any_order_of_codecs_and_images_gives_the_same_rows(
    codecs: list[str],
    snrs: list[int],
    batch_size: int,
    limit: int,
    stochastic: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A row depends on its codec, image, SNR and trial, not on what else is measured, nor when."""
    known = {
        "torch": {"codec": f"{stochastic}:Draws", "label": "torch"},
        "numpy": {"codec": f"{stochastic}:Draws", "label": "numpy", "options": {"how": "numpy"}},
        "flat": {"codec": f"{stochastic}:Flat", "label": "flat"},
    }
    images = {"source": "kodak", "crop": 32}
    whole = rows(
        tmp_path_factory.mktemp("whole"),
        *known.values(), snr_db=[0, 10], images={**images, "limit": 3},
    )  # fmt: skip
    some = rows(
        tmp_path_factory.mktemp("some"),
        *(known[name] for name in codecs), snr_db=snrs, batch_size=batch_size,
        images={**images, "limit": limit},
    )  # fmt: skip
    kept = whole[whole["image"].isin(some["image"].unique())]
    one, other = (table.sort_values(ORDER, ignore_index=True) for table in (kept, some))
    pd.testing.assert_frame_equal(one, other, check_exact=True)
