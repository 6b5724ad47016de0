"""OFDM over several antennas: each has pilots on subcarriers of its own, layers share the rest."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from linksim.link.channel import Arrival, Realisation
from linksim.link.estimation import Estimator
from linksim.link.mimo import Antennas, Layers, Modes, eigenmodes, times
from linksim.link.pilots import PilotGrid
from linksim.link.slots import SlotLayout
from linksim.runtime import batch_exact


@dataclass(frozen=True)
class AntennaPilots:
    """What tells the receiver of the gains from one transmit antenna."""

    pilots: PilotGrid
    estimator: Estimator


@dataclass(frozen=True, kw_only=True)
class OfdmMimoRealisation(Realisation):
    """One draw of OFDM over a matrix channel for a batch.

    h: complex64 [B, slots, S, F, rx, tx]. noise: complex64 [B, slots, S, F, rx].
    layout, known_by: of a device, the slots, and how the receiver estimates the gains from each
    transmit antenna; () for perfect knowledge.
    """

    antennas: Antennas
    pilots_per_slot: int
    layout: Callable[[str], SlotLayout]
    known_by: Callable[[str], tuple[AntennaPilots, ...]]

    @property
    def length(self) -> int:
        """Symbols of all slots."""
        return self.h.shape[1] * self._symbols_per_slot

    @cached_property
    def _slots(self) -> SlotLayout:
        return self.layout(str(self.h.device))

    @property
    def _symbols_per_slot(self) -> int:
        return self._slots.data_per_slot * self.antennas.rank

    @cached_property
    def _modes(self) -> Modes | None:
        return eigenmodes(self._slots.data_of(self.h), self.antennas)

    def send(
        self, symbols: Tensor, used: Tensor, no: Tensor, rounds: tuple[int, ...] = ()
    ) -> Arrival:
        """Pilots and layers over the slots that each image's ``used`` symbols need."""
        antennas, layout, count = self.antennas, self._slots, symbols.shape[1]
        slots = -(-count // self._symbols_per_slot)
        taken = -(-used // self._symbols_per_slot)
        mixing = layout.mixing(count, taken, rounds, layers=antennas.rank)
        spread = mixing.spread(F.pad(symbols, (0, -count % self._symbols_per_slot)))
        h, noise = self.h[:, :slots], self.noise[:, :slots]
        noise = batch_exact.scale(noise, no.sqrt()[:, None, None, None, None])
        layers = self._layers(h, noise, no)
        y = times(layout.data_of(h), layers.precode(spread)) + layout.data_of(noise)
        z, gains, variances = layers.separate(y)
        return Arrival(
            y=mixing.turn_back(mixing.gather(z, count)),
            h=mixing.gather(gains, count),
            no=mixing.gather(variances, count),
            uses=taken * h.shape[2:4].numel(),
            pilots=taken * self.pilots_per_slot,
            padding=taken * self._symbols_per_slot - used,
        )

    def _layers(self, h: Tensor, noise: Tensor, no: Tensor) -> Layers:
        """The channel as the receiver knows it, and as it tells the transmitter."""
        pilots, data_of = self.known_by(str(h.device)), self._slots.data_of
        if not pilots:
            known = data_of(h)
            modes = self._modes.first(known.shape[1]) if self._modes else None
            return Layers(antennas=self.antennas, h=known, no=no[:, None], modes=modes)
        columns, errors = [], []
        for antenna, known_by in enumerate(pilots):
            sent = known_by.pilots.sent()
            rows = []
            for i in range(self.antennas.rx):
                y = batch_exact.multiply(h[..., i, antenna], sent) + noise[..., i]
                gains, error = known_by.estimator(y, no[:, None, None, None], 1.0)
                rows.append(gains)
            columns.append(torch.stack(rows, dim=-1))
            errors.append(error.expand(gains.shape))
        known = data_of(torch.stack(columns, dim=-1))
        # Each antenna sends its share of the power, and each error meets it.
        left = data_of(torch.stack(errors, dim=-1).mean(dim=-1))
        return Layers(
            antennas=self.antennas,
            h=known,
            no=no[:, None] + left,
            modes=eigenmodes(known, self.antennas),
        )
