"""A codec for the tests: sends a small version of the image, with pilots for the scale."""

import torch
from torch import Tensor
from torch.nn import functional as F

from linksim import Codec, Frame, Received, RxInfo, TxInfo

PILOTS = 16


class Thumbnail(Codec):
    """Every ``factor``-th pixel by area averaging; knows no SNR."""

    summary = "Sends a small version of the image"
    encoder_uses_snr = False

    def __init__(self, *, factor: int = 8) -> None:
        self.factor = factor
        self.encoded = 0

    def encode(self, images: Tensor, tx: TxInfo) -> Frame:
        self.encoded += len(images)
        height, width = tx.image_size
        small = F.interpolate(images, (height // self.factor, width // self.factor), mode="area")
        values = torch.cat([torch.full((len(images), 2 * PILOTS), 0.5), small.flatten(1) - 0.5], 1)
        return Frame.analog(torch.view_as_complex(values.reshape(len(images), -1, 2)))

    def decode(self, received: Received, rx: RxInfo) -> Tensor:
        height, width = rx.image_size
        values = torch.view_as_real(received.symbols).flatten(1)
        scale = values[:, : 2 * PILOTS].mean(1, keepdim=True).abs() + 1e-3
        small = 0.5 + 0.5 * values[:, 2 * PILOTS :] / scale
        small = small.reshape(-1, 3, height // self.factor, width // self.factor)
        return F.interpolate(small, (height, width), mode="bilinear").clamp(0, 1)
