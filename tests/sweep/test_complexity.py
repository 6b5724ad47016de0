"""Counts against hand-worked ones."""

import json
from itertools import pairwise

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.adjscc import ADJSCC
from baselines.swinjscc import SwinJSCC
from linksim.cli.measure import show_complexity
from linksim.codec import Codec, Frame, Received, RxInfo, TxInfo
from linksim.mambajscc.model import MambaJSCC
from linksim.neural_codec import NeuralCodec
from linksim.sweep.complexity import complexity, count_macs
from tests.helpers.counting import giga_macs, mega_parameters


class TwoConvolutions(NeuralCodec):
    """A convolution down by 4 and a transposed one up again."""

    stride = 4
    downsampling = 4

    def __init__(self) -> None:
        super().__init__(latent_channels=6, rate="nested")
        self.down = nn.Conv2d(3, 6, 4, stride=4)
        self.up = nn.ConvTranspose2d(6, 3, 4, stride=4)

    def analysis(self, images: Tensor, snr_db: Tensor | None) -> Tensor:
        return self.down(images)

    def synthesis(self, latent: Tensor, snr_db: Tensor | None) -> Tensor:
        return self.up(latent)


class Grey(Codec):
    """Sends nothing of the image."""

    def encode(self, images: Tensor, tx: TxInfo) -> Frame:
        return Frame.analog(torch.ones(len(images), tx.max_symbols, dtype=torch.complex64))

    def decode(self, received: Received, rx: RxInfo) -> Tensor:
        return torch.full((len(received.symbols), 3, *rx.image_size), 0.5)


def test_both_sides_are_counted() -> None:
    cost = complexity(TwoConvolutions(), 32, repetitions=1)
    assert cost.parameters == (3 * 6 * 16 + 6) + (6 * 3 * 16 + 3)
    assert cost.macs == 2 * (8 * 8) * 16 * 3 * 6  # each at the latent's 8x8 places
    assert cost.scan_macs == 0
    assert cost.latency_ms > 0


def test_a_classical_codec_has_no_macs() -> None:
    cost = complexity(Grey(), 16, cbr=1 / 16, repetitions=1)
    assert (cost.parameters, cost.macs, cost.scan_macs) == (0, None, None)
    assert cost.latency_ms > 0


def test_attention_products_are_counted() -> None:
    q, k, v = torch.rand(3, 2, 4, 10, 8)  # batch 2, heads 4, tokens 10, width 8

    def attend() -> None:
        with torch.inference_mode():
            F.scaled_dot_product_attention(q, k, v)

    macs, _ = count_macs(attend)
    assert macs == 2 * (2 * 4 * 10 * 10 * 8)


@pytest.mark.parametrize("directions", [2, 4])
def test_scans_are_counted_apart(directions: int) -> None:
    """Three products for each token, channel, state and direction; 16 states, channels 2d."""
    codec = MambaJSCC(dims=(8, 16, 16, 32), depths=(1, 1, 1, 1), scan_directions=directions).eval()
    cost = complexity(codec, 32, repetitions=1)
    pairs = 16 * 16 * 16 + 8 * 8 * 32 + 4 * 4 * 32 + 2 * 2 * 64
    assert cost.scan_macs == 2 * directions * 3 * 16 * pairs


DIMS, LATENT_CHANNELS, STATES = (128, 192, 256, 320), 32, 16
"""MambaJSCC's widths and latent in Table I of Wu et al., arXiv 2409.16592."""


def mambajscc_by_hand(
    side: int, *, depths: tuple[int, ...], directions: int, mlp: bool, modnet: bool
) -> tuple[int, int, int]:
    """(parameters, macs, scan_macs), layer by layer, of the architecture in section IV there."""
    parameters = macs = scan_macs = 0
    tokens = [(side // 2 ** (stage + 1)) ** 2 for stage in range(4)]
    for d, depth, count in zip(DIMS, depths, tokens, strict=True):
        inner, rank = 2 * d, d // 16
        projections = inner * (rank + 2 * STATES) + rank * inner  # x_proj, W_delta
        weights = d * 2 * inner + 9 * inner + directions * projections + inner * d
        others = 2 * d + inner + directions * inner * (STATES + 2) + 2 * inner  # norms, A, b_delta…
        if mlp:
            weights += 2 * d * d
            others += 2 * d + 2 * d
        blocks = 2 * depth  # encoder and decoder
        parameters += blocks * (weights + others)
        macs += blocks * weights * count
        scan_macs += blocks * directions * 3 * STATES * inner * count
    embedding, latent = 3 * 4 * DIMS[0], DIMS[3] * LATENT_CHANNELS
    parameters += embedding + 3 * DIMS[0] + 2 * latent + LATENT_CHANNELS + DIMS[3]
    macs += embedding * tokens[0] + 2 * latent * tokens[3]
    for stage, (a, b) in enumerate(pairwise((3, *DIMS))):
        parameters += 4 * a * b + 2 * b  # patch division b -> 4a
        macs += 4 * a * b * tokens[stage]
        if stage > 0:
            parameters += 4 * a * b + 8 * a  # patch merging 4a -> b
            macs += 4 * a * b * tokens[stage]
    if modnet:
        d, m = DIMS[3], 480
        linears, gates = d * m + 6 * m * m + m * d, 7 * (m + 2 * m * m)
        parameters += 2 * (linears + 7 * m + d + gates + 7 * 3 * m)
        macs += 2 * (linears * tokens[3] + gates)
    return parameters, macs, scan_macs


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        ([], {}),
        (["channel_adaptation=none"], {}),  # CSI-ReST itself costs nothing
        (["channel_adaptation=modnet"], {"modnet": True}),
        (["scan_directions=4"], {"directions": 4}),
        (["mlp=false"], {"mlp": False}),
        (["mlp=false", "depths=[2,2,9,2]"], {"mlp": False, "depths": (2, 2, 9, 2)}),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, list) else "",
)
def test_ablations_of_mambajscc(
    capsys: pytest.CaptureFixture[str], settings: list[str], changes: dict[str, object]
) -> None:
    """What `linksim complexity mambajscc --set …` prints is the sum over the layers, exactly.

    The ablations are those of Table III in arXiv 2409.16592. Its own counts are not at hand here
    (only Table I's are, which test_mambajscc.py and ``test_the_hand_count_is_table_1`` hold).
    """
    show_complexity(
        "mambajscc", everything=False, preset="paper", settings=settings, size=64, as_json=True,
        console=Console(),
    )  # fmt: skip
    found = json.loads(capsys.readouterr().out)
    built = {"depths": (2, 2, 6, 2), "directions": 2, "mlp": True, "modnet": False, **changes}
    expected = mambajscc_by_hand(64, **built)  # type: ignore[arg-type]
    assert (found["parameters"], found["macs"], found["scan_macs"]) == expected


@pytest.mark.parametrize(("side", "giga_macs"), [(256, 25.76), (512, 103.04)])
def test_the_hand_count_is_table_1(side: int, giga_macs: float) -> None:
    """Within 1 % of arXiv 2409.16592, Table I."""
    parameters, macs, _ = mambajscc_by_hand(
        side, depths=(2, 2, 6, 2), directions=2, mlp=True, modnet=False
    )
    assert parameters == pytest.approx(14.54e6, rel=0.01)
    assert macs == pytest.approx(giga_macs * 1e9, rel=0.01)


@pytest.mark.parametrize(
    ("codec_class", "option", "mega", "giga"),
    [
        (SwinJSCC, {"embedding_norm": False}, 28.24, 35.54),
        (ADJSCC, {"form": "published"}, 10.57, 46.21),
    ],
)
def test_published_configurations_cost_what_table_1_says(
    codec_class: type[NeuralCodec], option: dict[str, object], mega: float, giga: float
) -> None:
    """As their public code has them, which differs from the papers' in a norm or a few GDN."""
    codec = codec_class(**{**codec_class.presets["paper"], **option})
    assert mega_parameters(codec) == pytest.approx(mega, rel=0.01)
    assert 4 * giga_macs(codec, 128) == pytest.approx(giga, rel=0.01)


def test_the_published_mambajscc_costs_what_the_papers_does() -> None:
    options = {**MambaJSCC.presets["paper"], "activation": "gelu", "csi_start": False}
    codec = MambaJSCC(**options, csi_interval=2048)
    parameters, macs, scan_macs = mambajscc_by_hand(
        64, depths=(2, 2, 6, 2), directions=2, mlp=True, modnet=False
    )
    assert mega_parameters(codec) == parameters / 1e6
    assert giga_macs(codec, 64) == (macs + scan_macs) / 1e9
