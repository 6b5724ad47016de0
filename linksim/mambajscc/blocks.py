"""The VSSM-CA block of MambaJSCC, channels-last.

    x --LayerNorm--> SS2D --(+)--LayerNorm--> channel MLP --(+)-->
    |_______________________| |______________________________|

    SS2D:  linear --> a: depthwise 3x3, SiLU --> selective scans along several orders, added
                  |                              --> LayerNorm --(x)--> linear
                  '-> z: SiLU ------------------------------------'

Source: Wu et al., "MambaJSCC: Adaptive Deep Joint Source-Channel Coding with Generalized State
Space Model", arXiv 2409.16592, figure 3 and section IV; the initial values are those of Mamba (Gu
and Dao, arXiv 2312.00752).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import StochasticDepth

from linksim.nn.layers import Linear, linear
from linksim.selective_scan import ScanParameters, selective_scan_bidirectional
from linksim.selective_scan.initial import initial_a_log, initial_delta_bias

STATES = 16
"""N, the states of each channel's recurrence."""

ScanDirections = Literal[2, 4]
Activation = Literal["silu", "gelu"]


@dataclass(frozen=True, kw_only=True)
class BlockConfig:
    """What all blocks of a codec have in common.

    csi_rest: start every scan from the SNR (CSI-ReST); False leaves the SNR unused.
    csi_interval: set the first state to the SNR before every csi_interval-th token; None does so
        before the first token only.
    csi_start: False leaves the state before the first token at zero: the authors' kernel.
    activation: after the convolution and on the gate. The paper says SiLU; the authors' published
        configuration has GELU.
    scan_directions: 2 scans the raster order and its reversal; 4 the column order and its reversal
        as well (VMamba's cross scan).
    mlp: False leaves the channel MLP out.
    """

    csi_rest: bool = True
    csi_interval: int | None = None
    csi_start: bool = True
    activation: Activation = "silu"
    scan_directions: ScanDirections = 2
    mlp: bool = True


class VSSMBlock(nn.Module):
    """One VSSM-CA block: x [B, H, W, dim] and snr_db [B], or None, -> [B, H, W, dim].

    drop_path: probability with which training skips a branch of one image.
    """

    def __init__(self, *, dim: int, config: BlockConfig, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.ss2d = SS2D(dim=dim, config=config)
        self.mlp = ChannelMLP(dim=dim) if config.mlp else None
        self.drop_path = StochasticDepth(drop_path, "row") if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor, snr_db: Tensor | None) -> Tensor:
        x = x + self.drop_path(self.ss2d(self.norm(x), snr_db))
        return x if self.mlp is None else x + self.drop_path(self.mlp(x))

    def branches(self) -> Iterator[tuple[nn.LayerNorm, nn.Module]]:
        """The first and the last layer of each residual branch."""
        yield self.norm, self.ss2d.out_proj
        if self.mlp is not None and isinstance(self.mlp[0], nn.LayerNorm):
            yield self.mlp[0], self.mlp[-1]


class ChannelMLP(nn.Sequential):
    """LayerNorm, dim -> dim, GELU, dim -> dim: the channel attention of the block's name."""

    def __init__(self, *, dim: int) -> None:
        super().__init__(nn.LayerNorm(dim), Linear(dim, dim), nn.GELU(), Linear(dim, dim))


class SS2D(nn.Module):
    """Gated two-dimensional scan: x [B, H, W, dim], snr_db [B] or None -> [B, H, W, dim]."""

    def __init__(self, *, dim: int, config: BlockConfig) -> None:
        super().__init__()
        inner = 2 * dim
        self.activation = config.activation
        self.in_proj = Linear(dim, 2 * inner, bias=False)
        self.conv = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.rows = BidirectionalScan(channels=inner, config=config)
        both = config.scan_directions == 4
        self.columns = BidirectionalScan(channels=inner, config=config) if both else None
        self.norm = nn.LayerNorm(inner)
        self.out_proj = Linear(inner, dim, bias=False)

    def forward(self, x: Tensor, snr_db: Tensor | None) -> Tensor:
        # Two products with the halves of one weight: each result is contiguous, nothing is copied.
        to_a, to_z = self.in_proj.weight.chunk(2)
        y = self.norm(self._scans(x, to_a, snr_db))
        reuse = not torch.is_grad_enabled()  # gradients need what is overwritten in place
        gate = self._activate(linear(x, to_z))
        return self.out_proj(y.mul_(gate) if reuse else y * gate)  # type: ignore[no-any-return]

    def _scans(self, x: Tensor, to_a: Tensor, snr_db: Tensor | None) -> Tensor:
        """Projection, convolution, activation and all scans, added; [B, H, W, 2 dim]."""
        a = self.conv(linear(x, to_a).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        a = self._activate(a)
        y: Tensor = self.rows(a.flatten(1, 2), snr_db).view_as(a)
        if self.columns is not None:
            turned = a.transpose(1, 2)
            across: Tensor = self.columns(turned.flatten(1, 2), snr_db).view_as(turned)
            y = y + across.transpose(1, 2)
        return y

    def _activate(self, x: Tensor) -> Tensor:
        """In place where no gradient needs what was there."""
        if self.activation == "gelu":
            return F.gelu(x)
        return F.silu(x, inplace=not torch.is_grad_enabled())


class BidirectionalScan(nn.Module):
    """Two GSSMs over one sequence, along it and against it, added; they share no parameters.

    a [B, L, channels], snr_db [B] or None -> [B, L, channels]. Each GSSM draws Δ, B and C from
    the tokens and runs h_k = exp(Δ_k A) h_{k-1} + Δ_k B_k a_k, y_k = C_k h_k + D a_k.

    Parameters are stacked over the two directions: A_log [2, channels, N], D and dt_bias
    [2, channels], dt_weight [2, channels, rank], x_proj of 2 * (rank + 2N) outputs. The rank of Δ
    is a 16th of the block's width, which is half the channels.
    """

    def __init__(self, *, channels: int, config: BlockConfig) -> None:
        super().__init__()
        self.config = config
        self.rank = -(-channels // (2 * 16))
        self.x_proj = Linear(channels, 2 * (self.rank + 2 * STATES), bias=False)
        self.dt_weight = nn.Parameter(torch.empty(2, channels, self.rank))
        self.dt_bias = nn.Parameter(torch.empty(2, channels))
        self.A_log = nn.Parameter(torch.empty(2, channels, STATES))
        self.D = nn.Parameter(torch.ones(2, channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """A = -1..-N, D = 1, softplus(dt_bias) log-uniform in [0.001, 0.1], dt_weight ± R^-1/2."""
        nn.init.uniform_(self.dt_weight, -(self.rank**-0.5), self.rank**-0.5)
        nn.init.ones_(self.D)
        with torch.no_grad():
            self.A_log.copy_(initial_a_log(*self.A_log.shape))
            self.dt_bias.copy_(initial_delta_bias(*self.dt_bias.shape))

    def forward(self, a: Tensor, snr_db: Tensor | None) -> Tensor:
        ahead, back = self.x_proj(a).chunk(2, dim=-1)
        return selective_scan_bidirectional(
            a,
            self._parameters_of(0, ahead),
            self._parameters_of(1, back),
            delta_softplus=True,
            csi=snr_db if self.config.csi_rest else None,
            csi_interval=self.config.csi_interval,
            csi_start=self.config.csi_start,
        )

    def _parameters_of(self, direction: int, projected: Tensor) -> ScanParameters:
        delta_rank, B, C = torch.split(projected, [self.rank, STATES, STATES], dim=-1)
        return ScanParameters(
            delta=linear(delta_rank, self.dt_weight[direction]),
            A=-self.A_log[direction].exp(),
            B=B,
            C=C,
            D=self.D[direction],
            delta_bias=self.dt_bias[direction],
        )
