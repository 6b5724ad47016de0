"""Counts against hand-worked ones."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from linksim.codec import Codec, Frame, Received, RxInfo, TxInfo
from linksim.complexity import complexity, count_macs
from linksim.mambajscc.model import MambaJSCC
from linksim.neural_codec import NeuralCodec


class TwoConvolutions(NeuralCodec):
    """A convolution down by 4 and a transposed one up again."""

    stride = 4
    downsampling = 4

    def __init__(self) -> None:
        super().__init__(latent_channels=6, rate="nested")
        self.down = nn.Conv2d(3, 6, 4, stride=4)
        self.up = nn.ConvTranspose2d(6, 3, 4, stride=4)

    def analysis(self, images: Tensor, snr_db: Tensor | None) -> Tensor:
        return self.down(images)

    def synthesis(self, latent: Tensor, snr_db: Tensor | None) -> Tensor:
        return self.up(latent)


class Grey(Codec):
    """Sends nothing of the image."""

    def encode(self, images: Tensor, tx: TxInfo) -> Frame:
        return Frame.analog(torch.ones(len(images), tx.max_symbols, dtype=torch.complex64))

    def decode(self, received: Received, rx: RxInfo) -> Tensor:
        return torch.full((len(received.symbols), 3, *rx.image_size), 0.5)


def test_both_sides_are_counted() -> None:
    cost = complexity(TwoConvolutions(), 32, repetitions=1)
    assert cost.parameters == (3 * 6 * 16 + 6) + (6 * 3 * 16 + 3)
    assert cost.macs == 2 * (8 * 8) * 16 * 3 * 6  # each at the latent's 8x8 places
    assert cost.scan_macs == 0
    assert cost.latency_ms > 0


def test_a_classical_codec_has_no_macs() -> None:
    cost = complexity(Grey(), 16, cbr=1 / 16, repetitions=1)
    assert (cost.parameters, cost.macs, cost.scan_macs) == (0, None, None)
    assert cost.latency_ms > 0


def test_attention_products_are_counted() -> None:
    q, k, v = torch.rand(3, 2, 4, 10, 8)  # batch 2, heads 4, tokens 10, width 8

    def attend() -> None:
        with torch.inference_mode():
            F.scaled_dot_product_attention(q, k, v)

    macs, _ = count_macs(attend)
    assert macs == 2 * (2 * 4 * 10 * 10 * 8)


@pytest.mark.parametrize("directions", [2, 4])
def test_scans_are_counted_apart(directions: int) -> None:
    """Three products for each token, channel, state and direction; 16 states, channels 2d."""
    codec = MambaJSCC(dims=(8, 16, 16, 32), depths=(1, 1, 1, 1), scan_directions=directions).eval()
    cost = complexity(codec, 32, repetitions=1)
    pairs = 16 * 16 * 16 + 8 * 8 * 32 + 4 * 4 * 32 + 2 * 2 * 64
    assert cost.scan_macs == 2 * directions * 3 * 16 * pairs
