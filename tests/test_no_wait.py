"""Nothing in the encode and decode of neural codecs waits for the GPU."""

import sys

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException

from linksim.bench.memory import on_fake_gpu
from linksim.codec import Decoded, Received, RxInfo, TxInfo
from linksim.codec_lookup import codec_from_settings, find_codec, neural_codec_names
from linksim.neural_codec import NeuralCodec
from linksim.settings import CodecSettings


def there_and_back(codec: NeuralCodec, side: int = 64) -> Tensor:
    """Images on the GPU through the codec's two sides, over a channel that changes nothing."""
    images, snr_db = torch.zeros(2, 3, side, side, device="cuda"), torch.zeros(2, device="cuda")
    tx = TxInfo(snr_db=snr_db, max_symbols=sys.maxsize, image_size=(side, side))
    frame = codec.encode(images, tx)
    known = torch.ones(frame.symbols.shape, device="cuda")
    received = Received(symbols=frame.symbols, gain=known, no_eff=known, used=frame.used)
    rx = RxInfo(snr_db=snr_db, max_symbols=sys.maxsize, image_size=(side, side))
    out = codec.decode(received, rx)
    return out.images if isinstance(out, Decoded) else out


def small(name: str) -> NeuralCodec:
    preset = "small" if "small" in find_codec(name).presets else None
    codec = codec_from_settings(CodecSettings(codec=name, preset=preset))
    assert isinstance(codec, NeuralCodec)
    return codec


@pytest.mark.parametrize("name", neural_codec_names())
def test_no_step_needs_a_value_on_the_host(name: str) -> None:
    """On tensors without data, what needs one raises."""
    codec = small(name)
    with torch.no_grad(), on_fake_gpu(codec):
        out = there_and_back(codec)
        assert out.shape == (2, 3, 64, 64)
        assert out.device.type == "cuda"


class Waits(NeuralCodec):
    """Looks at its latent, as no codec should."""

    stride = downsampling = 8

    def __init__(self) -> None:
        super().__init__(latent_channels=3)

    def analysis(self, images: Tensor, snr_db: Tensor | None) -> Tensor:
        latent = nn.functional.avg_pool2d(images, 8)
        return latent if float(latent.abs().max()) < 1 else latent / 2

    def synthesis(self, latent: Tensor, snr_db: Tensor | None) -> Tensor:
        return nn.functional.interpolate(latent, scale_factor=8)


def test_one_that_waits_is_found() -> None:
    codec = Waits()
    with (
        torch.no_grad(),
        on_fake_gpu(codec),
        pytest.raises(DataDependentOutputException),
    ):
        there_and_back(codec)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", neural_codec_names())
def test_no_step_waits_on_a_gpu(name: str) -> None:
    codec = small(name).cuda()
    with torch.inference_mode():
        there_and_back(codec)  # what is built once may wait
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            there_and_back(codec)
        finally:
            torch.cuda.set_sync_debug_mode("default")
