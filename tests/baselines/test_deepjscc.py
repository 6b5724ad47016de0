"""DeepJSCC against the numbers of Table I in Wu et al., arXiv 2409.16592, and its own layers."""

import pytest
import torch

from baselines.deepjscc import DeepJSCC
from tests.helpers.counting import giga_macs, mega_parameters


def test_table_1() -> None:
    codec = DeepJSCC(**DeepJSCC.presets["paper"])
    assert giga_macs(codec, 256) == pytest.approx(0.72, rel=0.02)
    assert giga_macs(codec, 512) == pytest.approx(2.88, rel=0.02)
    assert mega_parameters(codec) == pytest.approx(0.16, rel=0.10)


def test_macs_by_hand() -> None:
    """Output pixels x kernel x channels of each layer (of a transposed one: input pixels)."""
    half, quarter = 128**2, 64**2
    side = half * 25 * 3 * 16 + quarter * 25 * (16 * 32 + 32 * 32 + 32 * 32 + 32 * 24)
    assert giga_macs(DeepJSCC(latent_channels=24), 256) == pytest.approx(2 * side / 1e9)


def test_the_told_snr_changes_nothing() -> None:
    codec = DeepJSCC(latent_channels=8).eval()
    images = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        latent = codec.analysis(images, None)
        assert latent.shape == (1, 8, 8, 8)
        assert torch.equal(latent, codec.analysis(images, torch.tensor([20.0])))
        decoded = codec.synthesis(latent, None)
        assert torch.equal(decoded, codec.synthesis(latent, torch.tensor([20.0])))
    assert codec.encoder_uses_snr is False
