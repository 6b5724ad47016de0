"""MambaJSCC against the paper's numbers, its equations written out, and the contract."""

import subprocess
import sys
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from linksim.codec import Received, RxInfo, TxInfo
from linksim.errors import InputError
from linksim.link.flat import Awgn
from linksim.link.link import Link
from linksim.link.transmission import Transmission, encode, transmit
from linksim.mambajscc.blocks import SS2D, BlockConfig, VSSMBlock
from linksim.mambajscc.model import MambaJSCC
from linksim.sweep.complexity import count_macs, count_parameters

GOLDEN = (0.61732, 0.37190, 0.45547, 0.36270, 0.48870, -0.12045, 0.58793, 0.41109)
TINY = MambaJSCC.presets["tiny"]
ABLATIONS = [
    {"channel_adaptation": adaptation, "scan_directions": directions, "mlp": mlp}
    for adaptation, directions, mlp in product(
        ("csi_rest", "modnet", "none"), (2, 4), (True, False)
    )
]


def tiny(**options: object) -> MambaJSCC:
    torch.manual_seed(0)
    return MambaJSCC(**{**TINY, **options}).eval()


def random_images(batch: int, height: int, width: int) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def clean_round_trip(
    codec: MambaJSCC, images: Tensor, snr_db: Tensor | None, max_symbols: int = 10**6
) -> tuple[Tensor, Tensor]:
    """(symbols, images) where the channel changes nothing."""
    size = (images.shape[2], images.shape[3])
    frame = codec.encode(images, TxInfo(snr_db=snr_db, max_symbols=max_symbols, image_size=size))
    ones = torch.ones(frame.symbols.shape)
    received = Received(symbols=frame.symbols, gain=ones, no_eff=ones, used=frame.used)
    decoded = codec.decode(received, RxInfo(snr_db=snr_db, max_symbols=0, image_size=size))
    assert isinstance(decoded, Tensor)
    return frame.symbols, decoded


def over_awgn(codec: MambaJSCC, images: Tensor, snr_db: Tensor, seed: int) -> Transmission:
    size = (images.shape[2], images.shape[3])
    link = Link(Awgn())
    frame = encode(codec, images, snr_db=snr_db, max_symbols=10**6)
    return transmit(
        codec,
        frame,
        link,
        snr_db=snr_db,
        realisation=link.channel.draw_batch(seed, len(images), frame.symbols.shape[1]),
        rx_snr_db=snr_db,
        image_size=size,
    )


# --------------------------------------------------------------------------------------------------
# The architecture.


def test_paper_preset_has_the_papers_size() -> None:
    """Table I of arXiv 2409.16592: 14.54 M parameters, 25.76 G multiply-accumulates at 256x256."""
    codec = MambaJSCC(**MambaJSCC.presets["paper"]).eval()
    images, snr_db = random_images(1, 64, 64), torch.tensor([10.0])

    def run() -> None:
        with torch.inference_mode():
            clean_round_trip(codec, images, snr_db)

    macs, _ = count_macs(run)
    assert count_parameters(codec) == pytest.approx(14.54e6, rel=0.01)
    assert 16 * macs == pytest.approx(25.76e9, rel=0.01)  # all layers are linear in the pixels


def test_csi_rest_costs_no_parameter() -> None:
    assert count_parameters(tiny()) == count_parameters(tiny(channel_adaptation="none"))


def test_channel_mlp_is_two_square_layers_and_a_norm() -> None:
    blocks = [
        d for d, depth in zip(TINY["dims"], TINY["depths"], strict=True) for _ in range(depth)
    ]
    expected = 2 * sum(2 * (d * d + d) + 2 * d for d in blocks)
    assert count_parameters(tiny()) - count_parameters(tiny(mlp=False)) == expected


def test_four_directions_double_the_scans() -> None:
    def scan_parameters(dim: int) -> int:
        inner, rank = 2 * dim, -(-dim // 16)
        return 2 * inner * ((rank + 32) + rank + 1 + 16 + 1)

    blocks = [
        d for d, depth in zip(TINY["dims"], TINY["depths"], strict=True) for _ in range(depth)
    ]
    expected = 2 * sum(scan_parameters(d) for d in blocks)
    assert count_parameters(tiny(scan_directions=4)) - count_parameters(tiny()) == expected


def test_modnet_has_swinjsccs_size() -> None:
    d = TINY["dims"][-1]
    m = 3 * d // 2
    layers = (d * m + m) + 6 * (m * m + m) + (m * d + d)
    gates = 7 * (2 * m + 2 * (m * m + m))
    extra = count_parameters(tiny(channel_adaptation="modnet")) - count_parameters(tiny())
    assert extra == 2 * (layers + gates)


def test_initial_values_are_mambas() -> None:
    scan = VSSMBlock(dim=32, config=BlockConfig()).ss2d.rows
    torch.testing.assert_close(scan.A_log.exp()[1, 5], torch.arange(1.0, 17.0))
    steps = F.softplus(scan.dt_bias.detach())
    assert 0.001 <= float(steps.min()) < 0.003
    assert 0.03 < float(steps.max()) <= 0.1001
    assert bool((scan.D == 1).all())


# --------------------------------------------------------------------------------------------------
# The block against its equations, written out in float64.


def gssm(scan: nn.Module, direction: int, a: Tensor, snr_db: float, interval: int | None) -> Tensor:
    """One GSSM over a [L, channels], token by token, states in a Python loop."""
    rank, n = scan.dt_weight.shape[2], 16
    rows = scan.x_proj.weight.view(2, rank + 2 * n, -1)[direction]
    delta_rank, B, C = (a @ rows.T).split([rank, n, n], dim=1)
    delta = torch.log1p(
        torch.exp(delta_rank @ scan.dt_weight[direction].T + scan.dt_bias[direction])
    )
    A = -torch.exp(scan.A_log[direction])
    h = torch.zeros(a.shape[1], n, dtype=a.dtype)
    y = torch.empty_like(a)
    for k in range(len(a)):
        if k == 0 or (interval is not None and k % interval == 0):
            h[:, 0] = snr_db
        h = torch.exp(delta[k, :, None] * A) * h + torch.outer(delta[k] * a[k], B[k])
        y[k] = h @ C[k] + scan.D[direction] * a[k]
    return y


def ss2d_written_out(block: SS2D, x: Tensor, snr_db: float, interval: int | None) -> Tensor:
    """SS2D of one image x [H, W, dim] under all its schemes, each put back in raster order."""
    H, W, _ = x.shape
    a, z = (x @ block.in_proj.weight.T).chunk(2, dim=-1)
    a = F.conv2d(a.permute(2, 0, 1)[None], block.conv.weight, block.conv.bias, 1, 1, 1, a.shape[2])
    a = a[0].permute(1, 2, 0)
    a = (a / (1 + torch.exp(-a))).reshape(H * W, -1)
    raster = torch.arange(H * W)
    column = raster.view(H, W).T.flatten()
    schemes = [(block.rows, 0, raster), (block.rows, 1, raster.flip(0))]
    if block.columns is not None:
        schemes += [(block.columns, 0, column), (block.columns, 1, column.flip(0))]
    y = torch.zeros_like(a)
    for scan, direction, order in schemes:
        y[order] += gssm(scan, direction, a[order], snr_db, interval)
    y = (y - y.mean(1, keepdim=True)) / (y.var(1, keepdim=True, correction=0) + 1e-5).sqrt()
    y = (y * block.norm.weight + block.norm.bias).view(H, W, -1)
    return (y * (z / (1 + torch.exp(-z)))) @ block.out_proj.weight.T


@pytest.mark.parametrize("directions", [2, 4])
@pytest.mark.parametrize("interval", [None, 7])
@torch.no_grad()
def test_ss2d_is_the_papers_equations(directions: int, interval: int | None) -> None:
    torch.manual_seed(3)
    config = BlockConfig(scan_directions=directions, csi_interval=interval)
    block = SS2D(dim=8, config=config)
    x = torch.randn(2, 5, 6, 8)
    out = block(x, torch.tensor([4.0, -9.0]))
    block.double()
    for image, snr_db, found in zip(x.double(), (4.0, -9.0), out, strict=True):
        expected = ss2d_written_out(block, image, snr_db, interval)
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)


# --------------------------------------------------------------------------------------------------
# The SNR.


def blocks_of(codec: MambaJSCC) -> dict[str, VSSMBlock]:
    return {name: m for name, m in codec.named_modules() if isinstance(m, VSSMBlock)}


@pytest.mark.parametrize("size", [(32, 32), (96, 64), (70, 130)])
@torch.inference_mode()
def test_told_snr_reaches_every_block(size: tuple[int, int]) -> None:
    """Each block is given what it got at another SNR: only the told SNR can then change it."""
    codec = tiny()
    images = random_images(2, *size)
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    changed: dict[str, Tensor] = {}

    def record(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Tensor, Tensor], out: Tensor) -> None:
            inputs[name], outputs[name] = args[0], out

        return hook

    def replay(name: str) -> Callable[..., tuple[Tensor, Tensor]]:
        return lambda _, args: (inputs[name], args[1])

    def compare(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: tuple[Tensor, Tensor], out: Tensor) -> None:
            changed[name] = (out - outputs[name]).abs().amax(dim=(1, 2, 3))

        return hook

    blocks = blocks_of(codec)
    hooks = [block.register_forward_hook(record(name)) for name, block in blocks.items()]
    clean_round_trip(codec, images, torch.tensor([1.0, 1.0]))
    for hook in hooks:
        hook.remove()
    for name, block in blocks.items():
        block.register_forward_pre_hook(replay(name))
        block.register_forward_hook(compare(name))
    clean_round_trip(codec, images, torch.tensor([1.0, 19.0]))
    assert changed.keys() == blocks.keys()
    assert len(changed) == 2 * sum(TINY["depths"])
    for name, change in changed.items():
        assert change[0] == 0, name  # this image was told the same
        assert change[1] > 1e-4, name


@pytest.mark.parametrize("adaptation", ["csi_rest", "modnet"])
@torch.inference_mode()
def test_output_follows_the_told_snr_alone(adaptation: str) -> None:
    codec = tiny(channel_adaptation=adaptation)
    images = random_images(1, 32, 32)
    symbols, _ = clean_round_trip(codec, images, torch.tensor([1.0]))
    other_symbols, _ = clean_round_trip(codec, images, torch.tensor([19.0]))
    assert float((symbols - other_symbols).abs().max()) > 1e-4
    latent = codec.latent_of(symbols, (32, 32))
    one, other = (codec.synthesis(latent, torch.tensor([snr])) for snr in (1.0, 19.0))
    assert float((one - other).abs().max()) > 1e-4


@torch.inference_mode()
def test_without_csi_the_snr_is_not_used() -> None:
    images = random_images(1, 32, 32)
    codec = tiny(channel_adaptation="none")
    told, _ = clean_round_trip(codec, images, torch.tensor([19.0]))
    untold, _ = clean_round_trip(codec, images, None)
    assert torch.equal(told, untold)
    assert not codec.encoder_uses_snr


@torch.inference_mode()
def test_withheld_snr_is_an_ordinary_scan() -> None:
    """The same weights without channel adaptation give the same symbols."""
    images = random_images(1, 32, 32)
    codec, plain = tiny(), tiny(channel_adaptation="none")
    plain.load_state_dict(codec.state_dict())
    assert torch.equal(
        clean_round_trip(codec, images, None)[1], clean_round_trip(plain, images, None)[1]
    )


def test_modnet_cannot_do_without_the_snr() -> None:
    with pytest.raises(InputError, match="Channel ModNet needs an SNR"):
        clean_round_trip(tiny(channel_adaptation="modnet"), random_images(1, 32, 32), None)


# --------------------------------------------------------------------------------------------------
# The contract.


@pytest.mark.parametrize("size", [(8, 8), (32, 32), (96, 64), (255, 257)])
@torch.inference_mode()
def test_any_image_size(size: tuple[int, int]) -> None:
    images = random_images(1, *size)
    symbols, decoded = clean_round_trip(tiny(), images, torch.tensor([10.0]))
    h, w = -(-size[0] // 16), -(-size[1] // 16)
    assert symbols.shape == (1, TINY["latent_channels"] * h * w // 2)
    assert decoded.shape == images.shape
    assert bool(decoded.isfinite().all())


@torch.inference_mode()
def test_an_image_does_not_depend_on_its_batch() -> None:
    codec, images, snr_db = tiny(), random_images(3, 40, 56), torch.tensor([1.0, 10.0, 19.0])
    together = clean_round_trip(codec, images, snr_db)
    alone = clean_round_trip(codec, images[1:2], snr_db[1:2])
    for many, one in zip(together, alone, strict=True):
        torch.testing.assert_close(many[1:2], one, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_nested_rate_sends_a_prefix_of_the_latent() -> None:
    codec, images, snr_db = tiny(rate="nested"), random_images(2, 64, 64), torch.tensor([3.0, 9.0])
    everything, _ = clean_round_trip(codec, images, snr_db)
    quarter = everything.shape[1] // 4
    some, decoded = clean_round_trip(codec, images, snr_db, max_symbols=quarter)
    assert torch.equal(some, everything[:, :quarter])
    latent = torch.view_as_real(everything).reshape(2, TINY["latent_channels"], 4, 4).clone()
    latent[:, TINY["latent_channels"] // 4 :] = 0
    torch.testing.assert_close(decoded, codec.synthesis(latent, snr_db))


@pytest.mark.parametrize(
    "options", ABLATIONS, ids=lambda o: "-".join(str(value) for value in o.values())
)
def test_every_ablation_trains_every_parameter(options: dict[str, object]) -> None:
    codec = tiny(**options, drop_path=0.0).train()
    images = random_images(2, 32, 32)
    sent = over_awgn(codec, images, torch.tensor([1.0, 13.0]), seed=5)
    F.mse_loss(sent.decoded.images, images).backward()
    without = [
        name
        for name, parameter in codec.named_parameters()
        if parameter.grad is None or not bool(parameter.grad.any())
    ]
    assert without == []


def test_drop_path_skips_branches_in_training_only() -> None:
    codec, images, snr_db = tiny(drop_path=0.9), random_images(1, 32, 32), torch.tensor([5.0])
    with torch.inference_mode():
        first, again = (clean_round_trip(codec, images, snr_db)[0] for _ in range(2))
        assert torch.equal(first, again)
        codec.train()
        other = clean_round_trip(codec, images, snr_db)[0]
    assert not torch.equal(first, other)


@torch.inference_mode()
def test_numbers_are_those_of_version_0_1() -> None:
    """A later change that alters them is seen: eight pixels of a fixed image and seed."""
    _, decoded = clean_round_trip(tiny(), random_images(1, 32, 48), torch.tensor([7.0]))
    found = decoded[0, :, ::9, ::13].flatten()[::6]
    torch.testing.assert_close(found, torch.tensor(GOLDEN), rtol=0, atol=1e-4)


@torch.inference_mode()
def test_bf16_is_near_fp32() -> None:
    codec, images, snr_db = tiny(), random_images(1, 64, 64), torch.tensor([10.0])
    _, exact = clean_round_trip(codec, images, snr_db)
    codec.precision = "bf16"
    symbols, rounded = clean_round_trip(codec, images, snr_db)
    assert symbols.dtype == torch.complex64
    assert rounded.dtype == torch.float32
    assert float((rounded - exact).square().mean().sqrt()) < 0.01


def test_learns_eight_images_and_profits_from_the_snr() -> None:
    torch.manual_seed(0)
    codec = tiny().train()
    ramp = torch.linspace(0, 1, 32)
    colours = torch.rand(8, 3, 1, 1, generator=torch.Generator().manual_seed(4))
    images = (colours + ramp.view(1, 1, 32, 1) + colours.flip(0) * ramp).div(3)
    optimiser = torch.optim.AdamW(codec.parameters(), lr=4e-3)
    losses = []
    for step in range(80):
        sent = over_awgn(codec, images, torch.linspace(0, 20, 8), seed=step)
        loss = F.mse_loss(sent.decoded.images, images)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > 3 * float(images.var())
    assert sum(losses[-10:]) / 10 < float(images.var()) / 5
    with torch.inference_mode():
        poor, good = (
            over_awgn(codec.eval(), images, torch.full((8,), snr), seed=1000).decoded.images
            for snr in (0.0, 20.0)
        )
    assert F.mse_loss(good, images) < F.mse_loss(poor, images)


MEMORY_PROBE = """
import resource, torch
from linksim.mambajscc.model import MambaJSCC
from linksim.runtime import keep_freed_memory
keep_freed_memory()
codec = MambaJSCC(**MambaJSCC.presets["paper"]).eval()
with torch.inference_mode():
    codec.synthesis(codec.analysis(torch.rand(1, 3, 512, 768), None), None)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_paper_preset_codes_a_photograph_in_two_gibibytes() -> None:
    out = subprocess.run([sys.executable, "-c", MEMORY_PROBE], capture_output=True, check=True)
    assert int(out.stdout) < 2 * 2**30


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the selective scan runs on its slow reference")
def test_native_and_reference_backends_train_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 steps from the same weights over the same data: the loss curves lie on each other."""

    def losses() -> Tensor:
        codec = tiny().train()
        optimizer = torch.optim.Adam(codec.parameters(), lr=1e-3)
        images, snr_db = random_images(4, 32, 32), torch.tensor([1.0, 7.0, 13.0, 19.0])
        curve = []
        for step in range(200):
            decoded = over_awgn(codec, images, snr_db, seed=step).decoded.images
            loss = (decoded - images).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
        return torch.tensor(curve)

    native = losses()
    monkeypatch.setattr("linksim.selective_scan.backend.KERNEL", None)
    reference = losses()
    assert native[-1] < 0.9 * native[0]
    assert torch.allclose(native[:20], reference[:20], rtol=1e-4)
    assert torch.allclose(native, reference, rtol=1e-2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dims": (16, 24, 32)}, "dims is"),
        ({"depths": (1, 1, 0, 1)}, "depths is"),
        ({"channel_adaptation": "snr"}, "csi_rest"),
        ({"scan_directions": 3}, "2 and 4"),
        ({"csi_interval": 0}, "at least 1"),
        ({"drop_path": 1.0}, "drop_path"),
    ],
)
def test_refuses_options_outside_its_range(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny(**options)


def test_the_authors_kernel_never_sets_the_state_before_the_first_token() -> None:
    """With csi_start false a scan shorter than the interval sees no SNR; a longer one does."""
    torch.manual_seed(0)
    options = {**MambaJSCC.presets["tiny"], "csi_start": False}
    images = torch.rand(1, 3, 32, 32)
    for interval, told in ((2048, False), (100, True)):
        codec = MambaJSCC(**options, csi_interval=interval).eval()
        with torch.inference_mode():
            low, high = (codec.analysis(images, torch.tensor([snr])) for snr in (1.0, 20.0))
        assert torch.equal(low, high) is not told


def test_activation_is_one_of_two() -> None:
    with pytest.raises(InputError, match="activation is 'relu'"):
        MambaJSCC(activation="relu")  # type: ignore[arg-type]
