"""Pairs of models that Keras made and saved, against what Keras itself computes with them."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines.keras import KerasCodec, import_tensorflow
from linksim.codec import Received, RxInfo, TxInfo
from linksim.codec_lookup import build_codec
from linksim.errors import InputError
from linksim.link.flat import Awgn
from linksim.link.link import Link
from linksim.link.transmission import encode, transmit

SIZE = (16, 24)
REALS = 4 * 6 * 8  # the latent of `pair` for an image of that size


@pytest.fixture(scope="module")
def keras() -> Any:
    try:
        return import_tensorflow().keras
    except InputError:
        pytest.skip("TensorFlow is not installed (pip install linksim[tensorflow])")


@pytest.fixture(scope="module")
def pair(keras: Any) -> tuple[Any, Any]:
    """A convolution to [B, H/4, W/4, 8] and one back, for any image size."""
    keras.utils.set_random_seed(0)
    image, latent = keras.Input((None, None, 3)), keras.Input((None, None, 8))
    encoder = keras.Model(image, keras.layers.Conv2D(8, 4, strides=4)(image))
    back = keras.layers.Conv2DTranspose(3, 4, strides=4, activation="sigmoid")
    return encoder, keras.Model(latent, back(latent))


@pytest.fixture(params=["keras", "saved_model"])
def saved(request: pytest.FixtureRequest, pair: tuple[Any, Any], tmp_path: Path) -> dict[str, str]:
    """Paths of the pair, in each of the two formats."""
    return save(pair, tmp_path, request.param)


def save(pair: tuple[Any, Any], folder: Path, form: str) -> dict[str, str]:
    paths = {}
    for name, model in zip(("encoder", "decoder"), pair, strict=True):
        path = folder / (f"{name}.keras" if form == "keras" else name)
        model.save(path) if form == "keras" else model.export(str(path), verbose=False)
        paths[name] = str(path)
    return paths


def random_images(height: int, width: int) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))


def clean(symbols: Tensor) -> Received:
    ones = torch.ones(symbols.shape)
    used = torch.full((len(symbols),), symbols.shape[1])
    return Received(symbols=symbols, gain=ones, no_eff=ones, used=used)


def told(snr_db: float | None, size: tuple[int, int] = SIZE) -> dict[str, Any]:
    snr = None if snr_db is None else torch.full((2,), snr_db)
    return {"snr_db": snr, "max_symbols": 10_000, "image_size": size}


def test_symbols_are_the_pairs_of_what_keras_gives(
    saved: dict[str, str], pair: tuple[Any, Any]
) -> None:
    codec, images = KerasCodec(**saved), random_images(*SIZE)
    symbols = codec.encode(images, TxInfo(**told(None))).symbols
    latent = pair[0](images.permute(0, 2, 3, 1).numpy()).numpy().reshape(2, REALS)
    np.testing.assert_allclose(symbols.numpy(), latent[:, 0::2] + 1j * latent[:, 1::2], atol=1e-6)
    decoded = codec.decode(clean(symbols), RxInfo(**told(None)))
    expected = pair[1](latent.reshape(2, 4, 6, 8)).numpy().transpose(0, 3, 1, 2)
    np.testing.assert_allclose(decoded.numpy(), expected, atol=1e-6)


def test_named_in_a_scenario_it_goes_over_a_link(saved: dict[str, str]) -> None:
    codec = build_codec("baselines.keras:KerasCodec", options=saved)
    images, link, snr_db = random_images(*SIZE), Link(Awgn()), torch.full((2,), 10.0)
    frame = encode(codec, images, snr_db=snr_db, max_symbols=REALS // 2)
    realisation = link.channel.draw_batch(0, 2, REALS // 2)
    sent = transmit(
        codec,
        frame,
        link,
        snr_db=snr_db,
        realisation=realisation,
        rx_snr_db=snr_db,
        image_size=SIZE,
    )
    assert sent.decoded.images.shape == images.shape
    assert sent.ledger.symbols.tolist() == [REALS // 2] * 2


@pytest.mark.parametrize("form", ["keras", "saved_model"])
def test_the_snr_is_told_to_models_that_take_it(keras: Any, tmp_path: Path, form: str) -> None:
    """Latent = image x SNR; image = latent / SNR: what comes out tells what went in."""
    image, reals = keras.Input((*SIZE, 3), name="image"), keras.Input((16 * 24 * 3,), name="reals")
    snr = keras.Input((1,), name="snr_db")
    flat = keras.layers.Reshape((16 * 24 * 3,))(image)
    encoder = keras.Model([image, snr], keras.layers.Multiply()([flat, snr]))
    scaled = keras.layers.Multiply()([reals, snr])
    decoder = keras.Model([reals, snr], keras.layers.Reshape((*SIZE, 3))(scaled))
    codec = KerasCodec(**save((encoder, decoder), tmp_path, form), snr_input=True)
    assert codec.encoder_uses_snr is True
    images = random_images(*SIZE)
    symbols = codec.encode(images, TxInfo(**told(4.0))).symbols
    decoded = codec.decode(clean(symbols), RxInfo(**told(0.25)))
    torch.testing.assert_close(decoded, images)
    with pytest.raises(InputError, match="this side was told none"):
        codec.encode(images, TxInfo(**told(None)))


def test_what_does_not_fit_is_said_in_one_line(
    keras: Any, pair: tuple[Any, Any], tmp_path: Path
) -> None:
    saved = save(pair, tmp_path, "keras")
    fixed_image = keras.Input((8, 8, 3))
    fixed = keras.Model(fixed_image, keras.layers.Flatten()(fixed_image))
    fixed.save(tmp_path / "fixed.keras")
    images = random_images(*SIZE)
    with pytest.raises(InputError, match=r"does not take \[\[2, 16, 24, 3\]\]"):
        KerasCodec(encoder=str(tmp_path / "fixed.keras"), decoder=saved["decoder"]).encode(
            images, TxInfo(**told(None))
        )
    codec = KerasCodec(**saved)
    with pytest.raises(InputError, match="the budget is 95"):
        codec.encode(images, TxInfo(snr_db=None, max_symbols=REALS // 2 - 1, image_size=SIZE))
    odd = random_images(18, 24)  # four rows of the latent make 16 rows of pixels, not 18
    symbols = codec.encode(odd, TxInfo(**told(None, (18, 24)))).symbols
    with pytest.raises(InputError, match=r"wanted \[B, 18, 24, 3\]"):
        codec.decode(clean(symbols), RxInfo(**told(None, (18, 24))))
    with pytest.raises(InputError, match=r"neither a \.keras file nor a SavedModel"):
        KerasCodec(encoder=str(tmp_path / "none.keras"), decoder=saved["decoder"])


def test_without_tensorflow_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(InputError, match=r"pip install 'linksim\[tensorflow\]'"):
        KerasCodec(encoder="encoder.keras", decoder="decoder.keras")
