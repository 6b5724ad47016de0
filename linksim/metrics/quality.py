"""Image quality, per image: PSNR, SSIM, MS-SSIM and LPIPS.

Each metric takes images and references, float32 [B, 3, H, W] in [0, 1], and gives [B]. STEPS holds
each in two steps, for many images against one original. :mod:`linksim.metrics.table` lists them.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, wraps
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional as F

from linksim.errors import InputError
from linksim.metrics.lpips import LPIPS

Quality = Callable[[Tensor, Tensor], Tensor]
"""Images and references, each [B, 3, H, W], to [B]."""

Prepared = tuple[Tensor, ...]
"""What a metric needs of references, computed once."""

CAP_DB = 100.0
"""What identical images score in dB, so that a mean over images stays finite."""

WINDOW = 11
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2
_GRADIENT_FLOOR = 1e-6


def _full_precision(metric: Quality) -> Quality:
    """The metric outside of any autocast, which would blur squares in bfloat16 and ruin it."""

    @wraps(metric)
    def outside(images: Tensor, references: Tensor) -> Tensor:
        with without_autocast(images):
            dtype = torch.promote_types(images.dtype, torch.float32)
            return metric(images.to(dtype), references.to(dtype))

    return outside


def to_8_bits(images: Tensor) -> Tensor:
    """Images clamped to [0, 1] and rounded to multiples of 1/255."""
    return (images.clamp(0, 1) * 255).round() / 255


def psnr(images: Tensor, references: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB over all three channels, after rounding to 8 bits.

    10*log10(255^2 / MSE), at most CAP_DB: identical images count as 100 dB.

    >>> black = torch.zeros(1, 3, 8, 8)
    >>> psnr(black, black + 0.1)  # 26 of 255 once rounded
    tensor([19.8313])
    """
    return _psnr(images, _levels(references))


@_full_precision
def ssim(images: Tensor, references: Tensor) -> Tensor:
    """Structural similarity (Wang et al., 2004): 11x11 Gaussian window, sigma 1.5, mean of R, G, B.

    As in the authors' code the window stays inside the image. Raises InputError for sides under 11.
    """
    return _ssim(images, _moments(references))


@_full_precision
def ms_ssim(images: Tensor, references: Tensor) -> Tensor:
    """Multi-scale structural similarity (Wang et al., 2003), the mean of R, G and B.

    Five scales where both sides pass 160 pixels; smaller images take the first scales that fit, as
    :func:`ms_ssim_variant` names, with their weights scaled to the same sum. A negative contrast
    counts as 0.
    """
    return _ms_ssim(images, _pyramid(references))


def ms_ssim_variant(height: int, width: int) -> str:
    """What :func:`ms_ssim` computes at a size: ``win11x5`` is the standard, 11x11 and 5 scales.

    ``win11x4`` from 81 pixels, ``win11x3`` from 41, ``win11x2`` from 21, ``win11x1`` from 11.
    Raises InputError below.
    """
    return f"win{WINDOW}x{_scales(height, width)}"


@_full_precision
def lpips(images: Tensor, references: Tensor) -> Tensor:
    """Learned perceptual distance on AlexNet, version 0.1 (:mod:`linksim.metrics.lpips`)."""
    return _lpips(images, _features(references))


def ms_ssim_db(value: Tensor) -> Tensor:
    """-10 log10(1 - MS-SSIM), at most CAP_DB."""
    return (-10 * torch.log10(1 - value)).clamp(max=CAP_DB)


def lpips_db(value: Tensor) -> Tensor:
    """-10 log10(LPIPS), at most CAP_DB; higher is better."""
    return (-10 * torch.log10(value)).clamp(max=CAP_DB)


@_full_precision
def mse_loss(images: Tensor, references: Tensor) -> Tensor:
    """Mean squared error per image, [B]."""
    return (images - references).square().flatten(1).mean(1)


@_full_precision
def ms_ssim_loss(images: Tensor, references: Tensor) -> Tensor:
    """1 - MS-SSIM per image, [B], with gradients that stay finite where a contrast is negative."""
    return 1 - _ms_ssim(images, _pyramid(references), floor=_GRADIENT_FLOOR)


def without_autocast(images: Tensor) -> AbstractContextManager[object]:
    """No autocast on the images' device."""
    return torch.autocast(images.device.type, enabled=False)


def _levels(references: Tensor) -> Prepared:
    """The 256 levels of a picture file, as whole float32 numbers."""
    return ((references.clamp(0, 1) * 255).round().float(),)


def _psnr(images: Tensor, prepared: Prepared) -> Tensor:
    (levels,) = _levels(images)
    squared = (levels - prepared[0]).square().flatten(1)
    # Whole numbers, whose sum in float64 is exact in any order
    mse = squared.sum(1, dtype=torch.float64) / squared.shape[1]
    return (20 * torch.log10(255 / mse.sqrt())).clamp(max=CAP_DB).float()


def _moments(references: Tensor) -> Prepared:
    """What SSIM needs of references [B, 3, H, W]: they themselves, their mean and variance."""
    _check_side(*references.shape[-2:])
    mean, square = _blur(torch.stack((references, references * references)))
    return references, mean, square - mean**2


def _ssim(images: Tensor, prepared: Prepared) -> Tensor:
    contrast, mean = _contrast(images, prepared)
    return (_luminance(mean, prepared[1]) * contrast).mean((2, 3)).mean(1)


def _pyramid(references: Tensor) -> Prepared:
    """The :func:`_moments` of every scale, one after the other."""
    levels = _halved(references, _scales(*references.shape[-2:]))
    return tuple(tensor for level in levels for tensor in _moments(level))


def _ms_ssim(images: Tensor, prepared: Prepared, *, floor: float = 0.0) -> Tensor:
    scales = len(prepared) // 3
    rescale = sum(MS_SSIM_WEIGHTS) / sum(MS_SSIM_WEIGHTS[:scales])
    factors = []
    for scale, level in enumerate(_halved(images, scales)):
        moments = prepared[3 * scale : 3 * scale + 3]
        term, mean = _contrast(level, moments)
        if scale == scales - 1:
            term = _luminance(mean, moments[1]) * term
        factors.append(term.mean((2, 3)).clamp(min=floor) ** (MS_SSIM_WEIGHTS[scale] * rescale))
    return torch.stack(factors).prod(0).mean(1)


def _halved(images: Tensor, scales: int) -> Iterator[Tensor]:
    """Images, then halved, and so on; an odd row or column at the end is halved alone."""
    yield images
    for _ in range(scales - 1):
        images = F.avg_pool2d(images, 2, ceil_mode=True)
        yield images


def _contrast(images: Tensor, moments: Prepared) -> tuple[Tensor, Tensor]:
    """SSIM's contrast-structure term at the window's places and the images' mean there, each
    [B, 3, H - 10, W - 10]."""
    x, (y, mu_y, var_y) = images, moments
    mu_x, xx, xy = _blur(torch.stack((x, x * x, x * y)))
    var_x, cov = xx - mu_x**2, xy - mu_x * mu_y
    return (2 * cov + _C2) / (var_x + var_y + _C2), mu_x


def _luminance(mu_x: Tensor, mu_y: Tensor) -> Tensor:
    return (2 * mu_x * mu_y + _C1) / (mu_x**2 + mu_y**2 + _C1)


def _features(references: Tensor) -> Prepared:
    return _lpips_net(references.device).unit_features(references)


def _lpips(images: Tensor, prepared: Prepared) -> Tensor:
    return _lpips_net(images.device).distance(images, prepared)


@dataclass(frozen=True)
class Steps:
    """A metric in two steps: what it needs of references, and images compared with that."""

    prepare: Callable[[Tensor], Prepared]
    compare: Callable[[Tensor, Prepared], Tensor]


STEPS: Mapping[str, Steps] = MappingProxyType(
    {
        "psnr": Steps(_levels, _psnr),
        "ssim": Steps(_moments, _ssim),
        "ms_ssim": Steps(_pyramid, _ms_ssim),
        "lpips": Steps(_features, _lpips),
    }
)


def _blur(images: Tensor) -> Tensor:
    """[..., H, W] under the Gaussian window, where it lies inside: [..., H - 10, W - 10]."""
    planes = images.reshape(1, -1, *images.shape[-2:])
    count = planes.shape[1]
    offsets = torch.arange(WINDOW, device=planes.device, dtype=planes.dtype) - WINDOW // 2
    window = torch.exp(-(offsets**2) / (2 * _SIGMA**2))
    window = (window / window.sum()).expand(count, 1, 1, -1)
    # Planes as groups of one image: a tenth of the time that they take as a batch
    across = F.conv2d(planes, window, groups=count)
    blurred = F.conv2d(across, window.mT, groups=count)
    return blurred.reshape(*images.shape[:-2], *blurred.shape[-2:])


def _scales(height: int, width: int) -> int:
    """How many of the five scales leave at least a window, sides being halved upwards."""
    _check_side(height, width)
    side, scales = min(height, width), 1
    while scales < len(MS_SSIM_WEIGHTS) and (side := -(-side // 2)) >= WINDOW:
        scales += 1
    return scales


def _check_side(height: int, width: int) -> None:
    if min(height, width) < WINDOW:
        raise InputError(
            f"ssim: the images are {height}x{width}; sides must be at least {WINDOW} pixels"
        )


@cache
def _lpips_net(device: torch.device) -> LPIPS:
    with torch.inference_mode(False):  # a later training step must be able to use the weights
        return LPIPS().to(device)
