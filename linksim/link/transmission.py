"""Images through a codec and a link, once: what sweeps, training and your own scripts call."""

from dataclasses import dataclass

import torch
from torch import Tensor

from linksim.codec import Codec, Decoded, Frame, Received, RxInfo, TxInfo
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


def encode(codec: Codec, images: Tensor, *, snr_db: Tensor | None, max_symbols: int) -> Frame:
    """Frame of images [B, 3, H, W] for a transmitter that believes in snr_db [B]."""
    height, width = images.shape[-2:]
    tx = TxInfo(snr_db=snr_db, max_symbols=max_symbols, image_size=(height, width))
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

    Raises InputError for a codec that breaks the contract.
    """
    received, ledger = link.transmit(frame, snr_db=snr_db, realisation=realisation)
    rx = RxInfo(snr_db=rx_snr_db, max_symbols=realisation.length, image_size=image_size)
    out = codec.decode(received, rx)
    decoded = out if isinstance(out, Decoded) else Decoded(images=out)
    wanted = (len(snr_db), 3, *image_size)
    if tuple(decoded.images.shape) != wanted:
        raise InputError(
            f"{type(codec).__name__}.decode gave images {list(decoded.images.shape)}; "
            f"wanted {list(wanted)}"
        )
    for name, column in decoded.report.items():
        if column.shape[:1] != (len(snr_db),):
            raise InputError(
                f"{type(codec).__name__}.decode reports {name} of {list(column.shape)}; "
                f"wanted one entry for each of {len(snr_db)} images"
            )
    return Transmission(frame=frame, received=received, ledger=ledger, decoded=decoded)


def uniform_snr(snr_db: float, batch: int, device: torch.device | str) -> Tensor:
    """The same SNR for every image of a batch, float32 [B]."""
    return torch.full((batch,), snr_db, dtype=torch.float32, device=device)
