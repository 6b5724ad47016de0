"""The golden references of the public codecs in ../shared, and files as their authors publish."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from linksim.codec_lookup import codec_from_settings
from linksim.importing import import_weights
from linksim.neural_codec import NeuralCodec
from linksim.settings import CodecSettings


@dataclass(frozen=True, kw_only=True)
class Official:
    """One small configuration: its folder's name, our codec, what the file does not tell."""

    name: str
    codec: str
    options: dict[str, Any] = field(default_factory=dict)

    def io(self, shared: Path) -> dict[str, Tensor]:
        return load_file(shared / "data" / "official" / self.name / "io.safetensors")

    def state(self, shared: Path) -> Path:
        return shared / "data" / "official" / self.name / "state_dict.safetensors"

    def imported(self, shared: Path, folder: Path) -> Path:
        out = folder / f"{self.name}.safetensors"
        return import_weights(self.state(shared), self.codec, out=out, options=self.options)

    def load(self, weights: Path) -> NeuralCodec:
        codec = codec_from_settings(CodecSettings(codec=self.codec, weights=str(weights)))
        assert isinstance(codec, NeuralCodec)
        return codec


OFFICIAL = [
    Official(name="swinjscc-none", codec="swinjscc", options={"snr_adaptation": "none"}),
    Official(name="swinjscc-ra", codec="swinjscc"),
    Official(name="swinjscc-sara", codec="swinjscc"),
    Official(
        name="mambajscc-none",
        codec="mambajscc",
        options={"channel_adaptation": "none", "activation": "silu"},
    ),
    Official(name="mambajscc-modnet", codec="mambajscc", options={"activation": "silu"}),
    Official(
        name="mambajscc-csirest-paper-silu",
        codec="mambajscc",
        options={"channel_adaptation": "csi_rest", "activation": "silu", "csi_start": True},
    ),
    Official(
        name="mambajscc-csirest-published-gelu",
        codec="mambajscc",
        options={"channel_adaptation": "csi_rest"},
    ),
    Official(name="deepjscc-chunbaobao", codec="deepjscc"),
    Official(name="adjscc-tensorflow", codec="adjscc"),
]
MVSC4 = Official(name="mvsc4", codec="mvsc4", options={"windows": [8, 4], "heads": [2, 2]})


class Published(nn.Module):
    """A module that people would pickle whole; it has more in it than tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.notes = {"snr": [1, 4, 7], "act": nn.functional.gelu, "shape": torch.Size([1, 2])}


def as_module(tensors: dict[str, Tensor]) -> Published:
    """Tensors by dotted names as a tree of modules, whole numbers as buffers."""
    root = Published()
    for name, tensor in tensors.items():
        *path, last = name.split(".")
        module: nn.Module = root
        for part in path:
            if part not in dict(module.named_children()):
                module.add_module(part, Published())
            module = module.get_submodule(part)
        if tensor.is_floating_point():
            module.register_parameter(last, nn.Parameter(tensor))
        else:
            module.register_buffer(last, tensor)
    return root
