"""A channel for the tests, as a user writes one."""

import torch
from torch import Tensor

from linksim import FlatChannel


class Nakagami(FlatChannel):
    """Nakagami-m fading, an independent gain every symbol."""

    m: int = 4

    def gains(self, batch: int, length: int, generator: torch.Generator, device: str) -> Tensor:
        waves = torch.randn(batch, length, 2 * self.m, generator=generator, device=device)
        return waves.square().mean(dim=2).sqrt().to(torch.complex64)
