"""Multiply-accumulates of a neural codec's layers, without computing them."""

from math import prod

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from linksim.codec import Decoded
from linksim.neural_codec import NeuralCodec
from linksim.nn.layers import ONEDNN_LINEAR


def giga_macs(codec: NeuralCodec, side: int) -> float:
    """Billions, of encoder and decoder together, for one square image of that side."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    # With gradients, as in training: but for oneDNN's product torch's counter knows that path.
    known = FlopCounterMode(display=False, custom_mapping={ONEDNN_LINEAR: _product})
    with torch.enable_grad(), known as counter, mode:
        snr_db = torch.zeros(1)
        out = codec.synthesis(codec.analysis(torch.rand(1, 3, side, side), snr_db), snr_db)
    images = out.images if isinstance(out, Decoded) else out
    assert images.shape == (1, 3, side, side)
    return counter.get_total_flops() / 2e9


def _product(x: torch.Size, weight: torch.Size, *_: object, **__: object) -> int:
    return 2 * prod(x) * weight[0]


def mega_parameters(codec: NeuralCodec) -> float:
    return sum(parameter.numel() for parameter in codec.parameters()) / 1e6
