"""linksim: wireless image transmission, end to end."""

import importlib
from importlib.metadata import version

from linksim.codec import Codec, CodedBits, Decoded, Frame, Received, RxInfo, TxInfo
from linksim.errors import InputError, PointsFailedError
from linksim.importing import import_weights
from linksim.link.flat import FlatChannel
from linksim.neural_codec import NeuralCodec

importlib.import_module("linksim.plot")  # first: its name is to be the function's, from here on
from linksim.entrance import load_codec, plot, run, send  # noqa: E402

__version__ = version("linksim")

__all__ = [
    "Codec",
    "CodedBits",
    "Decoded",
    "FlatChannel",
    "Frame",
    "InputError",
    "NeuralCodec",
    "PointsFailedError",
    "Received",
    "RxInfo",
    "TxInfo",
    "import_weights",
    "load_codec",
    "plot",
    "run",
    "send",
]
