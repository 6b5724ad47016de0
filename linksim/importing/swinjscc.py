"""SwinJSCC (semcomm/SwinJSCC) and WITT, whose modules have the same names."""

import re

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

_MODNETS = (r"(en|de)coder\.(bm|sm)_list1?\..*",)


def convert(source: Source) -> Converted:
    """The whole network from a ``.model`` file; see :func:`linksim.import_weights`."""
    stages = source.count("encoder.layers.{}.")
    block = "encoder.layers.{}.blocks.{}"
    depths = [source.count(f"encoder.layers.{i}.blocks.{{}}.") for i in range(stages)]
    if not depths or min(depths) < 1:
        raise InputError(f"{source.where}: no encoder.layers.N.blocks; not SwinJSCC or WITT")
    first = [f"{block.format(i, 0)}.attn." for i in range(stages)]
    dims = [source.take(f"{name}proj.weight", axes=2).shape[0] for name in first]
    tables = [source.take(f"{n}relative_position_bias_table", axes=2).shape for n in first]
    fixed = source.has("encoder.head_list.weight")
    adapts = _adapts_to_snr(source)
    options = {
        "dims": dims,
        "depths": depths,
        "heads": [heads for _, heads in tables],
        "window": (round(tables[0][0] ** 0.5) + 1) // 2,
        "one_window": "shifted",
        "embedding_norm": source.has("encoder.patch_embed.norm.weight"),
        "snr_adaptation": "modnet" if adapts else "none",
        "rate_adaptation": "none" if fixed else "modnet",
        "latent_channels": (
            source.take("encoder.head_list.weight", axes=2).shape[0] if fixed else dims[-1]
        ),
        "rate": "fixed" if fixed else "nested",
        "scale": "side_info",
    }
    state = _encoder(source, depths) | _decoder(source, depths)
    if fixed:
        state |= source.layer("encoder.head_list", "encoder_out")
        state |= source.layer("decoder.head_list", "decoder_in")
    both = source.has("encoder.bm_list1.0.fc.0.weight")
    if not fixed:
        state |= modnet(source, "encoder.sm_list", "encoder.bm_list", "rate_modnet")
    if adapts:
        number = "1" if both else ""
        names = f"encoder.sm_list{number}", f"encoder.bm_list{number}"
        state |= modnet(source, *names, "encoder_modnet")
        state |= modnet(source, "decoder.sm_list", "decoder.bm_list", "decoder_modnet")
    return Converted(
        options=options,
        state=state,
        superfluous=(
            r".*\.attn_mask",
            r"(distortion|squared|mse).*",
            *(() if adapts or not fixed else _MODNETS),
        ),
        conventions=_CONVENTIONS,
        lost=_LOST,
    )


_CONVENTIONS = (
    "SNR: its noise variance is that of a complex symbol of unit power: Es/N0, as here",
    "CBR: channels kept / (2 * 3 * 4^stages), as here: 1/48 for 32 of four stages",
    "power: normalised over the whole batch there, over each image here",
    "scale: given to the receiver for nothing there; here 16 bits an image, counted",
    "mask of the channels sent (RA): not counted there; here a bit a channel, counted",
)
_LOST = (
    "Rayleigh: y = |h| x + n without an equaliser there; here the link equalises",
    "pairing: real values become complex symbols in another order, which AWGN does not feel",
)


def _adapts_to_snr(source: Source) -> bool:
    """From the decoder's ModNet, or, since the version without SA keeps it too, from the name."""
    if "snr_adaptation" in source.given:
        return bool(source.given["snr_adaptation"] == "modnet")
    if not source.has("decoder.bm_list.0.fc.0.weight"):
        return False
    if not source.has("encoder.head_list.weight"):
        return True
    name = source.file_name.lower().replace("w/o", "wo").replace("w_o", "wo")
    if re.search(r"w[_/ -]*sa", name):
        return True
    if re.search(r"wo[_/ -]*sa|witt[_/ -]*wo", name):
        return False
    raise InputError(
        f"{source.where}: neither the tensors nor the name say whether the SNR is used; add "
        "--set snr_adaptation=modnet (w/ SA) or --set snr_adaptation=none (w/o SA and RA)"
    )


def _block(source: Source, theirs: str, ours: str) -> dict[str, Tensor]:
    names = {
        "norm1": "norm1",
        "norm2": "norm2",
        "attn.qkv": "attn.qkv",
        "attn.proj": "attn.proj",
        "mlp.fc1": "mlp.0",
        "mlp.fc2": "mlp.3",
    }
    state: dict[str, Tensor] = {}
    for name, our_name in names.items():
        state |= source.layer(f"{theirs}.{name}", f"{ours}.{our_name}")
    table, index = "attn.relative_position_bias_table", "attn.relative_position_index"
    state[f"{ours}.{table}"] = source.take(f"{theirs}.{table}")
    state[f"{ours}.{index}"] = source.take(f"{theirs}.{index}").flatten()
    return state


def _encoder(source: Source, depths: list[int]) -> dict[str, Tensor]:
    weight, bias = from_unit_range(
        source.take("encoder.patch_embed.proj.weight", axes=4),
        source.take("encoder.patch_embed.proj.bias", axes=1),
    )
    state = {"embedding.weight": weight, "embedding.bias": bias}
    if source.has("encoder.patch_embed.norm.weight"):
        state |= source.layer("encoder.patch_embed.norm", "encoder.0")
    place = 1
    for i, depth in enumerate(depths):
        if i > 0:
            state |= merging(source, f"encoder.layers.{i}.downsample", f"encoder.{place}")
            place += 1
        for j in range(depth):
            state |= _block(source, f"encoder.layers.{i}.blocks.{j}", f"encoder.{place}")
            place += 1
    return state | source.layer("encoder.norm", f"encoder.{place}")


def _decoder(source: Source, depths: list[int]) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    place = 0
    for i, depth in enumerate(reversed(depths)):
        for j in range(depth):
            state |= _block(source, f"decoder.layers.{i}.blocks.{j}", f"decoder.{place}")
            place += 1
        theirs, ours = f"decoder.layers.{i}.upsample", f"decoder.{place}"
        state |= division(source, theirs, ours, last=i + 1 == len(depths))
        place += 1
    return state
