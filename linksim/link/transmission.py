"""Images through a codec and a link, once: what sweeps, training and your own scripts call."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from linksim.codec import Codec, CodedBits, Decoded, Feedback, Frame, Received, RxInfo, TxInfo
from linksim.errors import InputError
from linksim.link.channel import Realisation
from linksim.link.link import Ledger, Link


@dataclass(frozen=True, kw_only=True)
class Transmission:
    """What came of it.

    images: float32 [B, 3, H, W], not yet rounded. report: the codec's columns, each [B].
    """

    frame: Frame
    received: Received
    ledger: Ledger
    decoded: Decoded


def encode(
    codec: Codec,
    images: Tensor,
    *,
    snr_db: Tensor | None,
    max_symbols: int,
    feedback: Feedback | None = None,
) -> Frame:
    """Frame of images [B, 3, H, W] for a transmitter that believes in snr_db [B]."""
    height, width = images.shape[-2:]
    tx = TxInfo(
        snr_db=snr_db, max_symbols=max_symbols, image_size=(height, width), feedback=feedback
    )
    return codec.encode(images, tx)


def transmit(
    codec: Codec,
    frame: Frame,
    link: Link,
    *,
    snr_db: Tensor,
    realisation: Realisation,
    rx_snr_db: Tensor | None,
    image_size: tuple[int, int],
) -> Transmission:
    """Send a frame at the true snr_db [B] to a receiver that believes in rx_snr_db [B].

    A frame of several rounds goes on, for each image, until the receiver has enough. Raises
    InputError for a codec that breaks the contract.
    """
    rx = RxInfo(snr_db=rx_snr_db, max_symbols=realisation.length, image_size=image_size)
    first = torch.full_like(frame.used, frame.rounds[0]) if frame.rounds else frame.used
    part = _cut(frame, first)
    while True:
        received, ledger = link.transmit(part, snr_db=snr_db, realisation=realisation)
        decoded = _decode(codec, received, rx)
        if decoded.done is None or not frame.rounds:
            break
        following = _next_round(part.used, frame.rounds, decoded.done)
        if torch.equal(following, part.used):
            break
        part = _cut(frame, following)
    return Transmission(frame=part, received=received, ledger=ledger, decoded=decoded)


def _decode(codec: Codec, received: Received, rx: RxInfo) -> Decoded:
    """What the codec makes of it, checked."""
    batch, image_size = len(received.symbols), rx.image_size
    out = codec.decode(received, rx)
    decoded = out if isinstance(out, Decoded) else Decoded(images=out)
    wanted = (batch, 3, *image_size)
    if tuple(decoded.images.shape) != wanted:
        raise InputError(
            f"{type(codec).__name__}.decode gave images {list(decoded.images.shape)}; "
            f"wanted {list(wanted)}"
        )
    for name, column in decoded.report.items():
        if column.shape[:1] != (batch,):
            raise InputError(
                f"{type(codec).__name__}.decode reports {name} of {list(column.shape)}; "
                f"wanted one entry for each of {batch} images"
            )
    return decoded


def _next_round(used: Tensor, rounds: tuple[int, ...], done: Tensor) -> Tensor:
    """The symbols that each image has sent after its next round, if it needs one; int64 [B]."""
    ends = torch.tensor(rounds, device=used.device)
    following = ends[torch.searchsorted(ends, used, right=True).clamp(max=len(rounds) - 1)]
    return torch.where(done.to(used.device), used, following)


def _cut(frame: Frame, used: Tensor) -> Frame:
    """The frame of which only ``used`` [B] symbols are sent: what is left out is parity."""
    bits = frame.bits
    if bits is None or not frame.rounds:
        return replace(frame, used=used)
    kept = bits.payload + bits.crc + bits.padding
    sent = (kept + bits.parity) * used // frame.symbols.shape[1]
    cut = CodedBits(payload=bits.payload, crc=bits.crc, parity=sent - kept, padding=bits.padding)
    return replace(frame, used=used, bits=cut)


def uniform_snr(snr_db: float, batch: int, device: torch.device | str) -> Tensor:
    """The same SNR for every image of a batch, float32 [B]."""
    return torch.full((batch,), snr_db, dtype=torch.float32, device=device)
