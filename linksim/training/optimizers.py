"""What changes the weights: AdamW, or Muon for the matrices and AdamW for the rest."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from linksim.runtime.devices import computes_in_bf16
from linksim.training.recipe import Recipe

SMALLEST_MATRIX = 16
"""Below so many rows or columns there is little to orthogonalise: AdamW keeps it."""


def new_optimizers(
    recipe: Recipe, codec: nn.Module, transform: Sequence[nn.Parameter] = ()
) -> list[Optimizer]:
    """The recipe's optimisers over a codec's parameters; none is in two of them.

    Each group of parameters holds its learning rate at its ``peak`` too. Those of ``transform``
    take ``lr_transform``, in a group after that of the others.
    """
    held = {id(parameter) for parameter in transform}
    matrices = {id(m) for m in _matrices(codec)} if recipe.optimizer == "muon" else set()

    def groups(of_muon: bool) -> list[dict[str, Any]]:
        chosen = [p for p in codec.parameters() if (id(p) in matrices) == of_muon]
        rest = [p for p in chosen if id(p) not in held], recipe.lr
        filled = [p for p in chosen if id(p) in held], recipe.lr_transform or recipe.lr
        return [{"params": ps, "lr": lr, "peak": lr} for ps, lr in (rest, filled) if ps]

    optimizers: list[Optimizer] = []
    if of_adamw := groups(of_muon=False):
        optimizers.append(AdamW(of_adamw, weight_decay=recipe.weight_decay, fused=True))
    if of_muon := groups(of_muon=True):
        optimizers.append(MuonOfLayers(of_muon, weight_decay=recipe.weight_decay))
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
    for each slice along its weight's first axis. Where the device does not multiply bfloat16 in
    hardware, float32 takes its place: torch's own emulates it, which takes three quarters of
    SwinJSCC's step on a processor without AVX-512.

    groups: of parameters, as torch's optimisers take them.
    Sources: Jordan et al., Muon, 2024 (kellerjordan.github.io/posts/muon), with its treatment of
    convolutions; the scale: Liu et al., Muon is Scalable for LLM Training, arXiv 2502.16982,
    section 2.2.
    """

    def __init__(self, groups: Sequence[dict[str, Any]], *, weight_decay: float) -> None:
        self._pairs: list[tuple[nn.Parameter, nn.Parameter]] = []
        flat = []
        for group in groups:
            matrices = [nn.Parameter(_flat(parameter)) for parameter in group["params"]]
            self._pairs += zip(group["params"], matrices, strict=True)
            flat.append({**group, "params": matrices})
        super().__init__(flat, weight_decay=weight_decay)

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        self._follow()
        for parameter, matrix in self._pairs:
            grad = parameter.grad
            matrix.grad = None if grad is None else grad.reshape(matrix.shape)
        loss = None if closure is None else closure()
        with torch.no_grad():
            for group in self.param_groups:
                for matrix in group["params"]:
                    if matrix.grad is not None:
                        self._update(matrix, group)
        return loss

    def _update(self, matrix: nn.Parameter, group: dict[str, Any]) -> None:
        grad, state, momentum = matrix.grad, self.state[matrix], group["momentum"]
        assert grad is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(grad)
        average = state["momentum_buffer"].lerp_(grad, 1 - momentum)
        update = _orthogonalised(grad.lerp(average, momentum), group)
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        matrix.add_(update, alpha=-group["lr"] * 0.2 * math.sqrt(max(matrix.shape)))

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


def _orthogonalised(matrix: torch.Tensor, group: dict[str, Any]) -> torch.Tensor:
    """The matrix with all singular values brought near 1, by Newton and Schulz's iteration."""
    a, b, c = group["ns_coefficients"]
    x = matrix.to(torch.bfloat16 if computes_in_bf16(matrix.device) else torch.float32)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp(min=group["eps"])
    for _ in range(group["ns_steps"]):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
