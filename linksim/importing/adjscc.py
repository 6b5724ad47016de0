"""ADJSCC (alexxu1988/ADJSCC) from its TensorFlow variables."""

import torch
from torch import Tensor

from linksim.importing.tensors import Converted, Source

_PEDESTAL = 2.0**-36
"""What tensorflow_compression keeps the squares of GDN's parameters above."""
_BETA_MIN = 1e-6


def convert(source: Source) -> Converted:
    """Both sides from variables named as the model's layers: ``encoder/en1_conv/bias``, …."""
    width = source.take("encoder/en1_conv/bias", axes=1).shape[0]
    latent_channels = source.take("encoder/en5_conv/bias", axes=1).shape[0]
    state: dict[str, Tensor] = {}
    for side, short, first_gdn in (("encoder", "en", 0), ("decoder", "de", 5)):
        for i in range(5):
            theirs = f"{side}/{short}{i + 1}"
            ours = f"{side}.{i}" if i < 4 else side
            bias = source.take(f"{theirs}_conv/bias", axes=1)
            layer = f"{ours}.convolution" if i < 4 else f"{ours}_out"
            state[f"{layer}.weight"] = _kernel(source, theirs, len(bias), transposed=short == "de")
            state[f"{layer}.bias"] = bias
            gdn = f"{theirs}_conv/gdn" + (f"_{first_gdn + i}" if first_gdn + i else "")
            state |= _gdn(source, gdn, f"{ours}.gdn" if i < 4 else f"{ours}_gdn")
            if i < 4:
                slopes = source.take(f"{theirs}_prelu/alpha", axes=3)
                state[f"{ours}.activation.weight"] = slopes.flatten()
                for number, place in ((1, 0), (2, 2)):
                    dense, factors = f"{theirs}_dense{number}", f"{ours}.attention.factors.{place}"
                    state[f"{factors}.weight"] = source.take(f"{dense}/kernel", axes=2).T
                    state[f"{factors}.bias"] = source.take(f"{dense}/bias", axes=1)
    return Converted(
        options={"width": width, "form": "published", "latent_channels": latent_channels},
        state=state,
        superfluous=(r"(?!encoder/|decoder/).*", r".*/iterations", r"(optimizer|Adam).*"),
        conventions=(
            "SNR: Es/N0, as here",
            "CBR: latent channels / 96, as here; the paper's bandwidth ratio R is the same",
        ),
    )


def _kernel(source: Source, layer: str, outputs: int, *, transposed: bool) -> Tensor:
    """[out, in, k, k], or [in, out, k, k], from the kernel's real DFT over its pixels."""
    spectrum = source.take(f"{layer}_conv/kernel_rdft", axes=2)
    side = round(len(spectrum) ** 0.5)
    axis = _real_dft(side)
    kernel = (torch.kron(axis, axis) @ spectrum).view(side, side, -1, outputs)
    return kernel.permute(2, 3, 0, 1) if transposed else kernel.permute(3, 2, 0, 1)


def _real_dft(n: int) -> Tensor:
    """Orthonormal [n places, n coefficients]: mean, then Re and Im of each frequency in turn."""
    angles = 2 * torch.pi / n * torch.outer(torch.arange(n), torch.arange(n // 2 + 1)).double()
    basis = torch.empty(n, n, dtype=torch.float64)
    basis[:, 0] = n**-0.5
    basis[:, 1::2] = (2 / n) ** 0.5 * angles[:, 1:].cos()
    basis[:, 2::2] = -((2 / n) ** 0.5) * angles[:, 1:].sin()
    return basis


def _gdn(source: Source, theirs: str, ours: str) -> dict[str, Tensor]:
    """From tensorflow_compression's parametrisation to ours, by roots; gamma is transposed."""
    beta = source.take(f"{theirs}/reparam_beta", axes=1)
    beta = beta.clamp(min=(_BETA_MIN + _PEDESTAL) ** 0.5).square() - _PEDESTAL
    gamma = source.take(f"{theirs}/reparam_gamma", axes=2)
    gamma = gamma.clamp(min=_PEDESTAL**0.5).square() - _PEDESTAL
    return {
        f"{ours}.beta_root": (beta - _BETA_MIN).clamp(min=0).sqrt(),
        f"{ours}.gamma_root": gamma.T.clamp(min=0).sqrt(),
    }
