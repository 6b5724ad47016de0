"""linksim: wireless image transmission, end to end."""

from linksim.codec import Codec, CodedBits, Decoded, Frame, Received, RxInfo, TxInfo
from linksim.errors import InputError
from linksim.importing import import_weights
from linksim.link.flat import FlatChannel
from linksim.neural_codec import NeuralCodec

__all__ = [
    "Codec",
    "CodedBits",
    "Decoded",
    "FlatChannel",
    "Frame",
    "InputError",
    "NeuralCodec",
    "Received",
    "RxInfo",
    "TxInfo",
    "import_weights",
]
