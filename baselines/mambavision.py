"""Blocks of MambaVision (Hatamizadeh and Kautz, CVPR 2025): what the levels of MVSC are made of."""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from linksim.selective_scan import selective_scan
from linksim.selective_scan.initial import initial_a_log, initial_delta_bias

WindowPadding = Literal["none", "zeros"]

STATES = 8
"""N, the states of each channel's recurrence."""


class ConvolutionBlock(nn.Module):
    """Residual: 3x3, BatchNorm, GELU (its tanh form), 3x3, BatchNorm; [B, dim, H, W] to the same.

    The convolutions have biases, as in the public code, although a normalisation follows.
    """

    def __init__(self, *, dim: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(dim, dim, 3, padding=1),
            nn.BatchNorm2d(dim),
            nn.GELU(approximate="tanh"),
            nn.Conv2d(dim, dim, 3, padding=1),
            nn.BatchNorm2d(dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.branch(x)
        return x + branch

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """What ends the branch."""
        norm = self.branch[-1]
        assert isinstance(norm, nn.BatchNorm2d)
        return norm


class WindowLevel(nn.Module):
    """Blocks on the tokens of windows; [B, dim, H, W] to the same, for any H and W.

    The first half of the blocks (the larger one of an odd number) mix by scans, the others by
    attention.

    padding: what becomes of a map that windows of side ``window`` do not cover. ``none`` cuts the
        last windows of each row and column off at its edge, so that scan and attention see nothing
        but the map; ``zeros`` completes the map with zeros, which they look at as at the rest: the
        public code's way.
    """

    def __init__(
        self, *, dim: int, depth: int, window: int, heads: int, padding: WindowPadding = "none"
    ) -> None:
        super().__init__()
        self.window = window
        self.padding = padding
        scans = (depth + 1) // 2
        self.blocks = nn.Sequential(
            *(Block(MambaVisionMixer(dim=dim), dim=dim) for _ in range(scans)),
            *(Block(Attention(dim=dim, heads=heads), dim=dim) for _ in range(depth - scans)),
        )

    def forward(self, x: Tensor) -> Tensor:
        H, W = x.shape[2:]
        if self.padding == "zeros":
            x = F.pad(x, (0, -W % self.window, 0, -H % self.window))
        rows = [
            torch.cat([self._mix(part) for part in self._bands(band, 3)], dim=3)
            for band in self._bands(x, 2)
        ]
        return torch.cat(rows, dim=2)[:, :, :H, :W]

    def _bands(self, x: Tensor, axis: int) -> list[Tensor]:
        """Along an axis: what whole windows cover, and what is left."""
        rest = x.shape[axis] % self.window
        parts = torch.split(x, [x.shape[axis] - rest, rest], dim=axis)
        return [part for part in parts if part.shape[axis]]

    def _mix(self, x: Tensor) -> Tensor:
        """The blocks on a map of equal windows, each as high and wide as it can be."""
        B, C, H, W = x.shape
        height, width = min(self.window, H), min(self.window, W)
        rows, columns = H // height, W // width
        tokens = x.reshape(B, C, rows, height, columns, width).permute(0, 2, 4, 3, 5, 1)
        mixed: Tensor = self.blocks(tokens.reshape(-1, height * width, C))
        maps = mixed.view(B, rows, columns, height, width, C).permute(0, 5, 1, 3, 2, 4)
        return maps.reshape(x.shape)


class Block(nn.Module):
    """Pre-norm mixer and MLP of ratio 4, both residual; tokens [B, L, dim] to the same."""

    def __init__(self, mixer: "MambaVisionMixer | Attention", *, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.mixer = mixer
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = x + self.mixer(self.norm(x))
        mapped: Tensor = self.mlp(mixed)
        return mixed + mapped

    def branches(self) -> Iterator[tuple[nn.LayerNorm, nn.Module]]:
        """The first and the last layer of each residual branch."""
        yield self.norm, self.mixer.out_proj
        if isinstance(self.mlp[0], nn.LayerNorm):
            yield self.mlp[0], self.mlp[-1]


class MambaVisionMixer(nn.Module):
    """Half of the channels through a selective scan, half around it; [B, L, dim] to the same.

        linear -> x: depthwise convolution of 3, SiLU, scan -.
               -> z: depthwise convolution of 3, SiLU -------'-> concatenate -> linear

    Starts as Mamba does (Gu and Dao, arXiv 2312.00752): A = -1..-N, D = 1, step sizes log-uniform
    in [0.001, 0.1].
    """

    def __init__(self, *, dim: int) -> None:
        super().__init__()
        half = dim // 2
        self.rank = -(-dim // 16)
        self.in_proj = nn.Linear(dim, dim, bias=False)
        self.conv = nn.Conv1d(dim, dim, 3, padding="same", groups=dim, bias=False)
        self.x_proj = nn.Linear(half, self.rank + 2 * STATES, bias=False)
        self.dt_proj = nn.Linear(self.rank, half)
        self.A_log = nn.Parameter(initial_a_log(half, STATES))
        self.D = nn.Parameter(torch.ones(half))
        self.out_proj = nn.Linear(dim, dim, bias=False)
        nn.init.uniform_(self.dt_proj.weight, -(self.rank**-0.5), self.rank**-0.5)
        with torch.no_grad():
            self.dt_proj.bias.copy_(initial_delta_bias(half))

    def forward(self, tokens: Tensor) -> Tensor:
        # One depthwise convolution of all channels is that of x and that of z side by side.
        mixed = F.silu(self.conv(self.in_proj(tokens).transpose(1, 2))).transpose(1, 2)
        x, z = mixed.chunk(2, dim=-1)
        delta_rank, B, C = self.x_proj(x).split([self.rank, STATES, STATES], dim=-1)
        y = selective_scan(
            x,
            F.linear(delta_rank, self.dt_proj.weight),
            -self.A_log.exp(),
            B,
            C,
            self.D,
            self.dt_proj.bias,
            delta_softplus=True,
        )
        out: Tensor = self.out_proj(torch.cat([y, z], dim=-1))
        return out


class Attention(nn.Module):
    """Multi-head self-attention; tokens [B, L, dim] to the same."""

    def __init__(self, *, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        qkv = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out
