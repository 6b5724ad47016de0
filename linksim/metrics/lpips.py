"""LPIPS: learned perceptual distance on AlexNet (Zhang et al., CVPR 2018, version 0.1 heads)."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import alexnet

from linksim.errors import InputError

WEIGHTS = Path(__file__).parent.parent / "data" / "lpips_alex.safetensors"
MIN_SIDE = 31  # pixels: less leaves nothing after AlexNet's second pooling

_CONVOLUTIONS = (0, 3, 6, 8, 10)  # indices in torchvision's features; each is followed by a ReLU
_EPSILON = 1e-10


class LPIPS(nn.Module):
    """Perceptual distance of images in [0, 1], each [B, 3, H, W], as [B]; 0 is identical.

    Differentiable in the images; the weights (torchvision's AlexNet and the authors' linear heads,
    both shipped) are frozen.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        weights = load_file(WEIGHTS)
        with torch.device("meta"):  # the classifier, 94 % of AlexNet, is never allocated
            self.features = alexnet(weights=None).features[: _CONVOLUTIONS[-1] + 2]
        features = {k.removeprefix("features."): v for k, v in weights.items() if "features" in k}
        self.features.load_state_dict(features, assign=True)
        for layer in self.features:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False
        heads = [weights[f"lin{i}.weight"].reshape(1, -1, 1, 1) for i in range(5)]
        self.heads = nn.ParameterList(heads)
        # The authors' normalisation of [-1, 1] to what AlexNet was trained on
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).reshape(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).reshape(1, 3, 1, 1))
        # Channels last: pooling takes a tenth of its time, the convolutions somewhat less than else
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    def forward(self, images: Tensor, references: Tensor) -> Tensor:
        """[B] distances; raises InputError for images under 31 pixels."""
        return self.distance(images, self.unit_features(references))

    def distance(self, images: Tensor, reference_features: Sequence[Tensor]) -> Tensor:
        """[B] distances from references whose :meth:`unit_features` are known."""
        distance = images.new_zeros(images.shape[0])
        triples = zip(self.heads, self.unit_features(images), reference_features, strict=True)
        for head, a, b in triples:
            distance = distance + (head * (a - b).square()).sum(1).mean((1, 2))
        return distance

    def unit_features(self, images: Tensor) -> tuple[Tensor, ...]:
        """The five ReLU outputs, each pixel's channels scaled to unit length.

        Raises InputError for images under 31 pixels.
        """
        height, width = images.shape[-2:]
        if min(height, width) < MIN_SIDE:
            raise InputError(
                f"lpips: the images are {height}x{width}; sides must be at least {MIN_SIDE} pixels"
            )
        x = (2 * images - 1 - self.shift) / self.scale
        x = x.contiguous(memory_format=torch.channels_last)
        outputs = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index - 1 in _CONVOLUTIONS:
                length = (x.square().sum(1, keepdim=True) + _EPSILON**2).sqrt()
                outputs.append(x / (length + _EPSILON))
        return tuple(outputs)
