"""A codec for the tests that fails at one SNR."""

import torch
from torch import Tensor

from linksim import Codec, Frame, Received, RxInfo, TxInfo


class Faulty(Codec):
    """Sends one symbol and shows grey; fails at 5 dB."""

    def encode(self, images: Tensor, tx: TxInfo) -> Frame:
        assert tx.snr_db is not None
        if float(tx.snr_db[0]) == 5:
            raise RuntimeError("out of luck")
        return Frame.analog(torch.ones(len(images), 1, dtype=torch.complex64))

    def decode(self, received: Received, rx: RxInfo) -> Tensor:
        return torch.full((len(received.symbols), 3, *rx.image_size), 0.5)
