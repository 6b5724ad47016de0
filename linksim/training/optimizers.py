"""What changes the weights: AdamW, or Muon for the matrices and AdamW for the rest."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from linksim.runtime.devices import computes_in_bf16
from linksim.training.recipe import Recipe

SMALLEST_MATRIX = 16
"""Below so many rows or columns there is little to orthogonalise: AdamW keeps it."""

_MOMENTUM = 0.95
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


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


def _matrices(codec: nn.Module) -> Iterable[Tensor]:
    """Weights of linear layers and of convolutions over all channels, but for the small ones."""
    for module in codec.modules():
        if not isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d):
            continue
        weight = module.weight
        if getattr(module, "groups", 1) == 1 and min(weight.flatten(1).shape) >= SMALLEST_MATRIX:
            yield weight


class MuonOfLayers(Optimizer):
    """Muon for weights of layers, convolutions among them, each as a matrix.

    The momentum of every weight (0.95, Nesterov's) is orthogonalised before it is added, and scaled
    to the size of AdamW's updates, so that both share their learning rates. A convolution is
    flattened to a row for each slice along its weight's first axis. On matrices it does what
    :class:`torch.optim.Muon` does, which takes nothing else; but where the device does not multiply
    bfloat16 in hardware, float32 takes its place: torch's own emulates it, which takes three
    quarters of SwinJSCC's step on a processor without AVX-512.

    groups: of parameters, each with its ``lr``, as torch's optimisers take them.
    Sources: Jordan et al., Muon, 2024 (kellerjordan.github.io/posts/muon), with its treatment of
    convolutions; the scale: Liu et al., Muon is Scalable for LLM Training, arXiv 2502.16982,
    section 2.2.
    """

    def __init__(self, groups: Sequence[dict[str, Any]], *, weight_decay: float) -> None:
        super().__init__(groups, {"weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, weight.grad, group)
        return loss

    def _update(self, weight: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state, grad = self.state[weight], grad.flatten(1)
        if not state:
            state["momentum_buffer"] = torch.zeros_like(grad)
        average = state["momentum_buffer"].lerp_(grad, 1 - _MOMENTUM)
        update = _orthogonalised(grad.lerp(average, _MOMENTUM))
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        size = 0.2 * math.sqrt(max(update.shape))
        weight.add_(update.view_as(weight), alpha=-group["lr"] * size)


def _orthogonalised(matrix: Tensor) -> Tensor:
    """The matrix with all singular values brought near 1, by Newton and Schulz's iteration."""
    a, b, c = _NEWTON_SCHULZ
    x = matrix.to(torch.bfloat16 if computes_in_bf16(matrix.device) else torch.float32)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
