"""Least-squares estimation of an OFDM channel from its pilots.

At a pilot p the estimate is y/p, its error variance no/|p|^2 (J.-J. van de Beek et al., On Channel
Estimation in OFDM Systems, VTC 1995). Between the pilots it is interpolated linearly, first over
subcarriers and then over OFDM symbols, and extrapolated beyond the outermost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from linksim import batch_exact
from linksim.link.pilots import PilotPattern
from linksim.seeding import derive_seed


@dataclass(frozen=True, kw_only=True)
class LinearInterpolation:
    """Values at some places of a line to values at all of them.

    lower, upper: int64 [n], which of the known values lie on either side of a place (or next to
    it, at the ends). weight: float32 [n], of the upper one; outside [0, 1] it extrapolates.
    """

    lower: Tensor
    upper: Tensor
    weight: Tensor

    @classmethod
    def between(cls, places: Sequence[int], length: int, device: str) -> Self:
        """From sorted places to 0 … length - 1; constant where there is a single place."""
        known, wanted = torch.tensor(places), torch.arange(length)
        last = max(len(places) - 2, 0)
        lower = (torch.searchsorted(known, wanted, right=True) - 1).clamp(0, last)
        upper = (lower + 1).clamp(max=len(places) - 1)
        span = (known[upper] - known[lower]).clamp(min=1)
        weight = (wanted - known[lower]) / span * (upper > lower)
        return cls(lower=lower.to(device), upper=upper.to(device), weight=weight.to(device))

    def __call__(self, values: Tensor) -> Tensor:
        """Complex [..., n] of known values complex [..., places]."""
        below = batch_exact.scale(values[..., self.lower], 1 - self.weight)
        return below + batch_exact.scale(values[..., self.upper], self.weight)

    @property
    def noise_gain(self) -> Tensor:
        """Variance of the outcome for independent known values of variance 1, float32 [n]."""
        return (1 - self.weight).square() + self.weight.square()


class LsEstimator:
    """Least-squares estimation over slots of S OFDM symbols of F subcarriers, each on its own.

    places: int64 [P], where the pilots stand in a slot laid out symbol by symbol.
    values: complex64 [P], the pilots: QPSK of unit power, the same for everybody.
    noise_gain: float32 [S, F], error variance of the estimates over that of the noise, for a
        channel that is linear between pilots.
    """

    def __init__(
        self, pilots: PilotPattern, *, symbols: int, subcarriers: int, device: str
    ) -> None:
        rows = sorted(pilots.symbols)
        columns = pilots.subcarriers(subcarriers)
        first = torch.tensor(rows)[:, None] * subcarriers
        self.places = (first + torch.tensor(columns)).flatten().to(device)
        generator = torch.Generator().manual_seed(derive_seed("pilots"))
        signs = torch.randint(2, (len(self.places), 2), generator=generator) * 2 - 1
        self.values = torch.view_as_complex(signs * 0.5**0.5).to(device)
        self._shape = (len(rows), len(columns))
        self._over_frequency = LinearInterpolation.between(columns, subcarriers, device)
        self._over_time = LinearInterpolation.between(rows, symbols, device)
        self.noise_gain = self._over_time.noise_gain[:, None] * self._over_frequency.noise_gain

    def __call__(self, y: Tensor) -> Tensor:
        """Estimated gains complex64 [..., S, F] of what was received, complex64 [..., S, F]."""
        at_pilots = batch_exact.multiply(y.flatten(-2)[..., self.places], self.values.conj())
        return self.interpolate(at_pilots)

    def interpolate(self, at_pilots: Tensor) -> Tensor:
        """Gains at all resource elements, [..., S, F], of those at the pilots, [..., P]."""
        rows = self._over_frequency(at_pilots.reshape(*at_pilots.shape[:-1], *self._shape))
        return self._over_time(rows.mT).mT
