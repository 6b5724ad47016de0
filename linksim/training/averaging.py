"""The average of the weights over the steps, which is what a training leaves."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """Exponential moving average of a module's floating-point parameters and buffers.

    After step k it is decay * (what it was) + (1 - decay) * (the weights of step k); after the
    first one it is those weights.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._live = {
            name: value for name, value in module.state_dict().items() if value.is_floating_point()
        }
        self._mean = {name: value.clone() for name, value in self._live.items()}
        self._decay = decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from 1."""
        weight = 1 - self._decay if step > 1 else 1.0
        torch._foreach_lerp_([*self._mean.values()], [*self._live.values()], weight)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The module holds the averaged weights meanwhile."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the module's weights and the averaged ones."""
        kept = [value.clone() for value in self._live.values()]
        torch._foreach_copy_([*self._live.values()], [*self._mean.values()])
        torch._foreach_copy_([*self._mean.values()], kept)

    def state(self) -> dict[str, Tensor]:
        """The averaged tensors by name."""
        return dict(self._mean)

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over what :meth:`state` gave."""
        for name, value in self._mean.items():
            value.copy_(state[name])
