"""What changes the weights: AdamW, or Muon for the matrices and AdamW for the rest."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from linksim.training.recipe import Recipe

SMALLEST_MATRIX = 16
"""Below so many rows or columns there is little to orthogonalise: AdamW keeps it."""


def new_optimizers(
    recipe: Recipe, codec: nn.Module, transform: Sequence[nn.Parameter] = ()
) -> list[Optimizer]:
    """The recipe's optimisers over a codec's parameters; none is in two of them.

    Each group of parameters holds its learning rate at its ``peak`` too. Those of ``transform``
    take ``lr_transform``.
    """
    held = {id(parameter) for parameter in transform}
    matrices = {id(m) for m in _matrices(codec)} if recipe.optimizer == "muon" else set()
    parts: dict[bool, dict[bool, list[nn.Parameter]]] = defaultdict(lambda: defaultdict(list))
    for parameter in codec.parameters():
        parts[id(parameter) in matrices][id(parameter) in held].append(parameter)
    optimizers: list[Optimizer] = []
    for is_muon, groups in sorted(parts.items()):
        rates = [
            (p, recipe.lr_transform or recipe.lr if of else recipe.lr) for of, p in groups.items()
        ]
        if is_muon:
            optimizers.append(MuonOfLayers(rates, weight_decay=recipe.weight_decay))
        else:
            adamw: list[dict[str, Any]] = [{"params": p, "lr": lr, "peak": lr} for p, lr in rates]
            optimizers.append(AdamW(adamw, weight_decay=recipe.weight_decay, fused=True))
    return optimizers


def _matrices(codec: nn.Module) -> Iterable[torch.Tensor]:
    """Weights of linear layers and of convolutions over all channels, but for the small ones."""
    for module in codec.modules():
        if not isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d):
            continue
        weight = module.weight
        if getattr(module, "groups", 1) == 1 and min(_flat(weight).shape) >= SMALLEST_MATRIX:
            yield weight


def _flat(weight: torch.Tensor) -> torch.Tensor:
    """A matrix over the same memory: a row for each slice along the first axis."""
    return weight.detach().view(len(weight), -1)


class MuonOfLayers(Muon):
    """Muon (:class:`torch.optim.Muon`) that takes convolutions too, each as a matrix.

    The momentum of every weight is orthogonalised before it is added, and scaled to the size of
    AdamW's updates, so that both share their learning rates. A convolution is flattened to a row
    for each slice along its weight's first axis.

    groups: parameters with their learning rates.
    Sources: Jordan et al., Muon, 2024 (kellerjordan.github.io/posts/muon), with its treatment of
    convolutions; the scale: Liu et al., Muon is Scalable for LLM Training, arXiv 2502.16982,
    section 2.2.
    """

    def __init__(
        self, groups: Iterable[tuple[Sequence[nn.Parameter], float]], *, weight_decay: float
    ) -> None:
        groups = list(groups)
        self._pairs = [(p, nn.Parameter(_flat(p))) for parameters, _ in groups for p in parameters]
        flat = iter([matrix for _, matrix in self._pairs])
        given: list[dict[str, Any]] = [
            {"params": [next(flat) for _ in parameters], "lr": lr, "peak": lr}
            for parameters, lr in groups
        ]
        super().__init__(given, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        self._follow()
        for parameter, matrix in self._pairs:
            grad = parameter.grad
            matrix.grad = None if grad is None else grad.reshape(matrix.shape)
        loss: float | None = super().step(closure)  # type: ignore[no-untyped-call]
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none)
        for parameter, _ in self._pairs:
            parameter.grad = None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._follow()
        super().load_state_dict(state_dict)

    def _follow(self) -> None:
        """The parameters may have moved, to another device for one."""
        for parameter, matrix in self._pairs:
            matrix.data = _flat(parameter)
