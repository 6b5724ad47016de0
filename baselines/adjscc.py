"""ADJSCC: convolutions with GDN, and attention that weighs the channels by the SNR."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from baselines.gdn import GDN
from linksim.errors import InputError
from linksim.neural_codec import NeuralCodec, Rate
from linksim.nn.transform_init import initialise_convolutions

Form = Literal["paper", "published"]


class ADJSCC(NeuralCodec):
    """images [B, 3, H, W] -> five feature layers -> latent [B, C, H/4, W/4] -> five transposed.

    An attention feature block after each of the first four layers of a side is told the SNR: one
    set of weights covers all of them. CBR = C / 96. The paper leaves the latent width C open; 2
    gives the CBR of MambaJSCC's 32 channels, 1/48, and the numbers of Table I of Wu et al., arXiv
    2409.16592.

    form: ``paper``; or ``published``, as the authors' code has it: PReLU with a slope a channel,
        GDN on the fifth layers too, attention of width // 16 hidden units (at width 256 the same).

    Raises InputError where a side is told no SNR. Source: Xu et al., IEEE TCSVT 2022, Fig. 3, 6.
    """

    summary: ClassVar[str] = "convolutions and GDN, channel attention told the SNR"
    paper: ClassVar[str] = "Xu et al., IEEE TCSVT 2022"
    adapts_to_snr: ClassVar[str] = "told"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"width": 256, "latent_channels": 2},
        "small": {"width": 42, "latent_channels": 8, "rate": "nested"},
    }
    stride = 4
    downsampling = 4

    def __init__(
        self,
        *,
        width: int = 256,
        form: Form = "paper",
        latent_channels: int = 2,
        rate: Rate = "fixed",
    ) -> None:
        super().__init__(latent_channels=latent_channels, rate=rate)
        if width < 1:
            raise InputError(f"width is {width}; it must be at least 1")
        if form not in get_args(Form):
            raise InputError(f"form is {form!r}; allowed are 'paper' and 'published'")
        if form == "published" and width < 16:
            raise InputError(f"width is {width}; form: published takes at least 16")
        layer = partial(FeatureLayer, width=width, form=form)
        self.encoder = nn.ModuleList(
            [
                layer(_down(3, width, size=9, stride=2)),
                layer(_down(width, width, stride=2)),
                layer(_down(width, width)),
                layer(_down(width, width)),
            ]
        )
        self.encoder_out = _down(width, latent_channels)
        self.decoder = nn.ModuleList(
            [
                layer(_up(latent_channels, width), inverse=True),
                layer(_up(width, width), inverse=True),
                layer(_up(width, width), inverse=True),
                layer(_up(width, width, stride=2), inverse=True),
            ]
        )
        self.decoder_out = _up(width, 3, size=9, stride=2)
        self.encoder_gdn: nn.Module = nn.Identity()
        self.decoder_gdn: nn.Module = nn.Identity()
        if form == "published":
            self.encoder_gdn = GDN(channels=latent_channels)
            self.decoder_gdn = GDN(channels=3, inverse=True)

    def initialise_as_transform(self) -> list[nn.Parameter]:
        layers = [m for m in self.modules() if isinstance(m, FeatureLayer)]
        return initialise_convolutions(
            encoder=[m for m in self.modules() if isinstance(m, nn.Conv2d)],
            decoder=[m for m in self.modules() if isinstance(m, nn.ConvTranspose2d)],
            activations=[layer.activation for layer in layers],
            attentions=[layer.attention.factors[2] for layer in layers],
        )

    def analysis(self, images: Tensor, snr_db: Tensor | None) -> Tensor:
        x = images
        for layer in self.encoder:
            x = layer(x, _told(snr_db))
        latent: Tensor = self.encoder_gdn(self.encoder_out(x))
        return latent

    def synthesis(self, latent: Tensor, snr_db: Tensor | None) -> Tensor:
        x = latent
        for layer in self.decoder:
            x = layer(x, _told(snr_db))
        return torch.sigmoid(self.decoder_gdn(self.decoder_out(x)))


class FeatureLayer(nn.Module):
    """Convolution, GDN, PReLU, attention: x [B, C, H, W] and snr_db [B] -> [B, width, H', W']."""

    def __init__(
        self, convolution: nn.Module, *, width: int, form: Form, inverse: bool = False
    ) -> None:
        super().__init__()
        self.convolution = convolution
        self.gdn = GDN(channels=width, inverse=inverse)
        published = form == "published"
        self.activation = nn.PReLU(width if published else 1)
        self.attention = AttentionFeature(channels=width, hidden=width // 16 if published else 16)

    def forward(self, x: Tensor, snr_db: Tensor) -> Tensor:
        x = self.activation(self.gdn(self.convolution(x)))
        weighted: Tensor = self.attention(x, snr_db)
        return weighted


class AttentionFeature(nn.Module):
    """Scale the channels of x [B, C, H, W] by factors of their means and the SNR [B] in dB."""

    def __init__(self, *, channels: int, hidden: int = 16) -> None:
        super().__init__()
        self.factors = nn.Sequential(
            nn.Linear(channels + 1, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor, snr_db: Tensor) -> Tensor:
        context = torch.cat([x.mean(dim=(2, 3)), snr_db[:, None].to(x.dtype)], dim=1)
        factors: Tensor = self.factors(context)
        return x * factors[:, :, None, None]


def _told(snr_db: Tensor | None) -> Tensor:
    if snr_db is None:
        raise InputError("ADJSCC needs an SNR in dB on both sides; this side was told none")
    return snr_db


def _down(channels: int, out_channels: int, *, size: int = 5, stride: int = 1) -> nn.Module:
    return nn.Conv2d(channels, out_channels, size, stride=stride, padding=size // 2)


def _up(channels: int, out_channels: int, *, size: int = 5, stride: int = 1) -> nn.Module:
    return nn.ConvTranspose2d(
        channels,
        out_channels,
        size,
        stride=stride,
        padding=size // 2,
        output_padding=stride - 1,
    )
