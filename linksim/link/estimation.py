"""What a receiver makes of the pilots of OFDM slots: the channel's gains, and how far they are off.

At a pilot p, y/p is the gain with noise of variance no/|p|^2 (J.-J. van de Beek et al., On Channel
Estimation in OFDM Systems, VTC 1995). From there

- least squares (LS) interpolates, and shrinks what it finds by what is known of its errors;
- linear minimum mean squared error (LMMSE) weighs all pilots of a slot by the covariance of the
  channel (O. Edfors et al., OFDM Channel Estimation by Singular Value Decomposition, IEEE Trans.
  Commun., 1998): that of its profile, or a robust one that fits every profile (Y. Li, L. J. Cimini
  and N. R. Sollenberger, Robust Channel Estimation for OFDM Systems with Rapid Dispersive Fading
  Channels, IEEE Trans. Commun., 1998).

Both give the mean of the channel given the estimate, and the variance around it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Self

import torch
from torch import Tensor

from linksim.link.pilots import PilotGrid
from linksim.runtime import batch_exact


@dataclass(frozen=True, kw_only=True)
class LinearInterpolation:
    """Values at some places of a line to values at all of them.

    lower, upper: int64 [n], which of the known values lie on either side of a place; beyond the
    outermost both are the outermost. weight: float32 [n], of the upper one.
    """

    lower: Tensor
    upper: Tensor
    weight: Tensor

    @classmethod
    def between(cls, places: Sequence[int], length: int, device: str) -> Self:
        """From sorted places to 0 … length - 1."""
        known, wanted = torch.tensor(places), torch.arange(length)
        last = len(places) - 1
        lower = (torch.searchsorted(known, wanted, right=True) - 1).clamp(0, last)
        upper = torch.searchsorted(known, wanted).clamp(0, last)
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


class Estimator(ABC):
    """Gains of a slot from its pilots, each slot on its own."""

    @abstractmethod
    def __call__(self, y: Tensor, noise: Tensor, gain: float) -> tuple[Tensor, Tensor]:
        """(estimates, error variance) of slots received, complex64 [B, n, S, F].

        noise: float32 [B, 1, 1, 1], variance of all in y that is not gain * h * pilot. What is
        estimated is gain * h, by its mean given the pilots; the variance, [B, 1, S, F], is around
        that.
        """


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Second moments of gains h and of what is interpolated from the noiseless pilots, h_0.

    cross: complex64 [S, F], E[h h_0*] over E|h|^2. own: float32 [S, F], E|h_0|^2 over E|h|^2.
    """

    cross: Tensor
    own: Tensor

    @classmethod
    def of(cls, h: Tensor, h_0: Tensor) -> Self:
        """Of a channel's draws, complex64 [draws, S, F]."""
        h, h_0 = h.to(torch.complex128), h_0.to(torch.complex128)
        power = h.abs().square().mean(dim=0)
        cross, own = (h * h_0.conj()).mean(dim=0), h_0.abs().square().mean(dim=0)
        return cls(cross=(cross / power).to(torch.complex64), own=(own / power).float())

    def to(self, device: str) -> "Moments":
        """The same on a device."""
        return Moments(cross=self.cross.to(device), own=self.own.to(device))


class LeastSquares:
    """Interpolation of what the pilots of a slot say: linear over subcarriers, the outermost pilots
    holding beyond them; over OFDM symbols an ``average`` of those with pilots, or ``linear``.

    noise_gain: float32 [S, F], variance of the outcome over that of the noise at the pilots.
    """

    def __init__(self, pilots: PilotGrid, *, over_time: str) -> None:
        self._pilots = pilots
        self._over_frequency = LinearInterpolation.between(
            pilots.columns, pilots.subcarriers, pilots.device
        )
        self._over_time = (
            LinearInterpolation.between(pilots.rows, pilots.symbols, pilots.device)
            if over_time == "linear"
            else None
        )
        over_symbols = (
            torch.full((pilots.symbols,), 1 / len(pilots.rows), device=pilots.device)
            if self._over_time is None
            else self._over_time.noise_gain
        )
        self.noise_gain = over_symbols[:, None] * self._over_frequency.noise_gain

    def __call__(self, at_pilots: Tensor) -> Tensor:
        """Gains at all resource elements, [..., S, F], of those at the pilots, [..., R, C]."""
        rows = self._over_frequency(at_pilots)
        if self._over_time is not None:
            return self._over_time(rows.mT).mT
        mean = reduce(torch.add, rows.unbind(dim=-2)) / rows.shape[-2]
        return mean[..., None, :].expand(*mean.shape[:-1], self._pilots.symbols, -1)


class LsEstimator(Estimator):
    """Least squares, shrunk to the mean of the channel given the estimate.

    With h_hat = h_0 + e of ``moments``, that is E[h h_hat*] / E|h_hat|^2 * h_hat, and the variance
    around it E|h|^2 - |E[h h_hat*]|^2 / E|h_hat|^2 (S. M. Kay, Estimation Theory, section 12.3).
    """

    def __init__(self, pilots: PilotGrid, moments: Moments, *, over_time: str) -> None:
        self._pilots = pilots
        self._interpolate = LeastSquares(pilots, over_time=over_time)
        self._moments = moments.to(pilots.device)

    def __call__(self, y: Tensor, noise: Tensor, gain: float) -> tuple[Tensor, Tensor]:
        """As :class:`Estimator` says."""
        h_hat = self._interpolate(self._pilots.received(y))
        own = gain**2 * self._moments.own + noise * self._interpolate.noise_gain
        cross = gain**2 * self._moments.cross
        shrink = batch_exact.divide(cross.expand_as(own), own)
        power = cross.real.square() + cross.imag.square()
        error = (gain**2 - power / own).clamp(min=0)
        return batch_exact.multiply(shrink.expand_as(h_hat), h_hat), error


@dataclass(frozen=True, kw_only=True)
class Covariance:
    """E[h h^H] of a slot is the Kronecker product of the two; complex128.

    time: [S, S], of the gains of a subcarrier. frequency: [F, F], of those of an OFDM symbol.
    """

    time: Tensor
    frequency: Tensor

    @classmethod
    def robust(
        cls, symbols: int, subcarriers: int, *, longest_delay: float, largest_doppler: float
    ) -> Self:
        """For a channel of which only the limits are known: delays spread evenly from 0 to
        ``longest_delay``, as a fraction of an OFDM symbol without prefix, and Doppler shifts evenly
        up to ``largest_doppler``, as a fraction of the rate of OFDM symbols (Li et al., section
        III).

        What it announces of its errors is right for slow channels (measured: 0 to 5 % too little
        at 0.001 of the subcarrier spacing) and 7 to 19 % too little at the largest shift, 0.02 of
        it, which turns the channel too fast for the few symbols with pilots of a slot (TDL-A to
        TDL-C and CDL-C, 150 ns, 10 dB, two symbols of 14)."""
        delay = torch.arange(subcarriers, dtype=torch.float64) * longest_delay
        shift = torch.arange(symbols, dtype=torch.float64) * 2 * largest_doppler
        frequency = torch.polar(torch.sinc(delay), -torch.pi * delay)
        return cls(
            time=_toeplitz(torch.sinc(shift).to(torch.complex128)), frequency=_toeplitz(frequency)
        )


def _toeplitz(column: Tensor) -> Tensor:
    """The Hermitian Toeplitz matrix with that first column."""
    distance = torch.arange(len(column))[:, None] - torch.arange(len(column))
    values = column[distance.abs()]
    return torch.where(distance < 0, values.conj(), values)


class LmmseEstimator(Estimator):
    """Linear minimum mean squared error from all pilots of a slot at once.

    h_hat = R_hp (R_pp + noise I)^-1 h_p, with error variance diag(R - R_hp (R_pp + noise I)^-1
    R_ph). Since R is a Kronecker product and the pilots stand in rows and columns, the eigenvectors
    of R_pp are products of those of its factors, and no matrix is larger than a slot is wide.
    """

    def __init__(self, pilots: PilotGrid, covariance: Covariance) -> None:
        self._pilots = pilots
        over_time = _Factor.of(covariance.time, pilots.rows, pilots.device)
        over_frequency = _Factor.of(covariance.frequency, pilots.columns, pilots.device)
        self._time, self._frequency = over_time, over_frequency
        self._powers = (over_time.powers[:, None] * over_frequency.powers).float()

    def __call__(self, y: Tensor, noise: Tensor, gain: float) -> tuple[Tensor, Tensor]:
        """As :class:`Estimator` says; ``gain`` enters the covariance."""
        weights = gain**2 / (gain**2 * self._powers + noise[:, 0])  # [B, R, C]
        time, frequency = self._time, self._frequency
        received = self._pilots.received(y)
        estimates, errors = [], []
        # Image by image, since a product's last bit depends on how many are computed at once.
        for at_pilots, weight in zip(received, weights.expand(len(y), -1, -1), strict=True):
            modes = time.vectors.mH @ at_pilots @ frequency.vectors.conj()
            estimates.append(time.spread @ (modes * weight) @ frequency.spread.mT)
            known = time.spread.abs().square() @ weight @ frequency.spread.abs().square().mT
            errors.append((gain**2 * (1 - known)).clamp(min=0))
        return torch.stack(estimates), torch.stack(errors)[:, None]


@dataclass(frozen=True, kw_only=True)
class _Factor:
    """One factor of a covariance and the pilots' places in it.

    vectors, powers: complex64 [P, P] and float64 [P], eigenvectors and -values of R_pp.
    spread: complex64 [n, P], R_np times the eigenvectors.
    """

    vectors: Tensor
    powers: Tensor
    spread: Tensor

    @classmethod
    def of(cls, covariance: Tensor, places: Sequence[int], device: str) -> Self:
        columns = covariance[:, torch.tensor(places)]
        powers, vectors = torch.linalg.eigh(columns[torch.tensor(places)])
        return cls(
            vectors=vectors.to(device, torch.complex64),
            powers=powers.clamp(min=0).to(device),
            spread=(columns @ vectors).to(device, torch.complex64),
        )
