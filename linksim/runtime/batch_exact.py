"""Complex arithmetic whose last bit does not depend on how many images are in the batch.

torch computes the end of a complex array, past the last full vector register, with other rounding
than the rest; an element's result then depends on its place. Real products, sums and quotients
round alike everywhere, so complex ones are built from them here.
"""

import torch
from torch import Tensor


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """a*b for complex tensors of one shape."""
    return torch.complex(a.real * b.real - a.imag * b.imag, a.real * b.imag + a.imag * b.real)


def scale(a: Tensor, factor: Tensor) -> Tensor:
    """factor*a for a complex tensor and a real one of one shape, or one that broadcasts to it."""
    return torch.view_as_complex(torch.view_as_real(a) * factor[..., None])


def divide(a: Tensor, divisor: Tensor) -> Tensor:
    """a/divisor for a complex tensor and a real one of one shape, or one that broadcasts to it."""
    return torch.view_as_complex(torch.view_as_real(a) / divisor[..., None])
