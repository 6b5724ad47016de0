"""MVSC and MVSC4 (Linkcy97/MVSC): no weights are published; for those that users train with it."""

import torch
from torch import Tensor

from linksim.errors import InputError
from linksim.importing.tensors import Converted, Source, divided, merged


def convert(source: Source) -> Converted:
    """A state_dict; windows and heads stand in no tensor and must be given."""
    for name in ("windows", "heads"):
        if name not in source.given:
            raise InputError(
                f"{source.where}: no tensor tells {name}; add --set {name}=[…], one a level"
            )
    block = "encoder.levels.{}.blocks.{{}}."
    depths = [source.count(block.format(i)) for i in range(source.count("encoder.levels.{}."))]
    if not depths or min(depths) < 1:
        raise InputError(f"{source.where}: no encoder.levels.N.blocks; not MVSC")
    in_dim, dim = (
        source.take(f"encoder.patch_embed.conv_down.{place}.weight", axes=4).shape[0]
        for place in (0, 3)
    )
    options = {
        "dim": dim,
        "in_dim": in_dim,
        "depths": depths,
        "windows": source.given["windows"],
        "heads": source.given["heads"],
        "latent_channels": source.take("encoder.head_c.weight", axes=2).shape[0],
        "estimator_width": source.take("noise_est.conv1.weight", axes=4).shape[0],
        "window_padding": "zeros",
    }
    state = _ends(source) | _estimator(source)
    last = len(depths) - 1
    for i, depth in enumerate(depths):
        convolves = i < len(depths) // 2
        for side, level in (("encoder", i), ("decoder", last - i)):
            for j in range(depth):
                theirs = f"{side}.levels.{level}.blocks.{j}"
                ours = f"{side}.levels.{level}"
                state |= (
                    _convolutions(source, theirs, f"{ours}.{j}.branch")
                    if convolves
                    else _mixing(source, theirs, f"{ours}.blocks.{j}")
                )
        if i < last:
            state |= _resampling(source, i)
    if source.has("decoder.classfiy_net.6.weight"):
        options["classes"] = source.take("decoder.classfiy_net.6.weight", axes=2).shape[0]
        for place in (0, 2, 6):
            state |= source.layer(f"decoder.classfiy_net.{place}", f"class_head.{place}")
    return Converted(
        options=options,
        state=state,
        superfluous=(r"noise_anti\..*",),
        conventions=(
            "SNR: Es/N0 of complex symbols, as here",
            "CBR: latent channels / (6 * 4^levels), as here",
        ),
        lost=("Rayleigh: multiplied by |h| without an equaliser there; here the link equalises",),
    )


def _norm(source: Source, theirs: str, ours: str) -> dict[str, Tensor]:
    """A BatchNorm with its statistics."""
    names = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return {f"{ours}.{name}": source.take(f"{theirs}.{name}") for name in names}


def _ends(source: Source) -> dict[str, Tensor]:
    """Stem, image head, and the 1x1 layers around the channel."""
    state: dict[str, Tensor] = {}
    for theirs, ours in (
        ("encoder.patch_embed.conv_down", "encoder.stem"),
        ("decoder.patch_unembed.conv_up", "image_head"),
    ):
        for place in (0, 3):
            state |= source.layer(f"{theirs}.{place}", f"{ours}.{place}")
            state |= _norm(source, f"{theirs}.{place + 1}", f"{ours}.{place + 1}")
    for side, ours in (("encoder", "compress"), ("decoder", "expand")):
        state |= _norm(source, f"{side}.norm", f"{side}.norm")
        layer = source.layer(f"{side}.head_c", f"{side}.{ours}")
        layer[f"{side}.{ours}.weight"] = layer[f"{side}.{ours}.weight"][:, :, None, None]
        state |= layer
    for place, ours in ((0, "fusion.fc1"), (2, "fusion.fc2")):
        weight = source.take(f"de_att.fc.{place}.weight", axes=2)
        state[f"{ours}.weight"] = weight[:, :, None, None]
        state[f"{ours}.bias"] = weight.new_zeros(len(weight))
    return state


def _estimator(source: Source) -> dict[str, Tensor]:
    state = source.layer("noise_est.conv1", "estimator.entry")
    state |= source.layer("noise_est.conv2", "estimator.exit")
    for pair in (0, 1):
        for place in (0, 2):
            state |= source.layer(
                f"noise_est.resnet{pair + 1}.{place}", f"estimator.pairs.{pair}.{place}"
            )
    return state


def _convolutions(source: Source, theirs: str, ours: str) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for number, place in ((1, 0), (2, 3)):
        state |= source.layer(f"{theirs}.conv{number}", f"{ours}.{place}")
        state |= _norm(source, f"{theirs}.norm{number}", f"{ours}.{place + 1}")
    return state


def _mixing(source: Source, theirs: str, ours: str) -> dict[str, Tensor]:
    """A block on tokens. The authors add the bias of the step sizes twice: here it is doubled."""
    state: dict[str, Tensor] = {}
    names = {"norm1": "norm", "norm2": "mlp.0", "mlp.fc1": "mlp.1", "mlp.fc2": "mlp.3"}
    scans = source.has(f"{theirs}.mixer.A_log")
    if scans:
        names |= {f"mixer.{n}": f"mixer.{n}" for n in ("in_proj", "x_proj", "dt_proj", "out_proj")}
    else:
        names |= {"mixer.qkv": "mixer.qkv", "mixer.proj": "mixer.out_proj"}
    for name, our_name in names.items():
        state |= source.layer(f"{theirs}.{name}", f"{ours}.{our_name}")
    if scans:
        for name in ("A_log", "D"):
            state[f"{ours}.mixer.{name}"] = source.take(f"{theirs}.mixer.{name}")
        halves = [source.take(f"{theirs}.mixer.conv1d_{half}.weight", axes=3) for half in "xz"]
        state[f"{ours}.mixer.conv.weight"] = torch.cat(halves)
        state[f"{ours}.mixer.dt_proj.bias"] = 2 * state[f"{ours}.mixer.dt_proj.bias"]
    return state


def _resampling(source: Source, i: int) -> dict[str, Tensor]:
    """Patch merging after the encoder's level i, patch division after the decoder's."""
    state: dict[str, Tensor] = {}
    theirs, ours = f"encoder.levels.{i}.downsample", f"encoder.merges.{i}"
    for name in ("norm.weight", "norm.bias", "reduction.weight"):
        state[f"{ours}.{name}"] = merged(source.take(f"{theirs}.{name}"))
    theirs, ours = f"decoder.levels.{i}.upsample.pre_upsample", f"decoder.divisions.{i}"
    state |= source.layer(f"{theirs}.0", f"{ours}.norm")
    state[f"{ours}.expansion.weight"] = divided(source.take(f"{theirs}.1.weight", axes=2))
    return state
