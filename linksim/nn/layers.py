"""Layers that several codecs share. Feature maps are channels-last throughout: [B, H, W, C]."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from linksim.errors import InputError

ONEDNN_LINEAR = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
"""(x, weight, bias, …) in oneDNN; None where torch was built without it."""


_NARROW = 16
"""Inputs up to which oneDNN is the faster one for a weight's gradient as well."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear``, on a CPU through oneDNN in float32 as well.

    x [..., in], weight [out, in], bias [out] -> [..., out]. torch hands bfloat16 products to oneDNN
    and float32 ones to MKL, which on AMD processors is the slower by a third for the tall, thin
    products of these codecs. The operator is the one that torch.compile emits; it knows no
    gradient, which :class:`_OnednnLinear` adds.
    """
    if (
        ONEDNN_LINEAR is None
        or torch.is_autocast_enabled("cpu")
        or x.device.type != "cpu"
        or x.dtype != torch.float32
        or weight.dtype != torch.float32
        or torch.compiler.is_compiling()  # which wants the weight as a constant of the graph there
    ):
        return F.linear(x, weight, bias)
    if not torch.is_grad_enabled():
        return _onednn(x, weight, bias)
    return _OnednnLinear.apply(x, weight, bias)  # type: ignore[no-any-return]


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return ONEDNN_LINEAR(x, weight, bias, "none", [], "")  # type: ignore[no-any-return, misc]


class _OnednnLinear(torch.autograd.Function):
    """The product with gradients. That of the weight sums over tokens, for which MKL is the better
    but where the inputs are few."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        tokens, errors = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
        d_weight = None
        if needs_weight and weight.shape[1] <= _NARROW:
            d_weight = _onednn(tokens.t(), errors.t()).t()
        elif needs_weight:
            d_weight = errors.t() @ tokens
        return (
            _onednn(dy.contiguous(), weight.t().contiguous()) if needs_x else None,
            d_weight,
            errors.sum(0) if needs_bias else None,
        )


class Linear(nn.Linear):
    """``nn.Linear`` by :func:`linear`."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


class PatchMerging(nn.Module):
    """Halve both sides: the 2x2 neighbourhood concatenated, LayerNorm, linear without bias.

    [B, H, W, dim] with even H and W -> [B, H/2, W/2, out_dim]. Source: Liu et al., Swin
    Transformer, ICCV 2021, section 3.1.
    """

    def __init__(self, *, dim: int, out_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = Linear(4 * dim, out_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        B, H, W, C = x.shape
        quads = x.view(B, H // 2, 2, W // 2, 2, C).transpose(2, 3).reshape(B, H // 2, W // 2, 4 * C)
        return self.reduction(self.norm(quads))  # type: ignore[no-any-return]


class PatchDivision(nn.Module):
    """Double both sides: LayerNorm, linear without bias, pixel shuffle by 2.

    [B, H, W, dim] -> [B, 2H, 2W, out_dim]. The mirror of :class:`PatchMerging` in the decoders of
    SwinJSCC (Yang et al., IEEE TCCN 2024) and MambaJSCC (Wu et al., arXiv 2409.16592).
    """

    def __init__(self, *, dim: int, out_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.expansion = Linear(dim, 4 * out_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        B, H, W, _ = x.shape
        quads = self.expansion(self.norm(x)).view(B, H, W, 2, 2, -1)
        return quads.transpose(2, 3).reshape(B, 2 * H, 2 * W, -1)  # type: ignore[no-any-return]


class ChannelModNet(nn.Module):
    """Scale every channel of every token by a factor learned from the token and the SNR.

    tokens [B, H, W, dim], snr_db [B] in dB -> [B, H, W, dim]. With m = 1.5 dim: linear dim -> m of
    the detached tokens; seven times a multiplication by g_i(SNR) and a linear layer, the last of
    them m -> dim; a sigmoid; the product with the tokens. Source: Yang et al., SwinJSCC, IEEE TCCN
    2024, Channel ModNet.

    Raises InputError where the SNR is withheld: the network has no value that stands for "unknown".
    """

    def __init__(self, *, dim: int, steps: int = 7) -> None:
        super().__init__()
        hidden = dim * 3 // 2
        self.entry = nn.Linear(dim, hidden)
        self.gates = nn.ModuleList(_snr_gate(hidden) for _ in range(steps))
        outputs = [hidden] * (steps - 1) + [dim]
        self.linears = nn.ModuleList(nn.Linear(hidden, width) for width in outputs)

    def forward(self, tokens: Tensor, snr_db: Tensor | None) -> Tensor:
        return tokens * self.factors(tokens, snr_db)

    def factors(self, tokens: Tensor, snr_db: Tensor | None) -> Tensor:
        """What the tokens are multiplied with, in (0, 1): [B, H, W, dim].

        SwinJSCC's rate adaptation calls it with a number of channels in place of the SNR.
        """
        if snr_db is None:
            raise InputError(
                "Channel ModNet needs an SNR in dB on both sides; this side was told none"
            )
        x = self.entry(tokens.detach())
        with torch.autocast(tokens.device.type, enabled=False):  # the SNR stays in float32
            gates = [gate(snr_db.float()[:, None, None, None]) for gate in self.gates]
        for gate, linear in zip(gates, self.linears, strict=True):
            x = linear(x * gate.to(x.dtype))
        return torch.sigmoid(x)


def _snr_gate(width: int) -> nn.Sequential:
    """g: SNR in dB [..., 1] -> factors in (0, 1) [..., width]."""
    return nn.Sequential(
        nn.Linear(1, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.Sigmoid(),
    )
