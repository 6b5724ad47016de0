"""One transmission: unit power, channel, equaliser, and the ledger of what it cost.

frame --> unit power per image --> points, if asked for --> channel --> equaliser
      --> Received, Ledger
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from linksim.codec import CodedBits, Frame, Received
from linksim.errors import InputError
from linksim.link.channel import Arrival, ChannelSettings, Realisation
from linksim.link.equalizer import Equalizer, equalize
from linksim.runtime import batch_exact
from linksim.units import snr_db_to_no

if TYPE_CHECKING:  # flat channels rest on no line of OFDM
    from linksim.link.slots import Waveform

_DRAWS_KEPT = 8  # of a probe, which is asked for the same ones at one SNR after the other


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What each image of a batch cost; every count int64 [B].

    symbols: complex channel uses, pilots and padding included: what the CBR counts.
    pilot_symbols: those of them that are pilots.
    payload_bits, crc_bits, parity_bits, padding_bits: a digital frame's bits; zeros for others.
    side_info_bits: bits told to the receiver outside the channel.
    padding_symbols: those of the symbols that carry nothing, to fill the last OFDM slot; None for
        channels without slots.
    waveform: the OFDM signal, whose peaks are what the amplifier pays; None without one.
    """

    symbols: Tensor
    pilot_symbols: Tensor
    payload_bits: Tensor
    crc_bits: Tensor
    parity_bits: Tensor
    padding_bits: Tensor
    side_info_bits: Tensor
    padding_symbols: Tensor | None = None
    waveform: "Waveform | None" = None

    def columns(self) -> dict[str, Tensor]:
        """What a table of results holds: the counts by name, each [B], and for OFDM ``papr_db``,
        which one OFDM symbol in a thousand exceeds, and ``papr_max_db``."""
        counts = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        if self.waveform is None:
            return counts
        waveform = self.waveform
        return counts | {"papr_db": waveform.papr_db(), "papr_max_db": waveform.papr_max_db()}

    def with_pilots(self, count: int) -> "Ledger":
        """The ledger with ``count`` pilots more an image."""
        symbols, pilots = self.symbols + count, self.pilot_symbols + count
        return replace(self, symbols=symbols, pilot_symbols=pilots)


class Link:
    """A channel and its equaliser.

    equalizer: ``mmse`` or ``zf``. None takes MMSE for fading channels and hands AWGN through as it
        is (ZF with h = 1), as the papers do.
    """

    def __init__(self, channel: ChannelSettings, equalizer: Equalizer | None = None) -> None:
        self.channel = channel
        self.equalizer: Equalizer = equalizer or ("mmse" if channel.fades else "zf")

    @property
    def name(self) -> str:
        """Channel and equaliser in words."""
        return f"{self.channel.name}, {self.equalizer}"

    @property
    def shown_name(self) -> str:
        """How tables and figures call it."""
        shown = self.channel.shown_name
        return self.name if shown == self.channel.name else shown

    def transmit(
        self, frame: Frame, *, snr_db: Tensor, realisation: Realisation
    ) -> tuple[Received, Ledger]:
        """Send a frame over a realisation of the channel at snr_db [B].

        The realisation is for the whole symbol budget; a shorter frame meets the start of it.
        Raises InputError for a frame that breaks the contract.
        """
        check_frame(frame, batch=len(snr_db), max_symbols=realisation.length)
        no = snr_db_to_no(snr_db.double()).to(frame.symbols.device, torch.float32)
        check_rounds(frame, block=self.channel.block)
        symbols = self._leaving(frame)
        arrival = realisation.send(symbols, frame.used, no, frame.rounds)
        received = equalize(
            arrival.y,
            arrival.h,
            arrival.no,
            kind=self.equalizer,
            used=frame.used,
            side_info=frame.side_info,
        )
        return received, ledger_of(frame, arrival)

    def _leaving(self, frame: Frame) -> Tensor:
        """What the transmitter sends, of unit power: analogue symbols as points, if need be."""
        symbols = unit_power(frame.symbols, frame.used, frame.rounds)
        if self.channel.constellation is None or frame.bits is not None:
            return symbols
        return unit_power(self.channel.constellation(symbols), frame.used)

    def data_symbols(self, uses: int) -> int:
        """How many data symbols that many channel uses carry; InputError if they carry none."""
        return self.channel.data_symbols(uses)

    def draw(self, seeds: Sequence[int], max_symbols: int, device: torch.device) -> Realisation:
        """Channel realisations with room for that many data symbols, one a seed."""
        return self.channel.draw(seeds, max_symbols, device)


class LinkProbe:
    """The statistics of a link, for a codec's calibration (:class:`linksim.codec.ChannelProbe`).

    Symbols cross it as they are: whoever calibrates has points of his own.
    """

    def __init__(self, link: Link) -> None:
        plain = link.channel.model_copy(update={"constellation": None})
        self._link = link = Link(plain, link.equalizer)
        self._draw = lru_cache(maxsize=_DRAWS_KEPT)(link.channel.draw_batch)

    @property
    def name(self) -> str:
        """Channel and equaliser in words."""
        return self._link.name

    @property
    def block(self) -> int:
        """As :attr:`linksim.link.channel.ChannelSettings.block`."""
        return self._link.channel.block

    def __call__(
        self, symbols: Tensor, snr_db: float, seed: int, rounds: tuple[int, ...] = ()
    ) -> Received:
        """Send symbols [B, N] over channels drawn from ``seed``, as coded ones: as they are."""
        batch, length = symbols.shape
        realisation = self._draw(seed, batch, length, symbols.device)
        snr = torch.full((batch,), snr_db, device=symbols.device)
        analog = Frame.analog(symbols)
        none = torch.zeros_like(analog.used)
        bits = CodedBits(payload=none, crc=none, parity=none, padding=none)
        frame = replace(analog, bits=bits, rounds=rounds)
        return self._link.transmit(frame, snr_db=snr, realisation=realisation)[0]


def unit_power(symbols: Tensor, used: Tensor, rounds: Sequence[int] = ()) -> Tensor:
    """Scale each image's used symbols to E|x|^2 = 1 and zero the rest; complex64 [B, N].

    rounds: of a frame that is sent in rounds; each is scaled on its own. An image of all-zero
    symbols stays zero: there is nothing to scale.
    """
    if len(rounds) > 1:
        parts = torch.tensor_split(symbols, list(rounds[:-1]), dim=1)
        starts = [0, *rounds[:-1]]
        return torch.cat(
            [
                unit_power(part, (used - start).clamp(0, part.shape[1]))
                for part, start in zip(parts, starts, strict=True)
            ],
            dim=1,
        )
    in_use = torch.arange(symbols.shape[1], device=symbols.device) < used[:, None]
    symbols = torch.where(in_use, symbols, 0)
    # In float64, since a float32 sum's last bit depends on how many images are summed at once.
    energy = torch.view_as_real(symbols).double().square().sum(dim=(1, 2))
    mean_power = (energy / used.clamp(min=1)).float()
    silent = mean_power <= 0
    scale = torch.where(silent, 1, mean_power).rsqrt()
    return batch_exact.scale(symbols, scale[:, None])


def check_frame(frame: Frame, *, batch: int, max_symbols: int) -> None:
    """Raise InputError, in one line, for a frame that breaks the contract."""
    symbols, used = frame.symbols, frame.used
    if symbols.ndim != 2 or symbols.dtype != torch.complex64 or len(symbols) != batch:
        raise InputError(
            f"a frame's symbols are {symbols.dtype} {list(symbols.shape)}; "
            f"wanted torch.complex64 [{batch}, N]"
        )
    if used.shape != (batch,) or used.dtype != torch.int64:
        raise InputError(f"a frame's used is {used.dtype} {list(used.shape)}; wanted int64 [B]")
    most = int(used.max())
    if int(used.min()) < 1 or most > symbols.shape[1]:
        raise InputError(f"a frame uses {used.tolist()} of its {symbols.shape[1]} symbols")
    if symbols.shape[1] > max_symbols:
        raise InputError(
            f"a frame has {symbols.shape[1]} symbols an image; the budget is {max_symbols}"
        )
    if not bool(torch.isfinite(torch.view_as_real(symbols)).all()):
        raise InputError("a frame holds symbols that are not finite")
    if (frame.side_info is None) != (frame.side_info_bits is None):
        raise InputError("a frame with side_info must declare its side_info_bits, and vice versa")
    if frame.side_info is not None and frame.side_info_bits is not None:
        for data, bits in zip(frame.side_info, frame.side_info_bits.tolist(), strict=True):
            if not 8 * len(data) - 8 < bits <= 8 * len(data) and not (bits == 0 == len(data)):
                raise InputError(f"a frame declares {bits} bits for {len(data)} bytes of side_info")


def check_rounds(frame: Frame, *, block: int) -> None:
    """Raise InputError for rounds that break the contract; block: of the channel."""
    rounds, length = frame.rounds, frame.symbols.shape[1]
    if not rounds:
        return
    if list(rounds) != sorted(set(rounds)) or rounds[0] < 1 or rounds[-1] != length:
        raise InputError(f"a frame's rounds are {list(rounds)}; wanted rising ones up to {length}")
    for end in rounds[:-1]:
        if end % block:
            raise InputError(
                f"a round ends after {end} symbols, within an OFDM slot of {block} data symbols; "
                "take a cbr of more slots, or as many transmissions as divide them"
            )


def ledger_of(frame: Frame, arrival: Arrival) -> Ledger:
    """The costs: bits as the frame declares them, symbols as the channel counted them."""
    none = torch.zeros_like(frame.used)
    bits = frame.bits or CodedBits(payload=none, crc=none, parity=none, padding=none)
    return Ledger(
        symbols=arrival.uses,
        pilot_symbols=none if arrival.pilots is None else arrival.pilots,
        payload_bits=bits.payload,
        crc_bits=bits.crc,
        parity_bits=bits.parity,
        padding_bits=bits.padding,
        side_info_bits=none if frame.side_info_bits is None else frame.side_info_bits,
        padding_symbols=arrival.padding,
        waveform=arrival.waveform,
    )
