"""OFDM slots: where data and pilots stand, how symbols are laid over them, and what is sent."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from linksim.link.mixing import Mixing
from linksim.link.pilots import PilotGrid
from linksim.link.waveform import (
    papr_max_db,
    papr_of_symbols,
    soft_clip,
    subcarriers_of,
    time_signal,
)
from linksim.units import linear_to_db

CCDF = 1e-3
_OFDM_SYMBOLS_LOOKED_AT = round(2 / CCDF)


class SlotLayout:
    """Slots of S OFDM symbols of F subcarriers.

    data_per_slot: how many of their elements carry data, a multiple of ``block``; pilots stand on
        the others.
    """

    def __init__(
        self,
        symbols: int,
        subcarriers: int,
        pilots: PilotGrid | None,
        device: str,
        *,
        block: int = 1,
    ) -> None:
        self._shape = (symbols, subcarriers)
        self._empty = torch.zeros(symbols * subcarriers, dtype=torch.complex64, device=device)
        is_data = torch.ones(symbols * subcarriers, dtype=torch.bool, device=device)
        if pilots is not None:
            self._empty[pilots.places] = pilots.values
            is_data[pilots.places] = False
        self.data_per_slot = int(is_data.sum()) // block * block
        self._data = is_data.nonzero()[: self.data_per_slot, 0]

    def mixing(
        self,
        length: int,
        slots: Tensor,
        rounds: Sequence[int] = (),
        *,
        draw: int = 0,
        layers: int = 1,
    ) -> Mixing:
        """The mixing of frames of up to ``length`` symbols, ``layers`` of them on an element.

        slots: [B], those that each image takes. rounds: as of :class:`linksim.codec.Frame`, each
        of whole slots.
        """
        per_slot = self.data_per_slot * layers
        ends = [-(-end // per_slot) for end in rounds] or [-(-length // per_slot)]
        sizes = {
            taken: tuple(
                (min(end, taken) - start) * per_slot
                for start, end in pairwise([0, *ends])
                if start < taken
            )
            for taken in set(slots.tolist())
        }
        return Mixing.of(
            [sizes[taken] for taken in slots.tolist()],
            -(-length // per_slot) * per_slot,
            str(self._data.device),
            draw=draw,
        )

    def fill(self, symbols: Tensor, slots: Tensor, mixing: Mixing) -> Tensor:
        """Resource grids complex64 [B, n, S, F] of symbols [B, N]: data and pilots in the first
        ``slots`` [B] slots, nothing in the others."""
        padded = F.pad(symbols, (0, -symbols.shape[1] % self.data_per_slot))
        elements = mixing.spread(padded).reshape(len(symbols), -1, self.data_per_slot)
        grid = self._empty.repeat(*elements.shape[:2], 1)
        grid[..., self._data] = elements
        taken = torch.arange(elements.shape[1], device=slots.device) < slots[:, None]
        return torch.where(taken[..., None], grid, 0).reshape(*taken.shape, *self._shape)

    def data_of(self, grid: Tensor) -> Tensor:
        """The data elements [B, N, …] of grids [B, n, S, F, …]."""
        return grid.flatten(2, 3)[:, :, self._data].flatten(1, 2)


@dataclass(frozen=True, kw_only=True)
class Waveform:
    """The OFDM signal of a batch of frames, of which the amplifier's costs are read.

    symbols: complex64 [B, N], slots: int64 [B], rounds: as sent. backoff_db: where the amplifier
    clips, or None.
    """

    layout: SlotLayout
    symbols: Tensor
    slots: Tensor
    rounds: tuple[int, ...]
    backoff_db: float | None

    def papr_max_db(self) -> Tensor:
        """Highest peak over mean power in dB, float32 [B]."""
        grids = self._grids(0)
        return torch.stack([papr_max_db(self._amplified(grid)) for grid in grids])

    def papr_db(self) -> Tensor:
        """Peak over mean power in dB that one OFDM symbol in a thousand exceeds, float32 [B]: the
        usual CCDF at 10^-3.

        A frame has too few OFDM symbols to tell, so its symbols are laid over them again and again
        by other interleavers and scramblers of the same kind.
        """
        return torch.stack([self._level_db(image) for image in range(len(self.symbols))])

    def _level_db(self, image: int) -> Tensor:
        one = replace(self, symbols=self.symbols[[image]], slots=self.slots[[image]])
        ratios: list[Tensor] = []
        while sum(map(len, ratios)) < _OFDM_SYMBOLS_LOOKED_AT:
            ratios.append(papr_of_symbols(one._amplified(one._grids(len(ratios))[0])))
        return linear_to_db(torch.cat(ratios).quantile(1 - CCDF))

    def _grids(self, draw: int) -> Tensor:
        mixing = self.layout.mixing(self.symbols.shape[1], self.slots, self.rounds, draw=draw)
        return self.layout.fill(self.symbols, self.slots, mixing)

    def _amplified(self, grid: Tensor) -> Tensor:
        """Time signal of a grid [n, S, F], as it leaves the amplifier."""
        signal = time_signal(grid.flatten(0, 1))
        return signal if self.backoff_db is None else soft_clip(signal, self.backoff_db)


def clipped(grid: Tensor, backoff_db: float) -> Tensor:
    """Grids [B, n, S, F] as an amplifier that saturates there sends them.

    Image by image, since an FFT's last bit depends on how many are computed at once.
    """
    images = [
        subcarriers_of(soft_clip(time_signal(image), backoff_db)) for image in grid.flatten(1, 2)
    ]
    return torch.stack(images).reshape(grid.shape)
