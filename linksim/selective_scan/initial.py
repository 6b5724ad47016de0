"""Initial values of a selective scan's parameters, as in Mamba (Gu and Dao, arXiv 2312.00752)."""

from math import log

import torch
from torch import Tensor

_DELTA_MIN, _DELTA_MAX = 0.001, 0.1


def initial_a_log(*shape: int) -> Tensor:
    """log of -A with A = -1..-N along the last axis of [..., N]."""
    return torch.arange(1, shape[-1] + 1).log().repeat(*shape[:-1], 1)


def initial_delta_bias(*shape: int) -> Tensor:
    """What softplus takes to step sizes that are log-uniform in [0.001, 0.1]."""
    delta = torch.empty(shape).uniform_(log(_DELTA_MIN), log(_DELTA_MAX)).exp()
    return delta.expm1().log()
