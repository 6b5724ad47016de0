"""A link whose fading and noise are drawn where images are sent, without a copy from the CPU."""

from collections.abc import Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor

from linksim.link.channel import Realisation
from linksim.link.link import Link


class DrawnOnDevice(Link):
    """A :class:`linksim.link.link.Link` that draws with the device's own generator.

    Draws still depend on the seed of each image alone, but they are others than those of the CPU:
    results made with these are not paired with results made with those.
    """

    def draw(self, seeds: Sequence[int], max_symbols: int, device: torch.device) -> Realisation:
        """Channel realisations with room for that many data symbols, one a seed."""
        draws = [self.channel.draw_batch(seed, 1, max_symbols, device) for seed in seeds]
        joined = {
            field.name: torch.cat([getattr(draw, field.name) for draw in draws])
            for field in fields(draws[0])
            if isinstance(getattr(draws[0], field.name), Tensor)
        }
        return replace(draws[0], **joined)
