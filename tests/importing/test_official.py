"""Imported checkpoints are the authors' functions: against what their own code computed.

The references, made with the public code and random weights, lie in ../shared/data/official.
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from linksim.codec import Decoded, TxInfo
from linksim.errors import InputError
from linksim.importing import import_weights
from linksim.neural_codec import NeuralCodec, read_weights_metadata
from linksim.sweep.scenario import Scenario
from tests.helpers.official import MVSC4, OFFICIAL, Official
from tests.helpers.sweeping import rows_of

TOLERANCE = 1e-4


def images_of(official: Official, io: dict[str, Tensor]) -> Tensor:
    image = io["image"]
    return image.float() / 255 if image.dtype == torch.uint8 else image.permute(0, 3, 1, 2)


def as_map(official: Official, name: str, io: dict[str, Tensor], stride: int) -> Tensor:
    """A latent or an image of theirs as [B, C, h, w], at the link's scale of one real value."""
    tensor = io[name]
    if official.codec == "swinjscc" and tensor.ndim == 3:
        height, width = (side // stride for side in io["image"].shape[-2:])
        return tensor.transpose(1, 2).unflatten(2, (height, width))
    if official.codec == "adjscc":
        return tensor.permute(0, 3, 1, 2)
    if official.codec == "deepjscc" and name != "decoder_out":
        return tensor / 2**0.5  # its symbols have twice the power
    return tensor


def transmitted(
    codec: NeuralCodec, images: Tensor, snr_db: Tensor, io: dict[str, Tensor]
) -> Tensor:
    """The latent that leaves, zero in channels that are not sent."""
    if "mask" not in io:
        return codec.analysis(images, snr_db)
    kept = int(io["rate"])
    height, width = (side // codec.stride for side in images.shape[-2:])
    size = (images.shape[-2], images.shape[-1])
    info = TxInfo(snr_db=snr_db, max_symbols=height * width * kept // 2, image_size=size)
    frame = codec.encode(images, info)
    sent = torch.view_as_real(frame.symbols).reshape(1, kept, height, width)
    latent = torch.zeros(1, codec.latent_channels, height, width)
    latent[:, io["mask"][0].bool()] = sent
    assert frame.side_info is not None
    bits = "".join(f"{byte:08b}"[::-1] for byte in frame.side_info[0])[: io["mask"].shape[1]]
    assert [int(bit) for bit in bits] == io["mask"][0].int().tolist()
    assert frame.side_info_bits is not None
    assert frame.side_info_bits.tolist() == [io["mask"].shape[1] + 16]  # and the scale
    return latent


@pytest.mark.parametrize("official", OFFICIAL, ids=lambda one: one.name)
def test_encoder_and_decoder_are_the_authors(
    official: Official, shared: Path, tmp_path: Path
) -> None:
    io = official.io(shared)
    codec = official.load(official.imported(shared, tmp_path))
    images = images_of(official, io)
    snr_db = io.get("snr_db", io.get("snr", torch.zeros(1))).flatten().expand(len(images))
    with torch.inference_mode():
        latent = transmitted(codec, images, snr_db, io)
        decoded = codec.synthesis(as_map(official, "latent", io, codec.stride), snr_db)
    wanted = as_map(official, "encoder_out", io, codec.stride)
    if official.codec == "deepjscc":  # given after its power normalisation, an image
        latent = (
            latent
            * (wanted.square().mean((1, 2, 3)) / latent.square().mean((1, 2, 3)))[
                :, None, None, None
            ].sqrt()
        )
    assert (latent - wanted).abs().max() < TOLERANCE
    assert isinstance(decoded, Tensor)
    assert (decoded - as_map(official, "decoder_out", io, codec.stride)).abs().max() < TOLERANCE


def test_mvsc4_is_the_authors(shared: Path, tmp_path: Path) -> None:
    """From image to class; windows that the map does not fill are filled up as theirs are."""
    io = MVSC4.io(shared)
    codec = MVSC4.load(MVSC4.imported(shared, tmp_path))
    images = images_of(MVSC4, io)
    with torch.inference_mode():
        latent = codec.analysis(images, None)
        decoded = codec.synthesis(io["received"] * 3**0.5, None)  # at unit power a symbol: C / 2
        codec.class_head.register_forward_hook(lambda *seen: seen_logits.append(seen[2]))
        seen_logits: list[Tensor] = []
        codec.synthesis(io["received"] * 3**0.5, None)
        s_hat = codec.estimator(io["received"])
        raw = codec.encoder(images)
    assert isinstance(decoded, Decoded)
    assert (raw - io["encoder_before_energy_norm"]).abs().max() < TOLERANCE
    assert (latent - io["encoder_out"]).abs().max() < TOLERANCE
    assert (s_hat - io["s_hat"]).abs().max() < TOLERANCE
    assert (decoded.images - io["decoder_out"]).abs().max() < TOLERANCE
    assert (decoded.report["snr_db_estimate"] - io["snr_db_estimate"]).abs().max() < TOLERANCE
    assert (seen_logits[0] - io["class_logits"]).abs().max() < TOLERANCE
    with pytest.raises(InputError, match=r"add --set windows=\[…\]"):
        import_weights(MVSC4.state(shared), "mvsc4", out=tmp_path / "x.safetensors")


@pytest.mark.parametrize("official", [*OFFICIAL, MVSC4], ids=lambda one: one.name)
def test_a_scenario_runs_them(official: Official, shared: Path, tmp_path: Path) -> None:
    weights = official.imported(shared, tmp_path)
    options, card = read_weights_metadata(weights)
    per_channel = 96 if official.codec in ("deepjscc", "adjscc", "mvsc4") else 1536
    scenario = Scenario.model_validate(
        {
            "name": "imported",
            "images": {"source": "kodak", "crop": 64, "limit": 1},
            "channel": {"type": "awgn"},
            "snr_db": [10],
            "cbr": options["latent_channels"] / per_channel,
            "metrics": ["psnr"],
            "codecs": [{"codec": official.codec, "weights": str(weights)}],
        }
    )
    rows = rows_of(scenario, tmp_path / "results")
    assert len(rows) == 1
    assert rows["psnr"].between(0, 60).all()
    mask = options["latent_channels"] if options.get("rate_adaptation") == "modnet" else 0
    scale = 16 if options.get("scale") == "side_info" else 0
    assert rows["side_info_bits"].tolist() == [mask + scale]
    assert card["imported"][0]["file"] == "state_dict.safetensors"
    assert len(card["imported"][0]["sha256"]) == 64


def test_a_wrong_window_or_activation_is_seen(shared: Path, tmp_path: Path) -> None:
    """The comparison can fail: with the paper's activation the published network is another."""
    official = next(one for one in OFFICIAL if one.name.endswith("gelu"))
    wrong = Official(
        name=official.name, codec="mambajscc", options={**official.options, "activation": "silu"}
    )
    io = official.io(shared)
    codec = wrong.load(wrong.imported(shared, tmp_path))
    with torch.inference_mode():
        latent = codec.analysis(images_of(official, io), io["snr_db"])
    assert (latent - io["encoder_out"]).abs().max() > 100 * TOLERANCE
