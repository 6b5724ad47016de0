"""Generalised divisive normalisation."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_BETA_MIN = 1e-6
_PEDESTAL = 2.0**-18  # where gamma is 0 its root has no gradient: start a little beside it


class GDN(nn.Module):
    """y_i = x_i / sqrt(beta_i + sum_j gamma_ij x_j^2) at every pixel; [B, C, H, W] to the same.

    inverse: multiply by the root instead. beta starts at 1 and gamma at 0.1 times the identity;
    both stay positive as squares of what is trained.

    Source: Balle et al., ICLR 2016, Eq. (1) with the exponents of ICLR 2017, appendix.
    """

    def __init__(self, *, channels: int, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta_root = nn.Parameter(torch.ones(channels))
        self.gamma_root = nn.Parameter(0.1**0.5 * torch.eye(channels) + _PEDESTAL)

    def forward(self, x: Tensor) -> Tensor:
        gamma = self.gamma_root.square()[:, :, None, None]
        norm = F.conv2d(x.square(), gamma, self.beta_root.square() + _BETA_MIN).sqrt()
        return x * norm if self.inverse else x / norm
