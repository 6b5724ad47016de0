"""The linear layers' products and their gradients, against float64."""

import pytest
import torch
from torch.nn import functional as F

from linksim.nn.layers import linear


@pytest.mark.parametrize("inputs", [2, 16, 17, 64])
@pytest.mark.parametrize("with_bias", [False, True])
def test_linear_and_its_gradients(inputs: int, with_bias: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 5, 7, inputs, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(9, inputs, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(9, dtype=torch.float64, requires_grad=True) if with_bias else None
    exact_leaves = [t for t in (x, weight, bias) if t is not None]
    leaves = [t.detach().float().requires_grad_() for t in exact_leaves]
    dy = torch.randn(3, 5, 7, 9, dtype=torch.float64)
    exact = F.linear(x, weight, bias)
    y = linear(*leaves)
    gradients = torch.autograd.grad(y, leaves, dy.float())
    expected = torch.autograd.grad(exact, exact_leaves, dy)
    for ours, wanted in zip((y, *gradients), (exact, *expected), strict=True):
        torch.testing.assert_close(
            ours.double(), wanted, rtol=0, atol=2e-6 * float(wanted.detach().abs().max())
        )


def test_a_weight_that_needs_no_gradient_gets_none() -> None:
    x, weight = torch.randn(4, 3, requires_grad=True), torch.randn(2, 3)
    linear(x, weight).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, weight.sum(0).expand(4, 3))
