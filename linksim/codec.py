"""The contract: what a codec must do, and all that it is told.

    images --> Codec.encode --> Frame --> link --> Received --> Codec.decode --> images

A codec turns images into complex symbols and back. Power, noise, fading, equalisation, counting and
metrics belong to the link, which treats every codec alike. To add one, subclass :class:`Codec` (or
:class:`linksim.neural_codec.NeuralCodec`) and name it in a scenario, as ``./my_file.py:MyCodec``.

What a codec may do, and what it may not:

- Whatever it is handed is its own copy: it may write to it, and nobody else sees that.
- It may draw random numbers from the generators of torch, NumPy, Python and Sionna, which are
  seeded for every point, image and trial. A generator of its own must be seeded from these at each
  call. What it draws elsewhere, and what it remembers from one image to the next, makes rows depend
  on the order of work.
- It is in evaluation mode, and so are the torch modules among its attributes.
- What it makes is on the device of what it is handed. What it sets for the whole process (torch's
  default type and device, the standard streams, the working folder) holds until its call ends.
- It may report columns beside its images, under names that linksim does not fill itself.
- An image that is not finite counts as failed. One of another type, shape or scale, such as 0..255,
  is refused, and so is a frame over its budget. An error that it raises ends the point, not the
  sweep.
- Options that name files are declared (``file_options``), so that results follow their contents.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from linksim.runtime import batch_exact


class Feedback(Protocol):
    """Acknowledgements of frames that the transmitter sent before each image's, over other fades of
    the same channel at its true SNR: all that it learns of that SNR."""

    def __call__(self, image: int, frame: int, bler: Callable[[float], float]) -> bool:
        """Whether the frame-th of them, of the image-th of the batch, got through, which it did
        with probability 1 - bler(true SNR in dB)."""


@dataclass(frozen=True, kw_only=True)
class TxInfo:
    """All that the transmitter knows.

    snr_db: float32 [B], the average SNR (Es/N0) that the transmitter believes in; None if it has no
        idea. It may be wrong.
    max_symbols: symbols that each image may take: its channel uses, less what the channel itself
        needs of them (an OFDM channel's pilots).
    image_size: (height, width) of the images in pixels.
    feedback: of earlier frames, for an outer loop of link adaptation; None where there is none.
    """

    snr_db: Tensor | None
    max_symbols: int
    image_size: tuple[int, int]
    feedback: Feedback | None = None


@dataclass(frozen=True, kw_only=True)
class RxInfo:
    """All that the receiver knows beside what it received; fields as in :class:`TxInfo`."""

    snr_db: Tensor | None
    max_symbols: int
    image_size: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class CodedBits:
    """Where the bits of a digital frame went; each int64 [B]."""

    payload: Tensor
    crc: Tensor
    parity: Tensor
    padding: Tensor


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What a codec hands to the link.

    symbols: complex64 [B, N]. The link scales each image's used symbols to unit average power and
        does not tell the receiver the scale.
    used: int64 [B], how many of the N each image really uses, from the first on. The receiver knows
        it, as it knows the length of what arrived.
    side_info: one bytes object an image that reaches the receiver outside the channel, error-free;
        None if there is none.
    side_info_bits: int64 [B], how many bits of it count. Reported with every row, never hidden.
    bits: the ledger of a digital frame; None for an analogue one.
    rounds: rising numbers of symbols, the last N: after each the receiver may say that it has
        enough (hybrid ARQ), and the rest is not sent. The link decodes after each round, with what
        has arrived by then, and charges what was sent. Each round has unit power. Nothing but that
        one bit comes back, so that a frame can be encoded before it is sent. () sends it whole.
    """

    symbols: Tensor
    used: Tensor
    side_info: tuple[bytes, ...] | None = None
    side_info_bits: Tensor | None = None
    bits: CodedBits | None = None
    rounds: tuple[int, ...] = ()

    @classmethod
    def analog(cls, symbols: Tensor) -> "Frame":
        """A frame of [B, N] symbols, all used, with nothing beside them.

        >>> Frame.analog(torch.ones(2, 5, dtype=torch.complex64)).used
        tensor([5, 5])
        """
        used = torch.full((symbols.shape[0],), symbols.shape[1], device=symbols.device)
        return cls(symbols=symbols, used=used)


@dataclass(frozen=True, kw_only=True)
class Received:
    """What the link hands to the decoder.

    symbols: complex64 [B, N], equalised; zero beyond ``used``.
    gain: float32 [B, N], the bias of the equaliser: symbols = gain * x + noise. MMSE shrinks what
        it is unsure of (gain < 1), which is what a neural decoder wants; ZF leaves gain = 1.
    no_eff: float32 [B, N], variance of the noise in symbols / gain, which is what a demapper wants.
    used, side_info: as in :class:`Frame`.
    """

    symbols: Tensor
    gain: Tensor
    no_eff: Tensor
    used: Tensor
    side_info: tuple[bytes, ...] | None = None

    def unbiased(self) -> Tensor:
        """symbols / gain, complex64 [B, N]; zero where the gain is zero.

        >>> half = torch.full((1, 1), 0.5)
        >>> received = Received(
        ...     symbols=half.to(torch.complex64), gain=half, no_eff=half, used=torch.ones(1)
        ... )
        >>> received.unbiased()
        tensor([[1.+0.j]])
        """
        known = self.gain > 0
        gain = torch.where(known, self.gain, 1)
        return torch.where(known, batch_exact.divide(self.symbols, gain), 0)


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Images with something to report beside them.

    images: float32 [B, 3, H, W] in [0, 1].
    report: columns of the results, each [B]: ``failed`` (bool), ``snr_db_estimate`` (dB), ….
    done: bool [B], which images need no further round of their frame; None for a frame sent whole.
    """

    images: Tensor
    report: Mapping[str, Tensor] = field(default_factory=dict)
    done: Tensor | None = None


class ChannelProbe(Protocol):
    """Statistics of the channel, for codecs that calibrate to them; never its realisations."""

    @property
    def name(self) -> str:
        """What determines the statistics, in words: the key of a cache."""

    @property
    def block(self) -> int:
        """How many symbols are always sent together, such as those of an OFDM slot."""

    def __call__(
        self, symbols: Tensor, snr_db: float, seed: int, rounds: tuple[int, ...] = ()
    ) -> Received:
        """Send unit-power symbols [B, N] over channels drawn from ``seed``, in rounds as of
        :class:`Frame`."""


class Codec(ABC):
    """Images to symbols and back. Constructors take keyword arguments only: they are the options
    that a scenario can set.

    summary, paper, adapts_to_snr, rates: for ``linksim codecs``, a few words each.
    presets: named sets of constructor options.
    file_options: options that name files or folders, whose contents belong to what is measured.
    encoder_uses_snr: False lets a sweep encode each image once for all SNRs.
    encoder_uses_feedback: True for one that asks ``tx.feedback``, and so depends on the true SNR.
    is_bound: True for a bound that no system reaches; tables and figures mark it.
    """

    summary: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    adapts_to_snr: ClassVar[str] = "no"
    rates: ClassVar[str] = "any"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    file_options: ClassVar[Collection[str]] = ()
    is_bound: ClassVar[bool] = False
    encoder_uses_snr: bool = True
    encoder_uses_feedback: bool = False

    @abstractmethod
    def encode(self, images: Tensor, tx: TxInfo) -> Frame:
        """Symbols of images: float32 [B, 3, H, W] in [0, 1] to at most tx.max_symbols an image.

        No image may influence another image's symbols.
        """

    @abstractmethod
    def decode(self, received: Received, rx: RxInfo) -> Tensor | Decoded:
        """Images float32 [B, 3, H, W] of ``rx.image_size``; metrics clamp them to [0, 1]."""

    def calibrate(self, probe: ChannelProbe) -> None:
        """Called once before a channel's first frame. Link adaptation measures its tables here."""
