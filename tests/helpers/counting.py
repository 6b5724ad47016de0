"""Multiply-accumulates of a neural codec's layers, without computing them."""

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from linksim.codec import Decoded
from linksim.neural_codec import NeuralCodec
from linksim.sweep.complexity import count_macs


def giga_macs(codec: NeuralCodec, side: int) -> float:
    """Billions, of encoder and decoder together, for one square image of that side."""

    def run() -> None:
        with torch.enable_grad(), FakeTensorMode(allow_non_fake_inputs=True):
            snr_db = torch.zeros(1)
            out = codec.synthesis(codec.analysis(torch.rand(1, 3, side, side), snr_db), snr_db)
        images = out.images if isinstance(out, Decoded) else out
        assert images.shape == (1, 3, side, side)

    return sum(count_macs(run)) / 1e9


def mega_parameters(codec: NeuralCodec) -> float:
    return sum(parameter.numel() for parameter in codec.parameters()) / 1e6
