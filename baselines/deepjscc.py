"""DeepJSCC: five convolutions a side. The codec to read first, and to copy for one of your own.

A neural codec is two functions. ``analysis`` turns images into real feature maps, the latent;
``synthesis`` turns the latent that came through the channel back into images. All else (padding,
pairing reals into complex symbols, the rate, weights) is inherited from NeuralCodec; power, noise
and fading belong to the link. A scenario names a codec in a file as ``./my_codec.py:MyCodec``.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor, nn

from linksim.codec import Decoded, Received, RxInfo
from linksim.neural_codec import NeuralCodec, Rate
from linksim.nn.transform_init import initialise_convolutions

_WEAKEST = 1e-3  # gain, of a channel that carries nothing


class DeepJSCC(NeuralCodec):
    """images [B, 3, H, W] -> five convolutions -> latent [B, C, H/4, W/4] -> five transposed.

    Not told the SNR: one set of weights is trained for each. CBR = C / 96. The paper leaves the
    latent width C open; 24 gives the 0.72 G multiply-accumulates of a 256x256 image in Table I of
    Wu et al., arXiv 2409.16592.

    The receiver first divides by the mean gain of what was equalised: MMSE shrinks symbols by an
    amount that depends on the SNR, and a decoder that is not told it would take a better channel
    for a stronger picture. Over AWGN that leaves the sent symbols plus noise, as in the paper.

    Source: Bourtsoulatze et al., IEEE TCCN 2019, Fig. 2.
    """

    summary: ClassVar[str] = "five convolutions a side, one set of weights an SNR"
    paper: ClassVar[str] = "Bourtsoulatze et al., IEEE TCCN 2019"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"latent_channels": 24},
        "small": {"latent_channels": 8, "rate": "nested"},
    }
    encoder_uses_snr = False
    stride = 4
    downsampling = 4

    def __init__(self, *, latent_channels: int = 24, rate: Rate = "fixed") -> None:
        super().__init__(latent_channels=latent_channels, rate=rate)
        self.encoder = nn.Sequential(
            *_down(3, 16, stride=2),
            *_down(16, 32, stride=2),
            *_down(32, 32),
            *_down(32, 32),
            *_down(32, latent_channels),
        )
        self.decoder = nn.Sequential(
            *_up(latent_channels, 32),
            *_up(32, 32),
            *_up(32, 32),
            *_up(32, 16, stride=2),
            _up(16, 3, stride=2)[0],
            nn.Sigmoid(),
        )

    def initialise_as_transform(self) -> list[nn.Parameter]:
        return initialise_convolutions(
            encoder=[m for m in self.encoder if isinstance(m, nn.Conv2d)],
            decoder=[m for m in self.decoder if isinstance(m, nn.ConvTranspose2d)],
            activations=[m for m in self.modules() if isinstance(m, nn.PReLU)],
        )

    def analysis(self, images: Tensor, snr_db: Tensor | None) -> Tensor:
        latent: Tensor = self.encoder(images)
        return latent

    def synthesis(self, latent: Tensor, snr_db: Tensor | None) -> Tensor:
        images: Tensor = self.decoder(latent)
        return images

    def decode(self, received: Received, rx: RxInfo) -> Tensor | Decoded:
        mean_gain = received.gain.mean(dim=1, keepdim=True)
        symbols = received.symbols / mean_gain.clamp(min=_WEAKEST)
        return super().decode(replace(received, symbols=symbols), rx)


def _down(channels: int, out_channels: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    convolution = nn.Conv2d(channels, out_channels, 5, stride=stride, padding=2)
    return convolution, nn.PReLU()


def _up(channels: int, out_channels: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    convolution = nn.ConvTranspose2d(
        channels, out_channels, 5, stride=stride, padding=2, output_padding=stride - 1
    )
    return convolution, nn.PReLU()
