"""MambaJSCC (Wireless3C-SJTU/MambaJSCC): one file an encoder and one a decoder."""

import re
from typing import Any

from torch import Tensor

from linksim.errors import InputError
from linksim.importing.tensors import (
    Converted,
    Source,
    division,
    from_unit_range,
    merging,
    modnet,
)

_PUBLISHED_INTERVAL = 2048
"""Tokens after which the authors' kernel sets the state: the length of its chunks."""
_ADAPTATIONS = {"ssm": "csi_rest", "attn": "modnet", "no": "none"}


def convert(source: Source) -> Converted:
    """Encoder and decoder from two files, or one; see :func:`linksim.import_weights`."""
    depths = [
        source.count(f"encoder.layers.{i}.blocks.{{}}.")
        for i in range(source.count("encoder.layers.{}."))
    ]
    if len(depths) != 4 or min(depths) < 1:
        raise InputError(
            f"{source.where}: no encoder.layers.0 to 3 with blocks; MambaJSCC wants two files, "
            "the encoder's and the decoder's"
        )
    op = "encoder.layers.{}.blocks.0.op."
    dims = [source.take(f"{op.format(i)}in_proj.weight", axes=2).shape[1] for i in range(4)]
    directions = source.take(f"{op.format(0)}x_proj_weight", axes=3).shape[0]
    adaptation = _adaptation(source)
    options: dict[str, Any] = {
        "dims": dims,
        "depths": depths,
        "latent_channels": source.take("encoder.head.weight", axes=4).shape[0],
        "channel_adaptation": adaptation,
        "activation": source.given.get("activation", "gelu"),
        "csi_interval": source.given.get("csi_interval", _PUBLISHED_INTERVAL),
        "csi_start": source.given.get("csi_start", False),
        "scan_directions": directions,
        "mlp": source.has("encoder.layers.0.blocks.0.extent.fc1.weight"),
        "scale": "side_info",
    }
    state = _encoder(source, depths) | _decoder(source, depths)
    if adaptation == "modnet":
        for side in ("encoder", "decoder"):
            state |= modnet(source, f"{side}.sm_list", f"{side}.bm_list", f"{side}.modnet")
    return Converted(
        options=options,
        state=state,
        superfluous=(r"(?!encoder\.|decoder\.).*",),
        conventions=_CONVENTIONS,
        lost=_LOST,
    )


_CONVENTIONS = (
    "SNR: Es/N0, as here",
    "CBR: latent channels / 1536, as here: 1/48 for 32",
    "activation GELU (the published configuration) unless --set activation=silu (the paper's)",
    "CSI-ReST by the published kernel: before tokens 2048, 4096, … and never before token 0, "
    "unless --set csi_start=true (the paper's)",
    "power: normalised over the whole batch there, over each image here",
    "scale: given to the receiver for nothing there; here 16 bits an image, counted",
)
_LOST = ("pairing: real values become complex symbols in another order, which AWGN does not feel",)


def _adaptation(source: Source) -> str:
    """From the ModNet's tensors, or the name's ``adpssm``, ``adpattn``, ``adpno``."""
    if "channel_adaptation" in source.given:
        return str(source.given["channel_adaptation"])
    if source.has("encoder.bm_list.0.fc.0.weight"):
        return "modnet"
    found = re.search(r"adp(ssm|attn|no)", source.file_name)
    if found is None:
        raise InputError(
            f"{source.where}: neither the tensors nor the name say how the SNR is used; add "
            "--set channel_adaptation=csi_rest or --set channel_adaptation=none"
        )
    return _ADAPTATIONS[found[1]]


def _scans(source: Source, op: str, ours: str) -> dict[str, Tensor]:
    """The GSSMs: those along rows, and of four also those along columns."""
    x_proj = source.take(f"{op}.x_proj_weight", axes=3)
    K = len(x_proj)
    inner = x_proj.shape[2]
    stacked = {
        "dt_weight": source.take(f"{op}.dt_projs_weight", axes=3),
        "dt_bias": source.take(f"{op}.dt_projs_bias", axes=2),
        "A_log": source.take(f"{op}.A_logs", axes=2).reshape(K, inner, -1),
        "D": source.take(f"{op}.Ds", axes=1).reshape(K, inner),
    }
    orders = {"rows": [0, 1]} if K == 2 else {"rows": [0, 2], "columns": [1, 3]}
    state: dict[str, Tensor] = {}
    for order, pair in orders.items():
        state[f"{ours}.{order}.x_proj.weight"] = x_proj[pair].flatten(0, 1)
        state |= {f"{ours}.{order}.{name}": value[pair] for name, value in stacked.items()}
    return state


def _block(source: Source, theirs: str, ours: str) -> dict[str, Tensor]:
    names = {
        "norm": "norm",
        "op.in_proj": "ss2d.in_proj",
        "op.conv2d": "ss2d.conv",
        "op.out_norm": "ss2d.norm",
        "op.out_proj": "ss2d.out_proj",
    }
    if source.has(f"{theirs}.extent.fc1.weight"):
        names |= {"norm_extent": "mlp.0", "extent.fc1": "mlp.1", "extent.fc2": "mlp.3"}
    state = _scans(source, f"{theirs}.op", f"{ours}.ss2d")
    for name, our_name in names.items():
        state |= source.layer(f"{theirs}.{name}", f"{ours}.{our_name}")
    return state


def _head(source: Source, side: str, ours: str) -> dict[str, Tensor]:
    weight = source.take(f"{side}.head.weight", axes=4)
    return {f"{ours}.weight": weight.flatten(1), f"{ours}.bias": source.take(f"{side}.head.bias")}


def _encoder(source: Source, depths: list[int]) -> dict[str, Tensor]:
    weight, bias = from_unit_range(
        source.take("encoder.patch_embed.0.weight", axes=4),
        source.take("encoder.patch_embed.0.bias", axes=1),
    )
    state = {"encoder.embed.weight": weight, "encoder.embed.bias": bias}
    state |= source.layer("encoder.patch_embed.2", "encoder.norm")
    for i, depth in enumerate(depths):
        for j in range(depth):
            state |= _block(source, f"encoder.layers.{i}.blocks.{j}", f"encoder.stages.{i}.{j}")
        if i + 1 < len(depths):
            state |= merging(source, f"encoder.layers.{i}.downsample", f"encoder.merge.{i}")
    return state | _head(source, "encoder", "encoder.compress")


def _decoder(source: Source, depths: list[int]) -> dict[str, Tensor]:
    state = _head(source, "decoder", "decoder.expand")
    for i, depth in enumerate(reversed(depths)):
        for j in range(depth):
            state |= _block(source, f"decoder.layers.{i}.blocks.{j}", f"decoder.stages.{i}.{j}")
        theirs, ours = f"decoder.layers.{i}.upsample", f"decoder.divide.{i}"
        state |= division(source, theirs, ours, last=i + 1 == len(depths))
    return state
