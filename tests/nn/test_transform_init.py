"""Codecs that start as a linear transform codec, against the transform worked out apart."""

from math import cos, pi

import pytest
import torch
from torch import Tensor

from baselines.adjscc import ADJSCC
from baselines.deepjscc import DeepJSCC
from baselines.mvsc import MVSC
from baselines.swinjscc import SwinJSCC
from linksim.errors import InputError
from linksim.mambajscc.model import MambaJSCC
from linksim.metrics.quality import psnr
from linksim.neural_codec import NeuralCodec
from linksim.nn.transform_init import patch_transform
from tests.helpers.conv import Conv

WIDTHS = (32, 64, 96, 128)


@pytest.fixture(scope="module")
def smooth() -> Tensor:
    """Four pictures of 64x64 with the long correlations of photographs, around mid-grey."""
    torch.manual_seed(0)
    coarse = torch.randn(4, 1, 16, 16) + 0.3 * torch.randn(4, 3, 16, 16)
    pictures = torch.nn.functional.interpolate(coarse, size=64, mode="bicubic")
    return (0.5 + 0.12 * pictures).clamp(0, 1)


def mamba(**options: object) -> MambaJSCC:
    return MambaJSCC(dims=WIDTHS, depths=(1, 1, 1, 1), latent_channels=128, **options)  # type: ignore[arg-type]


def swin() -> SwinJSCC:
    return SwinJSCC(
        dims=WIDTHS, depths=(1, 1, 1, 1), heads=(2, 2, 2, 2), window=4, latent_channels=128
    )


def started(codec: NeuralCodec) -> NeuralCodec:
    torch.manual_seed(1)
    codec.initialise_as_transform()
    return codec.eval()


def round_trip(codec: NeuralCodec, images: Tensor, *, strength: float, channels: int) -> Tensor:
    """Without noise; ``strength`` is what the link's normalisation does, unknown to the decoder."""
    snr_db = torch.full((len(images),), 10.0)
    with torch.inference_mode():
        latent = strength * codec.analysis(images, snr_db)
        latent[:, channels:] = 0
        return codec.synthesis(latent, snr_db)  # type: ignore[return-value]


def test_levels_are_the_transform_of_whole_patches() -> None:
    """Kept whole, the 4x4 level is an orthonormal basis whose first vector is almost flat."""
    two, four = patch_transform((12, 48))
    for level in (two, four):
        assert torch.allclose(level.matrix @ level.matrix.T, torch.eye(len(level.matrix)).double())
        assert (level.std.diff() <= 1e-12).all()
    whole = four.matrix @ torch.block_diag(*[two.matrix] * 4)
    assert whole[0].abs().std() < 0.2 * whole[0].abs().mean()
    # All the variance of 48 pixel values is in the 48 components.
    assert float(four.std.square().sum()) == pytest.approx(48 * 0.24**2)
    # For high correlation the KLT of a Markov source is the DCT (Ahmed et al., 1974): the second
    # and third components of 2x2 pixels are its horizontal and vertical edges.
    edge = torch.tensor([cos(pi / 4), -cos(pi / 4)])
    flat = torch.tensor([cos(pi / 4), cos(pi / 4)])
    across = torch.outer(flat, edge).flatten().double()
    down = torch.outer(edge, flat).flatten().double()
    luma = two.matrix.view(12, 4, 3).sum(-1)
    overlap = (luma @ torch.stack([across, down], 1)).norm(dim=1) / luma.norm(dim=1).clamp(min=0.5)
    assert (overlap > 0.99).sum() >= 2


@pytest.mark.parametrize(
    "codec", [mamba(), mamba(channel_adaptation="modnet"), swin()], ids=["csi", "modnet", "swin"]
)
def test_skeleton_needs_no_power_and_grows_with_the_rate(
    codec: NeuralCodec, smooth: Tensor
) -> None:
    whole = [
        psnr(round_trip(started(codec), smooth, strength=strength, channels=128), smooth)
        for strength in (0.3, 1.0, 4.0)
    ]
    assert torch.allclose(whole[0], whole[1], atol=0.1)
    assert torch.allclose(whole[2], whole[1], atol=0.1)
    few = psnr(round_trip(codec, smooth, strength=1.0, channels=32), smooth)
    assert (few > 20).all()
    assert (few < whole[1] - 1).all()


def test_mvsc_starts_as_a_transform_through_its_relus_and_norms(smooth: Tensor) -> None:
    """Whatever the power of what is received, and through noise at 13 dB."""
    torch.manual_seed(0)
    codec = MVSC(
        dim=18, in_dim=12, windows=(4,) * 4, latent_channels=128, rate="nested", statistics="fixed"
    )
    codec.initialise_as_transform()
    codec.eval()
    with torch.inference_mode():
        latent = codec.analysis(smooth, None) * 8  # unit power a symbol
        clean, stronger, noisy = (
            psnr(codec.synthesis(y, None).images, smooth)
            for y in (latent, 2 * latent, latent + 0.22 * torch.randn_like(latent))
        )
    assert (clean > 28).all()
    assert torch.allclose(clean, stronger, atol=0.1)
    assert (noisy > 28).all()


def test_it_is_as_good_as_the_transform_that_it_is_made_of(smooth: Tensor) -> None:
    """The codec against the basis of 16x16 pixels applied with plain matrix products."""
    levels = patch_transform(width - 2 for width in WIDTHS)
    basis, side = torch.eye(3).double(), 1
    for level in levels:
        places = torch.arange(12 * side * side).view(2, side, 2, side, 3).transpose(1, 2)
        wider = torch.zeros(4, len(basis), 12 * side * side).double()
        for quarter, columns in zip(wider, places.reshape(4, -1), strict=True):
            quarter[:, columns] = basis
        basis, side = level.matrix @ wider.flatten(0, 1), 2 * side
    patches = (smooth.double() - 0.5).unfold(2, 16, 16).unfold(3, 16, 16)
    values = patches.permute(0, 2, 3, 4, 5, 1).reshape(4, 16, 768)
    error = (values - values @ basis.T @ basis).square().mean((1, 2))
    linear = -10 * error.log10()
    decoded = round_trip(started(mamba()), smooth, strength=1.0, channels=128)
    assert (linear > 28).all()
    # LayerNorm bends the strongest patches.
    assert torch.allclose(psnr(decoded, smooth).double(), linear, atol=2.0)


@pytest.mark.parametrize(
    "codec", [DeepJSCC(latent_channels=8), ADJSCC(width=48, latent_channels=8)], ids=["deep", "ad"]
)
def test_convolutions_start_with_the_picture(codec: NeuralCodec, smooth: Tensor) -> None:
    """Its contrast is not right: GDN, the sigmoid and the unknown power bend it."""
    started(codec)
    with torch.inference_mode():
        latent = codec.analysis(smooth, torch.full((4,), 10.0))
    strength = float(latent.square().mean().rsqrt()) * 0.5**0.5
    decoded = round_trip(codec, smooth, strength=strength, channels=8)
    both = torch.stack([decoded.flatten(), smooth.flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.95


def test_a_codec_that_cannot_says_so() -> None:
    with pytest.raises(InputError, match="Conv cannot start as a transform"):
        Conv().initialise_as_transform()
