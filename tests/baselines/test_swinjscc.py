"""SwinJSCC against Table I in Wu et al., arXiv 2409.16592; windows and the SNR."""

import pytest
import torch

from baselines.swinjscc import SwinJSCC
from linksim.errors import InputError
from tests.helpers.counting import giga_macs, mega_parameters


def test_table_1() -> None:
    codec = SwinJSCC(**SwinJSCC.presets["paper"])
    assert giga_macs(codec, 256) == pytest.approx(35.54, rel=0.02)
    assert giga_macs(codec, 512) == pytest.approx(142.14, rel=0.02)
    assert mega_parameters(codec) == pytest.approx(28.24, rel=0.02)


def test_modnet_parameters_by_hand() -> None:
    """Two Channel ModNets: d -> m, six m -> m, m -> d; seven gates 1 -> m -> m -> m; m = 1.5 d."""
    d, m = 128, 192
    linears = (d * m + m) + 6 * (m * m + m) + (m * d + d)
    gates = 7 * ((m + m) + 2 * (m * m + m))
    small = SwinJSCC.presets["small"]
    with_sa = mega_parameters(SwinJSCC(**small))
    without = mega_parameters(SwinJSCC(**small, snr_adaptation="none"))
    assert with_sa - without == pytest.approx(2 * (linears + gates) / 1e6)


def test_the_snr_matters_with_modnet_only() -> None:
    torch.manual_seed(0)
    images, latent = torch.rand(1, 3, 64, 64), torch.rand(1, 128, 4, 4)
    low, high = torch.tensor([0.0]), torch.tensor([20.0])
    for adaptation in ("modnet", "none"):
        options = {**SwinJSCC.presets["small"], "snr_adaptation": adaptation}
        codec = SwinJSCC(**options).eval()
        assert codec.encoder_uses_snr is (adaptation == "modnet")
        with torch.inference_mode():
            sent = torch.equal(codec.analysis(images, low), codec.analysis(images, high))
            seen = torch.equal(codec.synthesis(latent, low), codec.synthesis(latent, high))
        assert sent is seen is (adaptation == "none")


def test_shifted_windows_do_not_reach_across_the_border() -> None:
    """A change in one corner spreads by windows, shifted by half: not round to the other side."""
    torch.manual_seed(0)
    codec = SwinJSCC(
        dims=(8,), depths=(2,), heads=(2,), snr_adaptation="none", latent_channels=4
    ).eval()
    images = torch.rand(1, 3, 64, 64)
    changed = images.clone()
    changed[..., 0, 0] += 0.5
    with torch.inference_mode():
        moved = (codec.analysis(changed, None) - codec.analysis(images, None)).abs().sum(dim=(0, 1))
    assert bool((moved[:8, :8] > 0).all())  # the window of the first block
    assert bool((moved[:12, :12] > 0).any())  # what the shifted windows of the second add to it
    assert bool((moved[12:] == 0).all())
    assert bool((moved[:, 12:] == 0).all())


def test_stages_must_fit_together() -> None:
    with pytest.raises(InputError, match="entries"):
        SwinJSCC(dims=(8, 16), depths=(1,), heads=(2, 2))
    with pytest.raises(InputError, match="cannot be split into 3 heads"):
        SwinJSCC(dims=(8,), depths=(1,), heads=(3,))
    with pytest.raises(InputError, match="allowed are 'modnet' and 'none'"):
        SwinJSCC(snr_adaptation="rest")  # type: ignore[arg-type]


def test_without_an_snr_modnet_says_so() -> None:
    codec = SwinJSCC(**SwinJSCC.presets["small"])
    with pytest.raises(InputError, match="needs an SNR"):
        codec.analysis(torch.rand(1, 3, 32, 32), None)
