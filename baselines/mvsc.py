"""MVSC and MVSC4: MambaVision codecs that estimate the SNR at the receiver and are never told it.

image -> stem -> levels -> 1x1 -> latent of unit energy a token                  (transmitter)
y -> estimator -> s_hat -> SNR estimate
[s_hat, y] -> squeeze-excitation -> 1x1 -> levels -> image and, in MVSC4, class    (receiver)

Where the paper is silent, the structure is that of its authors' public code (Linkcy97/MVSC).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import SqueezeExcitation

from baselines.mambavision import Block, ConvolutionBlock, WindowLevel, WindowPadding
from linksim.codec import Decoded, Frame, Received
from linksim.errors import InputError
from linksim.link.link import unit_power
from linksim.neural_codec import NeuralCodec, Rate
from linksim.nn.layers import PatchDivision, PatchMerging
from linksim.nn.transform_init import ConvolutionalEnd, initialise_stemmed_hierarchy
from linksim.units import linear_to_db

Statistics = Literal["batch", "fixed"]

_STEM_EPS = 1e-4
_SHRINKAGE = 0.9
"""Of the signal estimated at the start, which is then 19 dB above what is called noise."""
_IMAGE_WEIGHT, _SNR_WEIGHT, _SIGNAL_WEIGHT, _CLASS_WEIGHT = 0.1, 0.1, 10.0, 10.0
"""As published; those of the SNR and of the class are options."""


class MVSC(NeuralCodec):
    """images [B, 3, H, W] -> latent [B, C, H/2^n, W/2^n] -> images, with n levels a side.

    in_dim, dim: widths of the stem; level i has width dim * 2^i. The first half of the levels
        convolve, the others work in windows.
    depths, windows, heads: each level's blocks, window side and attention heads; a level that
        convolves makes no use of the last two.
    window_padding: ``none`` or ``zeros``, see :class:`baselines.mambavision.WindowLevel`.
    statistics: by what BatchNorm normalises in training: ``batch``, the batch's own statistics, as
        published for batches of 128; ``fixed``, those that it starts from, which takes
        ``initial: transform``. A small batch's own statistics take the brightness and the contrast
        of its few photographs away. In use there is no difference.
    estimator_width, estimator_residuals: see :class:`SignalEstimator`. A width below C cannot hold
        the signal: what is missing of it counts as noise, and the SNR estimate stays low.
    snr_weight: of the SNR estimate's squared error, in dB^2, in the training loss; 0.1 as
        published. The more, the more of the latent the transmitter makes predictable, and the noise
        on it seen.
    latent_channels: C; CBR = C / (6 * 4^n). Every token of the latent, all C at one place, has unit
        energy, and the link brings each image to unit power: the receiver undoes that by the
        constant sqrt(2 / C), so that it sees what it would in the public code.

    The SNR that either side is told is not looked at. The report holds ``snr_db_estimate`` [B]: 10
    log10(mean s_hat^2 / mean (y - s_hat)^2) over an image's latent, where y is what was received
    and s_hat the estimate of the transmitted signal at unit power. Over AWGN y is that signal plus
    noise and this ratio is the SNR. Over fast Rayleigh fading y comes equalised (by MMSE: shrunk
    where the channel is weak), and with a perfect s_hat the ratio would be 1 / (no e^no E1(no)),
    with no the noise variance: 2.6, 5.3 and 8.9 dB at SNRs of 1, 7 and 13. It still tells the SNR,
    so the SNR's part of the loss can teach s_hat to make it meet the true one, for the channel that
    it is trained on; weights trained over AWGN estimate wrongly over fading.

    Raises InputError for levels that do not fit together. Source: Li et al., MVSC, IEEE
    Communications Letters 2025, and its public code.
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
            "estimator_width": 128,
            "estimator_residuals": 2,
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
        estimator_width: int = 16,
        estimator_residuals: int = 1,
        snr_weight: float = _SNR_WEIGHT,
        window_padding: WindowPadding = "none",
        statistics: Statistics = "batch",
        rate: Rate = "fixed",
    ) -> None:
        super().__init__(latent_channels=latent_channels, rate=rate)
        _check_levels(dim, in_dim, depths, windows, heads)
        _check_choice("window_padding", window_padding, get_args(WindowPadding))
        _check_choice("statistics", statistics, get_args(Statistics))
        if estimator_width < 1 or estimator_residuals not in (1, 2):
            raise InputError(
                f"estimator_width is {estimator_width}, estimator_residuals {estimator_residuals}; "
                "allowed are a width of at least 1, and 1 or 2 residuals"
            )
        _check_weight("snr_weight", snr_weight)
        self.statistics = statistics
        self.snr_weight = snr_weight
        self.stride = self.downsampling = 2 ** len(depths)
        levels = _Levels(
            dim=dim, depths=depths, windows=windows, heads=heads, padding=window_padding
        )
        self.encoder = Encoder(in_dim=in_dim, levels=levels, latent_channels=latent_channels)
        self.estimator = SignalEstimator(
            channels=latent_channels, hidden=estimator_width, residuals=estimator_residuals
        )
        self.fusion = SqueezeExcitation(2 * latent_channels, max(latent_channels // 2, 1))
        self.decoder = Decoder(levels=levels, channels=2 * latent_channels)
        self.image_head = nn.Sequential(
            nn.ConvTranspose2d(dim, in_dim, 3, 2, padding=1, output_padding=1, bias=False),
            nn.BatchNorm2d(in_dim),
            nn.ReLU(),
            nn.Conv2d(in_dim, 3, 3, padding=1, bias=False),
            nn.BatchNorm2d(3),
            nn.Sigmoid(),
        )

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.statistics == "fixed":
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def initialise_as_transform(self) -> list[nn.Parameter]:
        blocks = [module for module in self.modules() if isinstance(module, Block)]
        convolutions = [m for m in self.modules() if isinstance(m, ConvolutionBlock)]
        skeleton = initialise_stemmed_hierarchy(
            stem=_convolutional_end(self.encoder.stem),
            merges=[m for m in self.encoder.merges if isinstance(m, PatchMerging)],
            norm=self.encoder.norm,
            compression=self.encoder.compress,
            attention=self.fusion.fc2,
            expansion=self.decoder.expand,
            divisions=[m for m in self.decoder.divisions if isinstance(m, PatchDivision)],
            last_norm=self.decoder.norm,
            head=_convolutional_end(self.image_head),
            branches=[branch for block in blocks for branch in block.branches()],
            residuals=[block.last_norm for block in convolutions],
        )
        return [*skeleton, *self.estimator.initialise_as_shrinkage()]

    def analysis(self, images: Tensor, snr_db: Tensor | None) -> Tensor:
        latent: Tensor = self.encoder(images)
        return F.normalize(latent.float(), dim=1)

    def synthesis(self, latent: Tensor, snr_db: Tensor | None) -> Decoded:
        y = self._token_energy(latent)
        s_hat = self.estimator(y)
        features = self.decoder(self.fusion(torch.cat([s_hat, y], dim=1)))
        report = {"snr_db_estimate": snr_estimate_db(y, s_hat), **self.classify(features)}
        return Decoded(images=self.image_head(features), report=report)

    def _token_energy(self, latent: Tensor) -> Tensor:
        """From the link's unit power a symbol to unit energy a token."""
        scale: float = (2 / self.latent_channels) ** 0.5
        return latent * scale

    def classify(self, features: Tensor) -> dict[str, Tensor]:
        """What the decoder's normalised features [B, dim, H/2, W/2] say of the image's class."""
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
        """0.1 MSE of the image (0..255) + snr_weight * MSE of the SNR in dB + 10 MSE of s_hat.

        s_hat is computed again from ``received`` (the estimator is the smallest part of the codec)
        and compared with the frame as the link sends it, at unit energy a token.
        """
        size = (images.shape[-2], images.shape[-1])
        sent = self._token_energy(self.latent_of(unit_power(frame.symbols, frame.used), size))
        s_hat = self.estimator(self._token_energy(self.latent_of(received.symbols, size)))
        return (
            _IMAGE_WEIGHT * F.mse_loss(255 * decoded.images, 255 * images)
            + self.snr_weight * F.mse_loss(decoded.report["snr_db_estimate"], snr_db)
            + _SIGNAL_WEIGHT * F.mse_loss(s_hat, sent)
        )


def _convolutional_end(layers: nn.Sequential) -> ConvolutionalEnd:
    first, first_norm, _, second, second_norm, _ = layers
    assert isinstance(first, nn.Conv2d | nn.ConvTranspose2d)
    assert isinstance(second, nn.Conv2d)
    assert isinstance(first_norm, nn.BatchNorm2d)
    assert isinstance(second_norm, nn.BatchNorm2d)
    return ConvolutionalEnd(
        first=first, first_norm=first_norm, second=second, second_norm=second_norm
    )


class MVSC4(MVSC):
    """MVSC with a class head, trained on four losses; options as in :class:`MVSC`.

    classes: number of classes.
    class_weight: of the cross-entropy in the training loss; 10 as published.

    The report holds ``class_index`` [B] too, and in training mode ``class_logits`` [B, classes].
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
        estimator_width: int = 16,
        estimator_residuals: int = 1,
        class_weight: float = _CLASS_WEIGHT,
        snr_weight: float = _SNR_WEIGHT,
        window_padding: WindowPadding = "none",
        statistics: Statistics = "batch",
        rate: Rate = "fixed",
    ) -> None:
        super().__init__(
            dim=dim,
            in_dim=in_dim,
            depths=depths,
            windows=windows,
            heads=heads,
            latent_channels=latent_channels,
            estimator_width=estimator_width,
            estimator_residuals=estimator_residuals,
            snr_weight=snr_weight,
            window_padding=window_padding,
            statistics=statistics,
            rate=rate,
        )
        if classes < 2:
            raise InputError(f"classes is {classes}; it must be at least 2")
        _check_weight("class_weight", class_weight)
        self.classes, self.class_weight = classes, class_weight
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
        """MVSC's loss + class_weight * cross-entropy; raises InputError for labels out of range."""
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
        return loss + self.class_weight * F.cross_entropy(decoded.report["class_logits"], labels)


class SignalEstimator(nn.Module):
    """s_hat [B, C, h, w], an estimate of the transmitted latent, from the received one.

    hidden: channels between its layers. residuals: which of its two pairs are added to what they
        are given: the first alone (1), as the public code wires it, or both (2).
    """

    def __init__(self, *, channels: int, hidden: int = 16, residuals: int = 1) -> None:
        super().__init__()
        self.residuals = residuals
        self.entry = nn.Conv2d(channels, hidden, 3, padding=1)
        self.pairs = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(hidden, hidden, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(hidden, hidden, 3, padding=1),
                nn.ReLU(),
            )
            for _ in range(2)
        )
        self.exit = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, y: Tensor) -> Tensor:
        first, second = self.pairs
        x = self.entry(y)
        x = x + first(x)
        x = x + second(x) if self.residuals == 2 else second(x)
        s_hat: Tensor = self.exit(x)
        sent = (y != 0).any(dim=-1, keepdim=True).any(dim=-2, keepdim=True)
        return s_hat * sent  # nothing is estimated of channels that were not sent

    def initialise_as_shrinkage(self) -> list[nn.Parameter]:
        """Make s_hat about _SHRINKAGE * y, if the layers can pass y on; their parameters.

        Both pairs keep a tenth of what they add: none at all would leave their last ReLUs without
        a gradient.
        """
        hidden, channels = self.entry.weight.shape[:2]
        if self.residuals < 2 or hidden < channels:
            return []
        with torch.no_grad():
            for layer, gain in ((self.entry, 1.0), (self.exit, _SHRINKAGE)):
                layer.weight.mul_(0.1)
                layer.weight[..., 1, 1] = gain * torch.eye(*layer.weight.shape[:2])
                assert layer.bias is not None
                layer.bias.zero_()
            for pair in self.pairs:
                for parameter in tuple(pair.children())[2].parameters():
                    parameter.mul_(0.1)
        return list(self.parameters())


def snr_estimate_db(y: Tensor, s_hat: Tensor) -> Tensor:
    """10 log10(mean s_hat^2 / mean (y - s_hat)^2) of each image; [B, C, h, w] twice -> [B]."""
    signal = s_hat.float().square().sum(dim=(1, 2, 3))
    noise = (y - s_hat).float().square().sum(dim=(1, 2, 3))
    tiny = torch.finfo(torch.float32).tiny
    return linear_to_db(signal.clamp_min(tiny) / noise.clamp_min(tiny))


@dataclass(frozen=True, kw_only=True)
class _Levels:
    """What the levels of both sides are made of; level i has width dim * 2^i."""

    dim: int
    depths: Sequence[int]
    windows: Sequence[int]
    heads: Sequence[int]
    padding: WindowPadding

    @property
    def widths(self) -> list[int]:
        return [self.dim * 2**i for i in range(len(self.depths))]

    def build(self, i: int) -> nn.Module:
        """Level i: convolutions in the first half of the levels, windows in the second."""
        if i < len(self.depths) // 2:
            return nn.Sequential(
                *(ConvolutionBlock(dim=self.widths[i]) for _ in range(self.depths[i]))
            )
        return WindowLevel(
            dim=self.widths[i],
            depth=self.depths[i],
            window=self.windows[i],
            heads=self.heads[i],
            padding=self.padding,
        )


class Encoder(nn.Module):
    """images [B, 3, H, W] -> latent [B, C, H/2^n, W/2^n], before its energy is normalised."""

    def __init__(self, *, in_dim: int, levels: _Levels, latent_channels: int) -> None:
        super().__init__()
        widths = levels.widths
        self.stem = nn.Sequential(
            nn.Conv2d(3, in_dim, 3, padding=1, bias=False),
            nn.BatchNorm2d(in_dim, eps=_STEM_EPS),
            nn.ReLU(),
            nn.Conv2d(in_dim, widths[0], 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(widths[0], eps=_STEM_EPS),
            nn.ReLU(),
        )
        self.levels = nn.ModuleList(levels.build(i) for i in range(len(widths)))
        self.merges = nn.ModuleList(PatchMerging(dim=a, out_dim=b) for a, b in pairwise(widths))
        self.norm = nn.BatchNorm2d(widths[-1])
        self.compress = nn.Conv2d(widths[-1], latent_channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        # In float32: what lifts the signal over the ReLUs would cost bfloat16 its last bits.
        with torch.autocast(images.device.type, enabled=False):
            x = self.stem(images.float())
        for i, level in enumerate(self.levels):
            x = level(x if i == 0 else _channels_last(self.merges[i - 1], x))
        return self.compress(self.norm(x))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """The encoder's mirror: [B, channels, h, w] -> normalised features [B, dim, H/2, W/2]."""

    def __init__(self, *, levels: _Levels, channels: int) -> None:
        super().__init__()
        widths = levels.widths
        self.expand = nn.Conv2d(channels, widths[-1], 1)
        self.levels = nn.ModuleList(levels.build(i) for i in reversed(range(len(widths))))
        self.divisions = nn.ModuleList(
            PatchDivision(dim=b, out_dim=a) for a, b in reversed(list(pairwise(widths)))
        )
        self.norm = nn.BatchNorm2d(widths[0])

    def forward(self, x: Tensor) -> Tensor:
        x = self.expand(x)
        for i, level in enumerate(self.levels):
            x = level(x if i == 0 else _channels_last(self.divisions[i - 1], x))
        return self.norm(x)  # type: ignore[no-any-return]


def _channels_last(layer: nn.Module, x: Tensor) -> Tensor:
    """A layer of channels-last maps on x [B, C, H, W]."""
    y: Tensor = layer(x.permute(0, 2, 3, 1))
    return y.permute(0, 3, 1, 2)


def _check_choice(name: str, given: str, allowed: Sequence[str]) -> None:
    if given not in allowed:
        raise InputError(f"{name} is {given!r}; allowed are {', '.join(allowed)}")


def _check_weight(name: str, given: float) -> None:
    if not (math.isfinite(given) and given >= 0):
        raise InputError(f"{name} is {given}; it must be a finite number of at least 0")


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
