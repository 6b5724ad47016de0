"""Symbols that a digital radio can send: the points of a square QAM, for analogue symbols too."""

from functools import lru_cache
from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from linksim.settings import Settings

_SQUARES = (4, 16, 64, 256, 1024, 4096)


class Constellation(Settings):
    """Analogue symbols leave as the nearest points of a QAM; coded ones are points of their own.

    points: of the QAM, 4, 16, 64, 256, 1024 or 4096.
    assignment: what gradients see, the points sent being the nearest ones either way.
        ``straight_through`` passes them on as if nothing had been rounded (Y. Bengio, N. Leonard
        and A. Courville, Estimating or Propagating Gradients Through Stochastic Neurons, 2013);
        ``soft`` takes those of the mean over all points, weighted by exp(-sharpness * distance^2)
        (T.-Y. Tung et al., DeepJSCC-Q: Constellation Constrained Deep Joint Source-Channel Coding,
        IEEE JSAIT, 2022, section III).
    sharpness: of the soft assignment, for points of unit mean power.
    """

    points: int
    assignment: Literal["straight_through", "soft"] = "straight_through"
    sharpness: float = Field(default=5.0, gt=0, le=1e6)

    @field_validator("points")
    @classmethod
    def _square(cls, points: int) -> int:
        if points not in _SQUARES:
            allowed = ", ".join(map(str, _SQUARES))
            raise ValueError(f"{points} points are no square QAM; allowed are {allowed}")
        return points

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.points}-QAM points"

    def __call__(self, symbols: Tensor) -> Tensor:
        """The nearest points, complex64 [B, N], of symbols [B, N] of unit mean power.

        They have about unit power, not exactly: how often each point is taken is the symbols' own.
        """
        levels = qam_levels(self.points, str(symbols.device))
        parts = torch.view_as_real(symbols)
        nearest = levels[torch.bucketize(parts.detach(), (levels[1:] + levels[:-1]) / 2)]
        if parts.requires_grad:
            followed = parts if self.assignment == "straight_through" else self._soft(parts, levels)
            nearest = nearest + (followed - followed.detach())
        return torch.view_as_complex(nearest)

    def _soft(self, parts: Tensor, levels: Tensor) -> Tensor:
        """The weighted means; those of a square QAM are those of its two parts."""
        distance = (parts[..., None] - levels).square()
        return (-self.sharpness * distance).softmax(dim=-1) @ levels


@lru_cache
def qam_levels(points: int, device: str) -> Tensor:
    """Rising values of either part of a square QAM of unit power, float32 [sqrt(points)]."""
    from sionna.phy.mapping import qam

    bits = points.bit_length() - 1
    parts = torch.as_tensor(qam(bits)).real.double().sort().values
    return parts.reshape(-1, round(points**0.5)).mean(dim=1).float().to(device)
