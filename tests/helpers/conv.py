"""A neural codec for the tests: one convolution each way."""

from typing import ClassVar

from torch import Tensor, nn

from linksim import NeuralCodec


class Conv(NeuralCodec):
    """Sixteen latent channels at an eighth of the resolution."""

    stride = downsampling = 8
    presets: ClassVar = {"wide": {"latent_channels": 32}}

    def __init__(self, *, latent_channels: int = 16) -> None:
        super().__init__(latent_channels=latent_channels, rate="nested")
        self.encoder = nn.Conv2d(3, latent_channels, 8, 8)
        self.decoder = nn.ConvTranspose2d(latent_channels, 3, 8, 8)

    def analysis(self, images: Tensor, snr_db: Tensor | None) -> Tensor:
        latent: Tensor = self.encoder(images - 0.5)
        return latent

    def synthesis(self, latent: Tensor, snr_db: Tensor | None) -> Tensor:
        out: Tensor = self.decoder(latent) + 0.5
        return out
