"""ADJSCC against Table I in Wu et al., arXiv 2409.16592; GDN against its formula."""

import pytest
import torch

from baselines.adjscc import ADJSCC, AttentionFeature
from baselines.gdn import GDN
from linksim.errors import InputError
from tests.helpers.counting import giga_macs, mega_parameters


def test_table_1() -> None:
    codec = ADJSCC(**ADJSCC.presets["paper"])
    assert giga_macs(codec, 256) == pytest.approx(46.21, rel=0.02)
    assert giga_macs(codec, 512) == pytest.approx(184.85, rel=0.02)
    assert mega_parameters(codec) == pytest.approx(10.57, rel=0.02)


@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_is_its_formula(inverse: bool) -> None:
    gdn = GDN(channels=3, inverse=inverse).double()
    torch.nn.init.uniform_(gdn.gamma_root, -1, 1)
    torch.nn.init.uniform_(gdn.beta_root, 0.5, 1)
    beta, gamma = gdn.beta_root.square() + 1e-6, gdn.gamma_root.square()
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    y = gdn(x)
    for i in range(3):
        norm = (beta[i] + sum(gamma[i, j] * x[:, j] ** 2 for j in range(3))) ** 0.5
        torch.testing.assert_close(y[:, i], x[:, i] * norm if inverse else x[:, i] / norm)


def test_gdn_starts_as_a_mild_normalisation_of_each_channel_alone() -> None:
    x = torch.tensor([3.0, 100.0])[None, :, None, None]
    expected = torch.tensor([3 / 1.9**0.5, 100 / 1001**0.5])
    torch.testing.assert_close(GDN(channels=2)(x).flatten(), expected, rtol=1e-4, atol=0)


def test_attention_sees_the_snr_and_the_means_alone() -> None:
    torch.manual_seed(0)
    attention = AttentionFeature(channels=4)
    x = torch.rand(1, 4, 6, 6)
    at_0, at_20 = (attention(x, torch.tensor([snr])) / x for snr in (0.0, 20.0))
    assert bool((at_0 != at_20).any())
    shuffled = x.flatten(2).flip(-1).view_as(x)  # the same means
    torch.testing.assert_close(attention(shuffled, torch.tensor([0.0])) / shuffled, at_0)
    torch.testing.assert_close(at_0, at_0[..., :1, :1].expand_as(at_0))


def test_every_attention_block_is_told_the_snr() -> None:
    torch.manual_seed(0)
    codec = ADJSCC(**ADJSCC.presets["small"]).eval()
    factors: dict[float, list[torch.Tensor]] = {}
    blocks = [block for block in codec.modules() if isinstance(block, AttentionFeature)]
    for snr in (0.0, 20.0):
        seen: list[torch.Tensor] = []
        handles = [
            block.factors.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
            for block in blocks
        ]
        snr_db = torch.tensor([snr])
        with torch.inference_mode():
            codec.synthesis(codec.analysis(torch.rand(1, 3, 32, 32), snr_db), snr_db)
        factors[snr] = [context[0, -1] for context in seen]
        for handle in handles:
            handle.remove()
    assert len(blocks) == 8
    assert factors == {0.0: [0.0] * 8, 20.0: [20.0] * 8}


def test_without_an_snr_it_says_so() -> None:
    codec = ADJSCC(**ADJSCC.presets["small"])
    with pytest.raises(InputError, match="needs an SNR"):
        codec.analysis(torch.rand(1, 3, 16, 16), None)
    with pytest.raises(InputError, match="needs an SNR"):
        codec.synthesis(torch.rand(1, 8, 4, 4), None)


def test_as_published_there_is_more_of_gdn_and_prelu() -> None:
    """A slope a channel in eight layers; GDN of C and of 3 channels on the fifth layers."""
    size = {"width": 32, "latent_channels": 6}
    paper, published = ADJSCC(**size), ADJSCC(**size, form="published")
    attention = 8 * (14 * 33 + 14 + 14 * 32)  # 16 hidden units against 32 // 16
    more = 8 * 31 + (6 * 6 + 6) + (3 * 3 + 3) - attention
    assert mega_parameters(published) - mega_parameters(paper) == pytest.approx(more / 1e6)
    with pytest.raises(InputError, match="form is 'thesis'"):
        ADJSCC(form="thesis")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least 16"):
        ADJSCC(width=8, form="published")
