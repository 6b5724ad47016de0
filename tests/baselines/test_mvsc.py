"""MVSC: its SNR estimate and losses against closed forms, its blocks against their equations."""

import math

import pytest
import torch
from scipy.special import exp1
from torch.nn import functional as F

from baselines.mambavision import Attention, MambaVisionMixer, WindowLevel
from baselines.mvsc import MVSC, MVSC4, SignalEstimator, snr_estimate_db
from linksim.codec import Decoded, Frame, Received
from linksim.errors import InputError
from linksim.link.flat import Rayleigh
from linksim.link.link import Link
from linksim.neural_codec import pair_reals


@pytest.mark.parametrize("snr_db", [-7.0, 0.0, 13.0])
def test_a_perfect_estimate_of_the_signal_measures_the_snr(snr_db: float) -> None:
    generator = torch.Generator().manual_seed(0)
    signal = torch.randn(2, 8, 100, 100, generator=generator) / 2**0.5
    noise = torch.randn(signal.shape, generator=generator) / 2**0.5 * 10 ** (-snr_db / 20)
    estimate = snr_estimate_db(signal + noise, signal)
    torch.testing.assert_close(estimate, torch.full((2,), snr_db), rtol=0, atol=0.1)


@pytest.mark.parametrize("snr_db", [1.0, 7.0, 13.0])
def test_over_rayleigh_fading_a_perfect_estimate_measures_less(snr_db: float) -> None:
    """After MMSE E|y - x|^2 is the mean of no / (g + no), g = |h|^2 ~ Exp(1): no e^no E1(no)."""
    length = 200_000
    link = Link(Rayleigh())
    bits = torch.randint(2, (1, 2 * length), generator=torch.Generator().manual_seed(0))
    sent = pair_reals((2.0 * bits - 1) * 0.5**0.5)
    realisation = link.channel.draw_batch(1, 1, length)
    received, _ = link.transmit(
        Frame.analog(sent), snr_db=torch.tensor([snr_db]), realisation=realisation
    )
    y, s_hat = (torch.view_as_real(x).permute(0, 2, 1)[..., None] for x in (received.symbols, sent))
    no = 10 ** (-snr_db / 10)
    expected = -10 * math.log10(no * math.exp(no) * exp1(no))
    assert float(snr_estimate_db(y, s_hat)) == pytest.approx(expected, abs=0.05)


def test_channels_that_were_not_sent_do_not_enter_the_estimate() -> None:
    torch.manual_seed(0)
    estimator = SignalEstimator(channels=4)
    y = torch.randn(1, 4, 6, 6)
    y[:, 2:] = 0
    s_hat = estimator(y)
    assert bool((s_hat[:, 2:] == 0).all())
    torch.testing.assert_close(snr_estimate_db(y, s_hat), snr_estimate_db(y[:, :2], s_hat[:, :2]))


def test_an_estimator_can_start_by_passing_the_signal_on() -> None:
    """s_hat = 0.9 y would be 19 dB; what its random layers add takes some of that."""
    torch.manual_seed(0)
    y = F.normalize(torch.randn(2, 32, 8, 8), dim=1)
    wide = SignalEstimator(channels=32, hidden=32, residuals=2)
    before = snr_estimate_db(y, wide(y))
    started = wide.initialise_as_shrinkage()
    after = snr_estimate_db(y, wide(y))
    assert {id(p) for p in started} == {id(p) for p in wide.parameters()}
    assert bool((before < 3).all())
    assert bool(((after > 15) & (after < 20)).all())
    wide(y).square().mean().backward()
    assert all(bool((p.grad != 0).any()) for p in wide.parameters())


@pytest.mark.parametrize("options", [{"hidden": 16}, {"hidden": 32, "residuals": 1}])
def test_layers_that_cannot_pass_it_on_stay_random(options: dict[str, int]) -> None:
    estimator = SignalEstimator(channels=32, **options)
    before = [parameter.clone() for parameter in estimator.parameters()]
    assert estimator.initialise_as_shrinkage() == []
    assert all(map(torch.equal, before, estimator.parameters()))


@pytest.mark.parametrize("options", [{"estimator_width": 0}, {"estimator_residuals": 3}])
def test_estimators_that_cannot_be(options: dict[str, int]) -> None:
    with pytest.raises(InputError, match="allowed are a width of at least 1, and 1 or 2 residuals"):
        MVSC(**{**MVSC.presets["cifar10"], **options})


@pytest.mark.parametrize("codec_class", [MVSC, MVSC4])
def test_it_is_never_told_the_snr(codec_class: type[MVSC]) -> None:
    codec = codec_class(**codec_class.presets["cifar10"]).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        latent = codec.analysis(images, None)
        assert torch.equal(latent, codec.analysis(images, torch.tensor([20.0, 20.0])))
        blind, told = codec.synthesis(latent, None), codec.synthesis(latent, torch.ones(2))
    assert torch.equal(blind.images, told.images)
    assert blind.report["snr_db_estimate"].shape == (2,)
    assert torch.equal(blind.report["snr_db_estimate"], told.report["snr_db_estimate"])
    assert codec.encoder_uses_snr is False


def test_the_report_of_mvsc4() -> None:
    codec = MVSC4(**{**MVSC4.presets["cifar10"], "classes": 7})
    latent = torch.rand(2, 8, 8, 8)
    training = codec.train().synthesis(latent, None).report
    assert training["class_logits"].shape == (2, 7)
    assert torch.equal(training["class_index"], training["class_logits"].argmax(dim=1))
    assert set(codec.eval().synthesis(latent, None).report) == {"snr_db_estimate", "class_index"}


@pytest.mark.parametrize("weight", [math.inf, math.nan, -1.0])
@pytest.mark.parametrize("name", ["snr_weight", "class_weight"])
def test_weights_of_losses_that_cannot_be(name: str, weight: float) -> None:
    with pytest.raises(InputError, match=f"{name} is .* a finite number of at least 0"):
        MVSC4(**{**MVSC4.presets["cifar10"], name: weight})


@pytest.mark.parametrize(
    ("options", "of_snr_and_class"),
    [
        ({}, 0.4 + 10 * math.log(10)),
        ({"snr_weight": 10.0}, 40.0 + 10 * math.log(10)),
        ({"class_weight": 0}, 0.4),
    ],
)
def test_the_loss_adds_up_by_hand(options: dict[str, float], of_snr_and_class: float) -> None:
    """Image off by 1/255: 0.1; SNR off by 2 dB: 0.4 as published; s_hat off by 1/2 at unit power
    a symbol, 1/4 at unit energy a token of 8: 0.625; no idea of 10 classes: 10 ln 10."""
    codec = MVSC4(**{**MVSC4.presets["cifar10"], **options})
    images = torch.rand(2, 3, 32, 32)
    sent = torch.full((2, 8 * 8 * 4), math.sqrt(0.5) * (1 + 1j))  # unit power, every real sqrt(1/2)
    frame = Frame.analog(3 * sent)  # the link takes the 3 away
    ones = torch.ones(sent.shape)
    received = Received(symbols=sent + 0.5 + 0.5j, gain=ones, no_eff=ones, used=frame.used)
    codec.estimator = torch.nn.Identity()  # s_hat = y: off by 1/2 in every real
    logits, estimate = torch.zeros(2, 10), torch.tensor([5.0, 9.0])
    loss = codec.training_loss(
        decoded=Decoded(
            images=images + 1 / 255,
            report={"snr_db_estimate": estimate, "class_logits": logits},
        ),
        images=images,
        frame=frame,
        received=received,
        snr_db=torch.tensor([7.0, 7.0]),
        labels=torch.tensor([0, 9]),
    )
    torch.testing.assert_close(loss, torch.tensor(0.1 + 0.625 + of_snr_and_class))


@pytest.mark.parametrize("label", [-1, 10])
def test_labels_out_of_range_are_refused(label: int) -> None:
    codec = MVSC4(**MVSC4.presets["cifar10"])
    images, symbols = torch.rand(1, 3, 8, 8), torch.ones(1, 16, dtype=torch.complex64)
    ones = torch.ones(1, 16)
    frame = Frame.analog(symbols)
    with pytest.raises(InputError, match=r"labels 0\.\.9"):
        codec.training_loss(
            decoded=Decoded(images=images),
            images=images,
            frame=frame,
            received=Received(symbols=symbols, gain=ones, no_eff=ones, used=frame.used),
            snr_db=torch.zeros(1),
            labels=torch.tensor([label]),
        )


def test_mambavision_mixer_is_its_equations() -> None:
    """Token by token and channel by channel, in float64."""
    torch.manual_seed(0)
    length, dim, half, states, rank = 5, 8, 4, 8, 1
    mixer = MambaVisionMixer(dim=dim).double()
    tokens = torch.randn(1, length, dim, dtype=torch.float64)
    projected = (tokens @ mixer.in_proj.weight.T)[0]
    padded = F.pad(projected, (0, 0, 1, 1))
    kernel = mixer.conv.weight[:, 0]
    convolved = torch.stack([(padded[k : k + 3] * kernel.T).sum(0) for k in range(length)])
    mixed = convolved / (1 + torch.exp(-convolved))
    x, z = mixed[:, :half], mixed[:, half:]
    h = torch.zeros(half, states, dtype=torch.float64)
    rows = []
    for k in range(length):
        p = mixer.x_proj.weight @ x[k]
        B, C = p[rank : rank + states], p[rank + states :]
        delta = torch.log1p(torch.exp(mixer.dt_proj.weight @ p[:rank] + mixer.dt_proj.bias))
        decay = torch.exp(-torch.exp(mixer.A_log) * delta[:, None])
        h = decay * h + (delta * x[k])[:, None] * B
        rows.append(torch.cat([h @ C + mixer.D * x[k], z[k]]))
    expected = torch.stack(rows) @ mixer.out_proj.weight.T
    torch.testing.assert_close(mixer(tokens)[0], expected, rtol=1e-5, atol=1e-6)


def test_attention_is_torchs() -> None:
    torch.manual_seed(0)
    ours = Attention(dim=8, heads=2)
    torchs = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        torchs.in_proj_weight.copy_(ours.qkv.weight)
        torchs.in_proj_bias.copy_(ours.qkv.bias)
        torchs.out_proj.load_state_dict(ours.out_proj.state_dict())
    x = torch.randn(3, 5, 8)
    torch.testing.assert_close(ours(x), torchs(x, x, x, need_weights=False)[0])


def test_windows_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    level = WindowLevel(dim=8, depth=2, window=4, heads=2).eval()
    x = torch.randn(1, 8, 8, 6)
    changed = x.clone()
    changed[:, 0, 5, 1] += 1
    moved = (level(changed) - level(x)).abs().sum(dim=(0, 1))
    assert bool((moved[4:, :4] > 0).all())
    assert bool((moved[:4] == 0).all())
    assert bool((moved[:, 4:] == 0).all())


def test_a_map_that_windows_do_not_cover_is_cut_and_not_filled_up() -> None:
    """The last windows are as large as what is left: the same blocks on the pieces alone."""
    torch.manual_seed(0)
    level = WindowLevel(dim=8, depth=2, window=4, heads=2).eval()
    x = torch.randn(2, 8, 6, 5)
    pieces = [
        [level(x[:, :, rows, columns]) for columns in (slice(0, 4), slice(4, 5))]
        for rows in (slice(0, 4), slice(4, 6))
    ]
    whole = torch.cat([torch.cat(row, dim=3) for row in pieces], dim=2)
    torch.testing.assert_close(level(x), whole)
    small = WindowLevel(dim=8, depth=2, window=2, heads=2).eval()
    small.load_state_dict(level.state_dict())
    torch.testing.assert_close(level(x[:, :, :2, :2]), small(x[:, :, :2, :2]))


def test_the_public_code_fills_up_with_zeros() -> None:
    torch.manual_seed(0)
    level = WindowLevel(dim=8, depth=2, window=4, heads=2, padding="zeros").eval()
    x = torch.randn(1, 8, 6, 5)
    filled = F.pad(x, (0, 3, 0, 2))
    torch.testing.assert_close(level(x), level(filled)[:, :, :6, :5])
    cut = WindowLevel(dim=8, depth=2, window=4, heads=2).eval()
    cut.load_state_dict(level.state_dict())
    assert not torch.allclose(level(x), cut(x), atol=1e-3)


def test_every_token_leaves_with_the_same_energy() -> None:
    codec = MVSC(**MVSC.presets["cifar10"]).eval()
    latent = codec.analysis(torch.rand(2, 3, 32, 32), None)
    torch.testing.assert_close(latent.square().sum(1), torch.ones(2, 8, 8))


def test_fixed_statistics_stay_as_they_are() -> None:
    torch.manual_seed(0)
    options = {**MVSC.presets["cifar10"], "statistics": "fixed"}
    codec = MVSC(**options)
    codec.initialise_as_transform()
    codec.train()
    before = {name: tensor.clone() for name, tensor in codec.named_buffers()}
    images = torch.rand(2, 3, 32, 32)
    trained = codec.analysis(images, None)
    assert all(torch.equal(before[name], tensor) for name, tensor in codec.named_buffers())
    assert torch.equal(trained, codec.eval().analysis(images, None))
    batch = MVSC(**{**options, "statistics": "batch"}).train()
    batch.load_state_dict(codec.state_dict())
    assert not torch.allclose(batch.analysis(images, None), trained, atol=1e-3)
    with pytest.raises(InputError, match="statistics is 'none'; allowed are batch, fixed"):
        MVSC(statistics="none")  # type: ignore[arg-type]


@pytest.mark.parametrize(("depth", "scans"), [(1, 1), (2, 1), (3, 2), (4, 2)])
def test_the_first_half_of_a_levels_blocks_scans(depth: int, scans: int) -> None:
    level = WindowLevel(dim=8, depth=depth, window=2, heads=2)
    mixers = [type(block.mixer) for block in level.blocks]
    assert mixers == [MambaVisionMixer] * scans + [Attention] * (depth - scans)


def test_settings_of_the_paper() -> None:
    cifar, large = MVSC(**MVSC.presets["cifar10"]), MVSC(**MVSC.presets["paper"])
    assert (cifar.downsampling, cifar.latent_channels) == (4, 8)  # CBR 8 / 96
    assert (large.downsampling, large.latent_channels) == (16, 96)  # CBR 96 / 1536


def test_levels_must_fit_together() -> None:
    with pytest.raises(InputError, match="entries"):
        MVSC(depths=(1, 1), windows=(8,), heads=(2, 2))
    with pytest.raises(InputError, match="cannot be split"):
        MVSC(dim=6, depths=(1,), windows=(8,), heads=(4,))
    with pytest.raises(InputError, match="classes is 1"):
        MVSC4(**{**MVSC4.presets["cifar10"], "classes": 1})
