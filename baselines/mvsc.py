"""MVSC and MVSC4: MambaVision codecs that estimate the SNR at the receiver and are never told it.

image -> stem -> levels -> 1x1 -> latent                                        (transmitter)
y -> noise estimator -> s_hat -> SNR estimate
[s_hat, y] -> squeeze-excitation -> 1x1 -> levels -> image and, in MVSC4, class    (receiver)
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import SqueezeExcitation

from baselines.mambavision import ConvolutionBlock, WindowLevel
from linksim.codec import Decoded, Frame, Received
from linksim.errors import InputError
from linksim.link.link import unit_power
from linksim.neural_codec import NeuralCodec, Rate
from linksim.nn.layers import PatchDivision
from linksim.units import linear_to_db

_IMAGE_WEIGHT, _SNR_WEIGHT, _SIGNAL_WEIGHT, _CLASS_WEIGHT = 0.1, 0.1, 10.0, 10.0


class MVSC(NeuralCodec):
    """images [B, 3, H, W] -> latent [B, C, H/2^n, W/2^n] -> images, with n levels a side.

    in_dim, dim: widths of the stem; level i has width dim * 2^i. The first half of the levels
        convolve, the others work in windows.
    depths, windows, heads: each level's blocks, window side and attention heads; a level that
        convolves makes no use of the last two.
    latent_channels: C; CBR = C / (6 * 4^n).

    The SNR that either side is told is not looked at. The report holds ``snr_db_estimate`` [B]: 10
    log10(mean s_hat^2 / mean (y - s_hat)^2) over an image's latent, where y is what was received
    and s_hat the estimate of the transmitted signal at unit power. Over AWGN y is that signal plus
    noise and this ratio is the SNR. Over fast Rayleigh fading y comes equalised (by MMSE: shrunk
    where the channel is weak), and with a perfect s_hat the ratio would be 1 / (no e^no E1(no)),
    with no the noise variance: 2.6, 5.3 and 8.9 dB at SNRs of 1, 7 and 13. It still tells the SNR,
    so the SNR's part of the loss can teach s_hat to make it meet the true one, for the channel that
    it is trained on; weights trained over AWGN estimate wrongly over fading.

    Raises InputError for levels that do not fit together. Source: Li et al., MVSC, IEEE
    Communications Letters 2025. Left open there and chosen here: kernel 3 of the transposed
    convolution, a squeeze by 4, biases only where no normalisation follows.
    """

    summary: ClassVar[str] = "MambaVision, SNR estimated at the receiver"
    paper: ClassVar[str] = "Li et al., MVSC, IEEE Communications Letters 2025"
    adapts_to_snr: ClassVar[str] = "estimates it"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "cifar10": {
            "dim": 16,
            "in_dim": 16,
            "depths": (2, 1),
            "windows": (8, 2),
            "heads": (4, 2),
            "latent_channels": 8,
        },
        "small": {
            "dim": 18,
            "in_dim": 18,
            "windows": (8, 8, 8, 8),
            "latent_channels": 128,
            "rate": "nested",
        },
    }
    encoder_uses_snr = False

    def __init__(
        self,
        *,
        dim: int = 128,
        in_dim: int = 128,
        depths: Sequence[int] = (2, 2, 2, 2),
        windows: Sequence[int] = (8, 8, 16, 8),
        heads: Sequence[int] = (2, 2, 2, 2),
        latent_channels: int = 96,
        rate: Rate = "fixed",
    ) -> None:
        super().__init__(latent_channels=latent_channels, rate=rate)
        _check_levels(dim, in_dim, depths, windows, heads)
        self.stride = self.downsampling = 2 ** len(depths)
        levels = list(zip(depths, windows, heads, strict=True))
        self.encoder = _encoder(dim, in_dim, levels, latent_channels)
        self.estimator = SignalEstimator(channels=latent_channels)
        self.fusion = SqueezeExcitation(2 * latent_channels, max(latent_channels // 2, 1))
        self.decoder = _decoder(dim, levels, 2 * latent_channels)
        self.image_head = nn.Sequential(
            nn.BatchNorm2d(dim),
            nn.ConvTranspose2d(dim, in_dim, 3, 2, padding=1, output_padding=1, bias=False),
            nn.BatchNorm2d(in_dim),
            nn.ReLU(),
            nn.Conv2d(in_dim, 3, 3, padding=1, bias=False),
            nn.BatchNorm2d(3),
            nn.Sigmoid(),
        )

    def analysis(self, images: Tensor, snr_db: Tensor | None) -> Tensor:
        latent: Tensor = self.encoder(images)
        return latent

    def synthesis(self, latent: Tensor, snr_db: Tensor | None) -> Decoded:
        s_hat = self.estimator(latent)
        features = self.decoder(self.fusion(torch.cat([s_hat, latent], dim=1)))
        report = {"snr_db_estimate": snr_estimate_db(latent, s_hat), **self.classify(features)}
        return Decoded(images=self.image_head(features), report=report)

    def classify(self, features: Tensor) -> dict[str, Tensor]:
        """What the decoder's last features [B, dim, H/2, W/2] say of the image's class."""
        return {}

    def training_loss(
        self,
        *,
        decoded: Decoded,
        images: Tensor,
        frame: Frame,
        received: Received,
        snr_db: Tensor,
        labels: Tensor,
    ) -> Tensor:
        """0.1 MSE of the image (0..255) + 0.1 MSE of the SNR in dB + 10 MSE of s_hat.

        s_hat is computed again from ``received`` (the estimator is the smallest part of the codec)
        and compared with the frame as the link sends it: at unit power an image.
        """
        size = (images.shape[-2], images.shape[-1])
        sent = self.latent_of(unit_power(frame.symbols, frame.used), size)
        s_hat = self.estimator(self.latent_of(received.symbols, size))
        return (
            _IMAGE_WEIGHT * F.mse_loss(255 * decoded.images, 255 * images)
            + _SNR_WEIGHT * F.mse_loss(decoded.report["snr_db_estimate"], snr_db)
            + _SIGNAL_WEIGHT * F.mse_loss(s_hat, sent)
        )


class MVSC4(MVSC):
    """MVSC with a class head, trained on four losses; options as in :class:`MVSC`.

    classes: number of classes. The report holds ``class_index`` [B] too, and in training mode
    ``class_logits`` [B, classes].
    """

    summary: ClassVar[str] = "MVSC that classifies the image as well"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        name: {**options, "classes": 10} for name, options in MVSC.presets.items()
    }

    def __init__(
        self,
        *,
        classes: int = 10,
        dim: int = 128,
        in_dim: int = 128,
        depths: Sequence[int] = (2, 2, 2, 2),
        windows: Sequence[int] = (8, 8, 16, 8),
        heads: Sequence[int] = (2, 2, 2, 2),
        latent_channels: int = 96,
        rate: Rate = "fixed",
    ) -> None:
        super().__init__(
            dim=dim,
            in_dim=in_dim,
            depths=depths,
            windows=windows,
            heads=heads,
            latent_channels=latent_channels,
            rate=rate,
        )
        if classes < 2:
            raise InputError(f"classes is {classes}; it must be at least 2")
        self.classes = classes
        self.class_head = nn.Sequential(
            nn.Conv2d(dim, dim // 2, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(dim // 2, classes, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(classes, classes),
        )

    def classify(self, features: Tensor) -> dict[str, Tensor]:
        logits = self.class_head(features)
        report = {"class_index": logits.argmax(dim=1)}
        return {**report, "class_logits": logits} if self.training else report

    def training_loss(
        self,
        *,
        decoded: Decoded,
        images: Tensor,
        frame: Frame,
        received: Received,
        snr_db: Tensor,
        labels: Tensor,
    ) -> Tensor:
        """MVSC's loss + 10 times the cross-entropy; raises InputError for labels out of range."""
        if int(labels.min()) < 0 or int(labels.max()) >= self.classes:
            raise InputError(
                f"MVSC4 trains on labels 0..{self.classes - 1}; a batch holds "
                f"{int(labels.min())}..{int(labels.max())} (-1: an image without a label)"
            )
        loss = super().training_loss(
            decoded=decoded,
            images=images,
            frame=frame,
            received=received,
            snr_db=snr_db,
            labels=labels,
        )
        return loss + _CLASS_WEIGHT * F.cross_entropy(decoded.report["class_logits"], labels)


class SignalEstimator(nn.Module):
    """s_hat [B, C, h, w], an estimate of the transmitted latent, from the received one.

    The convolutions estimate the noise and s_hat is what it leaves: a received latent is most of
    the answer where the SNR is high, and ``hidden`` channels could not carry all of a wide one.
    """

    def __init__(self, *, channels: int, hidden: int = 16) -> None:
        super().__init__()
        self.entry = nn.Conv2d(channels, hidden, 3, padding=1)
        self.pairs = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(hidden, hidden, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(hidden, hidden, 3, padding=1),
            )
            for _ in range(2)
        )
        self.exit = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, y: Tensor) -> Tensor:
        x = F.relu(self.entry(y))
        for pair in self.pairs:
            x = F.relu(x + pair(x))
        sent = (y != 0).any(dim=-1, keepdim=True).any(dim=-2, keepdim=True)
        s_hat: Tensor = y - self.exit(x)
        return s_hat * sent  # nothing is estimated of channels that were not sent


def snr_estimate_db(y: Tensor, s_hat: Tensor) -> Tensor:
    """10 log10(mean s_hat^2 / mean (y - s_hat)^2) of each image; [B, C, h, w] twice -> [B]."""
    signal = s_hat.float().square().sum(dim=(1, 2, 3))
    noise = (y - s_hat).float().square().sum(dim=(1, 2, 3))
    tiny = torch.finfo(torch.float32).tiny
    return linear_to_db(signal.clamp_min(tiny) / noise.clamp_min(tiny))


def _encoder(
    dim: int, in_dim: int, levels: Sequence[tuple[int, int, int]], latent_channels: int
) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(3, in_dim, 3, padding=1, bias=False),
        nn.BatchNorm2d(in_dim),
        nn.ReLU(),
        nn.Conv2d(in_dim, dim, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(dim),
        nn.ReLU(),
    ]
    for i, level in enumerate(levels):
        if i > 0:
            layers.append(nn.Conv2d(dim, 2 * dim, 3, stride=2, padding=1, bias=False))
            dim *= 2
        layers.append(_level(dim, *level, convolves=i < len(levels) // 2))
    return nn.Sequential(*layers, nn.BatchNorm2d(dim), nn.Conv2d(dim, latent_channels, 1))


def _decoder(dim: int, levels: Sequence[tuple[int, int, int]], channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, level in enumerate(levels):
        mirrored: list[nn.Module] = [_level(dim, *level, convolves=i < len(levels) // 2)]
        if i > 0:
            mirrored.append(Upsampling(dim=dim, out_dim=dim // 2))
        layers = [*mirrored, *layers]
        dim *= 2
    return nn.Sequential(nn.Conv2d(channels, dim // 2, 1), *layers)


def _level(dim: int, depth: int, window: int, heads: int, *, convolves: bool) -> nn.Module:
    if convolves:
        return nn.Sequential(*(ConvolutionBlock(dim=dim) for _ in range(depth)))
    return WindowLevel(dim=dim, depth=depth, window=window, heads=heads)


class Upsampling(nn.Module):
    """[B, dim, H, W] -> [B, out_dim, 2H, 2W]: LayerNorm, linear, pixel shuffle."""

    def __init__(self, *, dim: int, out_dim: int) -> None:
        super().__init__()
        self.division = PatchDivision(dim=dim, out_dim=out_dim)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.division(x.permute(0, 2, 3, 1))
        return y.permute(0, 3, 1, 2)


def _check_levels(
    dim: int, in_dim: int, depths: Sequence[int], windows: Sequence[int], heads: Sequence[int]
) -> None:
    if not len(depths) == len(windows) == len(heads) >= 1:
        raise InputError(
            f"depths, windows and heads have {len(depths)}, {len(windows)} and {len(heads)} "
            "entries; each level needs one of each"
        )
    if min(dim, in_dim, *depths, *windows, *heads) < 1:
        raise InputError("dim, in_dim, depths, windows and heads must be at least 1")
    for i in range(len(depths) // 2, len(depths)):
        width = dim * 2**i
        if width % 2 or width % heads[i]:
            raise InputError(
                f"level {i} of width {width} cannot be split into 2 halves and {heads[i]} heads"
            )
