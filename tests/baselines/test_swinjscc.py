"""SwinJSCC against Table I in Wu et al., arXiv 2409.16592; windows and the SNR."""

import pytest
import torch
from torchvision.models.swin_transformer import ShiftedWindowAttention

from baselines.swinjscc import AlwaysShiftedAttention, SwinJSCC
from linksim.codec import Received, RxInfo, TxInfo
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


@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 16), (16, 8)])
def test_one_window_that_is_shifted_is_the_corner_of_a_larger_map(height: int, width: int) -> None:
    """torchvision's last window of a shifted map brings the same two ends together, masked."""
    torch.manual_seed(0)
    torchvisions = ShiftedWindowAttention(6, [8, 8], [4, 4], 2)
    torch.nn.init.normal_(torchvisions.relative_position_bias_table)
    ours = AlwaysShiftedAttention(6, [8, 8], [4, 4], 2)
    ours.load_state_dict(torchvisions.state_dict())
    x, large = torch.randn(2, height, width, 6), torch.randn(2, 16, 16, 6)
    rows = [*range(4), *range(12, 16)] if height == 8 else list(range(16))
    columns = [*range(4), *range(12, 16)] if width == 8 else list(range(16))
    places = torch.tensor(rows)[:, None], torch.tensor(columns)
    large[:, *places] = x
    torch.testing.assert_close(ours(x), torchvisions(large)[:, *places])
    assert not torch.allclose(ours(x), torchvisions(x), atol=1e-3)
    torch.testing.assert_close(ours(large), torchvisions(large))


def adapting_its_rate() -> SwinJSCC:
    torch.manual_seed(0)
    return SwinJSCC(
        dims=(8, 12),
        depths=(1, 1),
        heads=(2, 2),
        rate_adaptation="modnet",
        latent_channels=12,
        rate="nested",
        scale="side_info",
    ).eval()


@pytest.mark.parametrize("kept", [1, 5, 12])
def test_the_channels_with_the_largest_factors_are_sent_and_put_back(kept: int) -> None:
    codec, images = adapting_its_rate(), torch.rand(2, 3, 16, 16)
    snr_db = torch.tensor([3.0, 9.0])
    info = TxInfo(snr_db=snr_db, max_symbols=16 * kept // 2, image_size=(16, 16))
    with torch.inference_mode():
        frame = codec.encode(images, info)
        tokens = codec.analysis(images, snr_db).permute(0, 2, 3, 1)
        factors = codec.rate_modnet.factors(tokens, torch.full((2,), float(kept)))
    assert frame.symbols.shape == (2, 16 * kept // 2)
    assert frame.side_info_bits.tolist() == [12 + 16] * 2
    power = frame.symbols.abs().square().mean(1, keepdim=True).sqrt()
    ones = torch.ones(frame.symbols.shape)
    received = Received(
        symbols=frame.symbols / power,
        gain=ones,
        no_eff=ones,
        used=frame.used,
        side_info=frame.side_info,
    )
    seen: list[torch.Tensor] = []
    codec.synthesis = lambda latent, _: seen.append(latent) or torch.zeros(2, 3, 16, 16)
    codec.decode(received, RxInfo(snr_db=snr_db, max_symbols=16 * kept // 2, image_size=(16, 16)))
    wanted = (tokens * factors).permute(0, 3, 1, 2)
    for image in range(2):
        order = factors[image].mean((0, 1)).argsort(descending=True)
        wanted[image, order[kept:]] = 0
    torch.testing.assert_close(seen[0], wanted, rtol=1e-3, atol=1e-6)  # the scale is float16


def test_rate_adaptation_says_what_it_needs() -> None:
    with pytest.raises(InputError, match="needs rate: nested and latent_channels 320"):
        SwinJSCC(rate_adaptation="modnet")
    with pytest.raises(InputError, match="one_window is 'half'; allowed are whole, shifted"):
        SwinJSCC(one_window="half")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="cannot start as a transform"):
        adapting_its_rate().initialise_as_transform()


def test_stages_must_fit_together() -> None:
    with pytest.raises(InputError, match="entries"):
        SwinJSCC(dims=(8, 16), depths=(1,), heads=(2, 2))
    with pytest.raises(InputError, match="cannot be split into 3 heads"):
        SwinJSCC(dims=(8,), depths=(1,), heads=(3,))
    with pytest.raises(InputError, match="allowed are modnet, none"):
        SwinJSCC(snr_adaptation="rest")  # type: ignore[arg-type]


def test_without_an_snr_modnet_says_so() -> None:
    codec = SwinJSCC(**SwinJSCC.presets["small"])
    with pytest.raises(InputError, match="needs an SNR"):
        codec.analysis(torch.rand(1, 3, 32, 32), None)
