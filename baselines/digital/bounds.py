"""Bounds of the separate design on channels that do not average over the fade.

One frame meets one fade, or few, and its capacity is a random number C. An ideal code of rate R
gets through where C >= R and not where C < R (L. H. Ozarow, S. Shamai and A. D. Wyner, Information
Theoretic Considerations for Cellular Mobile Radio, IEEE Trans. Veh. Technol., 1994). What can be
sent then rests on whether the transmitter knows the fade. The ergodic capacity of
:class:`baselines.digital.codecs.BpgCapacity` is out of reach for either.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, get_args

import torch
from torch import Tensor

from baselines.digital.bler import frame_capacities
from baselines.digital.bpg import Chroma
from baselines.digital.codecs import (
    BLACK,
    BpgCapacity,
    Color,
    FailurePolicy,
    Picture,
    QpSteps,
    Scale,
    flat_picture,
    mean_color,
    psnr_db,
    to_images,
    to_pictures,
)
from linksim.codec import ChannelProbe, Decoded, Frame, Received, RxInfo, TxInfo
from linksim.errors import InputError

Fade = Literal["known", "unknown"]

_FRAMES = 512
_RATES = 24


class BpgOutage(BpgCapacity):
    """BPG with an ideal channel code for each frame's own capacity: outage bounds.

    fade: ``known`` to the transmitter, which sends every picture at the capacity of its frame; or
        ``unknown``, so that all frames of an SNR have one rate, that of the best expected PSNR over
        the fades, and a picture is lost where its frame carries less.
    source, chroma, qp, scale, failure: as for :class:`baselines.digital.codecs.BpgLdpc`.

    The capacity of a frame is the mean of log2(1 + 1/no_eff) over its symbols: for Gaussian
    symbols, the channel being known to the receiver; where it is estimated, for that estimator,
    whose errors are part of the noise. The stream travels as side information, counted in full;
    with a known fade, which the encoder cannot see here, the picture itself does.
    """

    summary = "BPG with an ideal code at each frame's capacity, the fade known to the sender or not"
    paper = "L. H. Ozarow, S. Shamai and A. D. Wyner, IEEE Trans. Veh. Technol. 43 (1994)"

    def __init__(
        self,
        *,
        fade: Fade = "unknown",
        source: str = "bpg",
        chroma: Chroma = "420",
        qp: QpSteps | None = None,
        scale: Scale = 1,
        failure: FailurePolicy = "mean_color",
    ) -> None:
        if fade not in get_args(Fade):
            raise InputError(f"fade is {fade!r}; allowed: {', '.join(get_args(Fade))}")
        super().__init__(source=source, chroma=chroma, qp=qp, scale=scale, failure=failure)
        self._knows_fade = fade == "known"
        self.encoder_uses_snr = not self._knows_fade
        self._probe: ChannelProbe | None = None

    def calibrate(self, probe: ChannelProbe) -> None:
        """Remember the channel, to draw frames from it at each SNR that comes."""
        self._probe = probe
        self._capacities = lru_cache(
            lambda length, snr_db: frame_capacities(probe, length, snr_db, frames=_FRAMES)
        )

    def encode(self, images: Tensor, tx: TxInfo) -> Frame:
        """Frame of images float32 [B, 3, H, W]; InputError if SNR or channel is not known."""
        pictures = to_pictures(images)
        if self._knows_fade:
            carried = [picture.tobytes() for picture in pictures]
        elif tx.snr_db is None or self._probe is None:
            raise InputError(
                "bpg_outage with fade: unknown needs an SNR at the transmitter and calibrate(probe)"
            )
        else:
            carried = [
                self._best_stream(picture, self._capacities(tx.max_symbols, snr_db), tx.max_symbols)
                for picture, snr_db in zip(pictures, tx.snr_db.tolist(), strict=True)
            ]
        colors = [bytes(self._failure_color(picture)) for picture in pictures]
        side_info = tuple(color + data for color, data in zip(colors, carried, strict=True))
        shape = (len(images), tx.max_symbols)
        return Frame(
            symbols=torch.ones(shape, dtype=torch.complex64, device=images.device),
            used=torch.full(shape[:1], tx.max_symbols, device=images.device),
            side_info=side_info,
            side_info_bits=torch.tensor(
                [8 * len(data) for data in side_info], device=images.device
            ),
        )

    def decode(self, received: Received, rx: RxInfo) -> Decoded:
        """Images float32 [B, 3, H, W]; reports ``failed`` and ``info_bits_per_symbol``."""
        if received.side_info is None:
            raise InputError("bpg_outage was given no side_info: its stream travels there")
        bits = torch.log2(1 + 1 / received.no_eff.double())
        used = torch.arange(bits.shape[1], device=bits.device) < received.used[:, None]
        budgets = torch.where(used, bits, 0).sum(dim=1).tolist()
        streams = [
            self._arriving(data[len(BLACK) :], int(budget) // 8, rx.image_size)
            for data, budget in zip(received.side_info, budgets, strict=True)
        ]
        shown = []
        for stream, data in zip(streams, received.side_info, strict=True):
            picture = None if stream is None else self._source.open(stream, rx.image_size)
            if picture is None:
                picture = flat_picture((data[0], data[1], data[2]), rx.image_size)
            shown.append(picture)
        sizes = torch.tensor([8 * len(stream or b"") for stream in streams])
        report = {
            "failed": torch.tensor([stream is None for stream in streams]),
            "info_bits_per_symbol": sizes / received.used.cpu(),
        }
        return Decoded(images=to_images(shown, received.symbols.device), report=report)

    def _arriving(self, carried: bytes, max_bytes: int, size: tuple[int, int]) -> bytes | None:
        """The stream that a frame of so many bytes brings; None if it brings none."""
        if not self._knows_fade:
            return carried if 0 < len(carried) <= max_bytes else None
        values = torch.frombuffer(bytearray(carried), dtype=torch.uint8)
        picture: Picture = values.reshape(*size, 3).numpy()
        return self._source.fit(picture, max_bytes)

    def _best_stream(self, picture: Picture, capacities: Tensor, length: int) -> bytes:
        """The stream of the best expected PSNR over frames of such capacities; empty if none fits
        any of them."""
        lost = flat_picture(self._failure_color(picture), (picture.shape[0], picture.shape[1]))
        lost_db = psnr_db(picture, lost)
        best, best_db = b"", lost_db
        for stream in self._streams(picture, capacities, length):
            passing = float((capacities * length >= 8 * len(stream)).double().mean())
            sent_db = self._source.quality_db(stream, picture, lost_db)
            expected_db = passing * sent_db + (1 - passing) * lost_db
            if expected_db > best_db:
                best, best_db = stream, expected_db
        return best

    def _streams(self, picture: Picture, capacities: Tensor, length: int) -> Sequence[bytes]:
        """One for each of some capacities, from the smallest to the largest."""
        ranks = torch.linspace(0, len(capacities) - 1, _RATES).round().long()
        rates = capacities.sort().values[ranks].tolist()
        fitted = (self._source.fit(picture, int(rate * length) // 8) for rate in rates)
        return list(dict.fromkeys(stream for stream in fitted if stream is not None))

    def _failure_color(self, picture: Picture) -> Color:
        return mean_color(picture) if self._mean_color else BLACK
