"""What all neural codecs share: pairing, rate, padding, weights, and what must not leak."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from linksim.codec import Decoded, Frame, Received, RxInfo, TxInfo
from linksim.errors import InputError
from linksim.link.flat import Awgn, Rayleigh
from linksim.link.link import Link
from linksim.neural_codec import NeuralCodec, read_weights_metadata
from linksim.units import channel_bandwidth_ratio, symbol_budget


class Blocks(NeuralCodec):
    """An orthogonal 4x4 block transform: lossless when all 48 channels are sent."""

    stride = downsampling = 4

    def __init__(
        self, *, latent_channels: int = 48, rate: str = "nested", scale: str = "withheld"
    ) -> None:
        super().__init__(latent_channels=latent_channels, rate=rate, scale=scale)  # type: ignore[arg-type]
        self.matrix = nn.Parameter(torch.eye(48)[:latent_channels])

    def analysis(self, images: Tensor, snr_db: Tensor | None) -> Tensor:
        values = nn.functional.pixel_unshuffle(images - 0.5, 4)
        return torch.einsum("oc,bchw->bohw", self.matrix, values)

    def synthesis(self, latent: Tensor, snr_db: Tensor | None) -> Tensor:
        values = torch.einsum("oc,bohw->bchw", self.matrix, latent)
        return nn.functional.pixel_shuffle(values, 4) + 0.5


def info(height: int, width: int, max_symbols: int) -> dict[str, object]:
    return {"snr_db": None, "max_symbols": max_symbols, "image_size": (height, width)}


def through(codec: NeuralCodec, images: Tensor, max_symbols: int) -> tuple[Frame, Tensor]:
    """A noiseless round trip without power normalisation."""
    said = info(*images.shape[-2:], max_symbols)
    frame = codec.encode(images, TxInfo(**said))  # type: ignore[arg-type]
    known = torch.ones_like(frame.symbols.real)
    received = Received(symbols=frame.symbols, gain=known, no_eff=known, used=frame.used)
    out = codec.decode(received, RxInfo(**said))  # type: ignore[arg-type]
    assert not isinstance(out, Decoded)
    return frame, out


def images(batch: int, height: int, width: int) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 30), (1, 5)])
def test_any_size_comes_back(height: int, width: int) -> None:
    x = images(2, height, width)
    frame, y = through(Blocks(), x, 10_000)
    torch.testing.assert_close(y, x)
    padded = -(-height // 4) * 4 * (-(-width // 4) * 4)
    assert frame.symbols.shape == (2, 3 * padded // 2)
    assert frame.used.tolist() == [frame.symbols.shape[1]] * 2


def test_symbols_are_pairs_within_an_image() -> None:
    x = images(2, 8, 8)
    frame, _ = through(Blocks(), x, 96)
    reals = Blocks().analysis(x, None).flatten(1)
    torch.testing.assert_close(frame.symbols.real, reals[:, ::2])
    torch.testing.assert_close(frame.symbols.imag, reals[:, 1::2])


@pytest.mark.parametrize(("budget", "channels"), [(96, 48), (95, 47), (2, 1), (51, 25)])
def test_nested_rate_sends_the_first_channels(budget: int, channels: int) -> None:
    x = images(1, 8, 8)
    frame, y = through(Blocks(), x, budget)
    assert frame.symbols.shape[1] == 2 * channels <= budget
    sent = nn.functional.pixel_unshuffle(y - 0.5, 4)
    torch.testing.assert_close(
        sent[:, :channels], nn.functional.pixel_unshuffle(x - 0.5, 4)[:, :channels]
    )
    assert sent[:, channels:].abs().max() < 1e-6 if channels < 48 else True


def test_an_odd_number_of_reals_is_padded() -> None:
    frame, _ = through(Blocks(), images(1, 4, 4), 2)
    assert frame.symbols.shape[1] == 2  # 4 of the 48 channels of one block, two a symbol
    codec = Blocks(latent_channels=3)
    frame, _ = through(codec, images(1, 4, 4), 2)
    assert frame.symbols.shape[1] == 2
    assert frame.symbols[0, 1].imag == 0


def test_counted_cbr() -> None:
    """C real channels at 1/4 resolution are CBR C/96 (the facts of ADJSCC)."""
    budget = symbol_budget(1 / 12, 64, 64)
    frame, _ = through(Blocks(), images(1, 64, 64), budget)
    assert channel_bandwidth_ratio(int(frame.used[0]), 64, 64) == 8 / 96


def test_budgets_that_do_not_fit() -> None:
    with pytest.raises(InputError, match=r"needs 96 symbols for 48 .*budget is 95"):
        through(Blocks(rate="fixed"), images(1, 8, 8), 95)
    with pytest.raises(InputError, match=r"needs 2 symbols for 1 .*budget is 1"):
        through(Blocks(), images(1, 8, 8), 1)
    with pytest.raises(InputError, match="rate is 'elastic'"):
        Blocks(rate="elastic")
    with pytest.raises(InputError, match="latent_channels is 0"):
        Blocks(latent_channels=0)


def test_the_decoder_does_not_look_at_gains() -> None:
    """A neural decoder gets the estimate alone: withholding what is known of h changes nothing."""
    x = images(2, 16, 16)
    codec = Blocks()
    link = Link(Rayleigh())
    said = info(16, 16, 384)
    frame = codec.encode(x, TxInfo(**said))  # type: ignore[arg-type]
    realisation = link.draw([1, 2], 384, torch.device("cpu"))
    received, _ = link.transmit(frame, snr_db=torch.full((2,), 9.0), realisation=realisation)
    nothing = torch.full_like(received.gain, torch.nan)
    withheld = replace(received, gain=nothing, no_eff=nothing)
    out = [codec.decode(r, RxInfo(**said)) for r in (received, withheld)]  # type: ignore[arg-type]
    assert torch.equal(out[0], out[1])  # type: ignore[arg-type]


def test_weights_come_back_and_misfits_are_named(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    codec = Blocks()
    with torch.no_grad():
        codec.matrix.copy_(torch.randn(48, 48, generator=torch.Generator().manual_seed(2)))
    codec.save(path, options={"latent_channels": 48}, card={"steps": 7})
    other = Blocks()
    other.load(path)
    assert torch.equal(other.matrix, codec.matrix)
    assert read_weights_metadata(path) == ({"latent_channels": 48}, {"steps": 7})
    with pytest.raises(
        InputError, match=r"do not fit Blocks: matrix is \[48, 48\], wanted \[8, 48\]"
    ):
        Blocks(latent_channels=8).load(path)
    codec.save(path, options={}, card={}, dtype=torch.float16)
    other.load(path)
    assert torch.equal(other.matrix, codec.matrix.half().float())
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(InputError, match="not a readable safetensors file"):
        other.load(path)
    with pytest.raises(InputError, match="no such weights file"):
        other.load(tmp_path / "none.safetensors")


def _weights(path: Path, **metadata: str) -> Path:
    """A safetensors file that others wrote, with these metadata."""
    path.write_bytes(save({"matrix": torch.eye(48)}, metadata))
    return path


STRANGE_TEXT = {
    "a list": "[1, 2]",
    "a number": "7",
    "no JSON": "{",
    "nothing": "",
    "null": "null",
    "too deep": "[" * 100_000,
    "too long a number": '{"a": ' + "9" * 5000 + "}",
}


@pytest.mark.parametrize("text", STRANGE_TEXT.values(), ids=STRANGE_TEXT)
@pytest.mark.parametrize("key", ["options", "card"])
def test_strange_metadata_of_weights_are_one_line(tmp_path: Path, key: str, text: str) -> None:
    path = _weights(tmp_path / "w.safetensors", **{key: text})
    with pytest.raises(InputError, match=rf"its {key} must be a JSON object") as caught:
        read_weights_metadata(path)
    assert len(str(caught.value)) < 300


def test_weights_of_others_without_digests_are_read(tmp_path: Path) -> None:
    codec = Blocks()
    codec.load(_weights(tmp_path / "w.safetensors"))
    assert torch.equal(codec.matrix, torch.eye(48))


def test_damage_to_weights_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    Blocks().save(path, options={"latent_channels": 48}, card={"steps": 7})
    whole, found = path.read_bytes(), 0
    places = np.random.default_rng(0).integers(8 * len(whole), size=300).tolist()
    for place in [*places, 8 * whole.index(b"48") + 1, 8 * whole.index(b"7}")]:
        broken = bytearray(whole)
        broken[place // 8] ^= 1 << place % 8
        path.write_bytes(broken)
        codec = Blocks()
        try:
            codec.load(path)
        except InputError as error:
            found += 1
            assert "\n" not in str(error)  # noqa: PT017
        else:  # as in a digest's own name
            assert torch.equal(codec.matrix, torch.eye(48))
            assert read_weights_metadata(path) == ({"latent_channels": 48}, {"steps": 7})
    assert found > 290


def test_weights_are_written_with_the_mode_of_new_files(tmp_path: Path) -> None:
    Blocks().save(tmp_path / "w.safetensors", options={}, card={})
    (tmp_path / "other").touch()
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_fifo_is_no_weights_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="no such weights file"):
        Blocks().load(tmp_path / "w.safetensors")


def test_the_scale_of_each_image_reaches_the_receiver_as_16_bits() -> None:
    """Dark and bright pictures come back over the link, which brings both to unit power."""
    x = images(3, 16, 16) * torch.tensor([1.0, 0.1, 3.0])[:, None, None, None]
    link = Link(Awgn())
    budget = symbol_budget(0.5, 16, 16)
    errors = {}
    for scale in ("withheld", "side_info"):
        codec = Blocks(scale=scale)
        frame = codec.encode(x, TxInfo(snr_db=None, max_symbols=budget, image_size=(16, 16)))
        received, ledger = link.transmit(
            frame,
            snr_db=torch.full((3,), 90.0),
            realisation=link.draw(range(3), budget, torch.device("cpu")),
        )
        said = RxInfo(snr_db=None, max_symbols=budget, image_size=(16, 16))
        y = codec.decode(received, said)
        assert isinstance(y, Tensor)
        errors[scale] = float((y - x).detach().abs().max())
        assert ledger.side_info_bits.tolist() == [16 * (scale == "side_info")] * 3
    assert errors["side_info"] < 3 * 2**-10  # float16 has 11 bits
    assert errors["withheld"] > 0.1
    with pytest.raises(InputError, match="got no side information"):
        codec.decode(replace(received, side_info=None), said)
    with pytest.raises(InputError, match="scale is 'told'"):
        Blocks(scale="told")
