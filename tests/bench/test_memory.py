"""Counted memory, against sums by hand and against what autograd keeps of real tensors."""

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from linksim.bench.memory import count_training_memory
from linksim.codec_lookup import codec_from_settings
from linksim.errors import InputError
from linksim.settings import CodecSettings, Precision
from tests.helpers.places import HELPERS

CONV = CodecSettings(codec=f"{HELPERS / 'conv.py'}:Conv")


def counted(
    codec: CodecSettings, crop: int, batch_size: int, precision: Precision
) -> dict[str, float]:
    table = count_training_memory(codec, crop=crop, batch_size=batch_size, precision=precision)
    return dict(zip(table["part"], 1e9 * table["gigabytes"], strict=True))


def test_two_convolutions_by_hand() -> None:
    """8x8 by 8 of 3 <-> 16 channels: 3 * 16 * 64 weights each, and 16 + 3 biases. Kept are what the
    two take and the error of the images, each float32."""
    got = counted(CONV, crop=32, batch_size=2, precision="fp32")
    parameters = 2 * 3 * 16 * 64 + 16 + 3
    for part, bytes_each in (("weights", 4), ("gradients", 4), ("optimiser", 8), ("average", 4)):
        assert got[part] == pytest.approx(bytes_each * parameters)
    images, latent = 2 * 3 * 32**2, 2 * 16 * 4**2
    assert got["activations"] == pytest.approx(4 * (images + latent + images))
    assert got["temporary"] == pytest.approx(4 * 4 * images)
    assert got["step"] == pytest.approx(sum(v for k, v in got.items() if k != "step"))


def test_muon_keeps_one_moment_of_its_matrices() -> None:
    """It has both weights of the same convolutions, 3 * 16 * 64 each, whose smaller side counts 16;
    of their biases AdamW keeps two."""
    table = count_training_memory(CONV, crop=32, batch_size=2, optimizer="muon")
    got = dict(zip(table["part"], 1e9 * table["gigabytes"], strict=True))
    assert set(table["optimizer"]) == {"muon"}
    assert got["optimiser"] == pytest.approx(4 * (3 * 16 * 64 * 2) + 8 * (16 + 3))


def test_as_much_as_real_tensors_keep() -> None:
    """The same codec with data on a CPU, its scan's saved states apart, which are another's."""
    settings = CodecSettings(codec="swinjscc", preset="small")
    got = counted(settings, crop=64, batch_size=1, precision="fp32")["activations"]
    codec = codec_from_settings(settings)
    assert isinstance(codec, nn.Module)
    codec.train()
    weights = {p.untyped_storage().data_ptr() for p in (*codec.parameters(), *codec.buffers())}
    kept: dict[int, torch.Tensor] = {}

    def take(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(take, lambda tensor: tensor):
        snr_db = torch.zeros(1)
        images = torch.rand(1, 3, 64, 64)
        out = codec.synthesis(codec.analysis(images, snr_db), snr_db)  # type: ignore[operator]
        loss = (out - images).square().mean()
    real = sum(t.untyped_storage().nbytes() for at, t in kept.items() if at not in weights)
    assert loss.isfinite()
    assert got == pytest.approx(real, rel=0.1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_no_less_than_a_gpu_measures() -> None:
    """An upper bound, and not twice what it is."""
    settings = CodecSettings(codec="mambajscc", preset="small")
    got = counted(settings, crop=128, batch_size=8, precision="bf16")
    codec = codec_from_settings(settings)
    assert isinstance(codec, nn.Module)
    codec.cuda().train()
    torch.cuda.reset_peak_memory_stats()
    images, snr_db = torch.rand(8, 3, 128, 128, device="cuda"), torch.zeros(8, device="cuda")
    with torch.autocast("cuda", torch.bfloat16):
        out = codec.synthesis(codec.analysis(images, snr_db).float(), snr_db)  # type: ignore[operator]
    (out.float() - images).square().mean().backward()
    measured = torch.cuda.max_memory_allocated()
    state = got["optimiser"] + got["average"]
    assert 0.5 * (got["step"] - state) < measured < got["step"] - state


def test_the_paper_size_fits_a_card_of_16_gb() -> None:
    settings = CodecSettings(codec="mambajscc", preset="paper")
    assert counted(settings, crop=256, batch_size=4, precision="bf16")["step"] < 16e9


def test_what_has_no_weights_is_refused() -> None:
    with pytest.raises(InputError, match="'bpg_ldpc' is not neural"):
        count_training_memory(CodecSettings(codec="bpg_ldpc"))
