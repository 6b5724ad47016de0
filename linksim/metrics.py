"""Image quality, per image: PSNR, SSIM, MS-SSIM and LPIPS.

Each metric takes images and references, float32 [B, 3, H, W] in [0, 1], and gives [B].
:func:`measure` is what the sweep calls; LOSSES holds the same ones in the form to train with.
:func:`verdicts` holds what a codec reports beside its images against the truth.
"""

from collections.abc import Callable, Collection, Mapping
from functools import cache, wraps
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional as F

from linksim.errors import InputError
from linksim.lpips import LPIPS

Metric = Callable[[Tensor, Tensor], Tensor]

CAP_DB = 100.0
"""What identical images score in dB, so that a mean over images stays finite."""

WINDOW = 11
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2
_GRADIENT_FLOOR = 1e-6


def _full_precision(metric: Metric) -> Metric:
    """The metric outside of any autocast, which would blur squares in bfloat16 and ruin it."""

    @wraps(metric)
    def outside(images: Tensor, references: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):
            dtype = torch.promote_types(images.dtype, torch.float32)
            return metric(images.to(dtype), references.to(dtype))

    return outside


def measure(names: Collection[str], images: Tensor, references: Tensor) -> dict[str, Tensor]:
    """The named metrics of decoded images, each [B]; dB forms come with ms_ssim and lpips.

    Images are first rounded to the 8 bits that a picture file has. Each is measured by itself, so
    that no value depends on the batch.
    """
    for name in names:
        if name not in METRICS:
            raise InputError(f"metrics: {name!r} is none; allowed are {', '.join(METRICS)}")
    if images.shape != references.shape or images.ndim != 4 or images.shape[1] != 3:
        raise InputError(
            f"metrics: images {list(images.shape)} and references {list(references.shape)} must "
            "both be [B, 3, H, W]"
        )
    values: dict[str, Tensor] = {}
    with torch.inference_mode():
        pairs = list(zip(_each(to_8_bits(images)), _each(to_8_bits(references)), strict=True))
        for name in names:
            metric = METRICS[name]
            values[name] = torch.cat([metric(image, reference) for image, reference in pairs])
            if name in _DB_FORMS:
                values[f"{name}_db"] = _DB_FORMS[name](values[name])
    return values


def verdicts(report: Mapping[str, Tensor], *, snr_db: float, labels: Tensor) -> dict[str, Tensor]:
    """What a codec reported (:class:`linksim.codec.Decoded`) held against the truth, each [B].

    ``snr_error_db``: distance of ``snr_db_estimate`` from the true SNR, in dB. ``accuracy``: 1
    where ``class_index`` is the label, 0 elsewhere; left out where labels [B] hold a -1 (none).
    """
    values: dict[str, Tensor] = {}
    if "snr_db_estimate" in report:
        values["snr_error_db"] = (report["snr_db_estimate"].double() - snr_db).abs()
    if "class_index" in report and int(labels.min()) >= 0:
        values["accuracy"] = (report["class_index"] == labels).double()
    return values


def to_8_bits(images: Tensor) -> Tensor:
    """Images clamped to [0, 1] and rounded to multiples of 1/255."""
    return (images.clamp(0, 1) * 255).round() / 255


def psnr(images: Tensor, references: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB over all three channels, after rounding to 8 bits.

    10*log10(255^2 / MSE), at most CAP_DB: identical images count as 100 dB.
    """
    a, b = (((x.clamp(0, 1) * 255).round().to(torch.int64)) for x in (images, references))
    squared = (a - b).square().flatten(1)  # integers: exact in any order of summation
    mse = squared.sum(1).double() / squared.shape[1]
    return (20 * torch.log10(255 / mse.sqrt())).clamp(max=CAP_DB).float()


@_full_precision
def ssim(images: Tensor, references: Tensor) -> Tensor:
    """Structural similarity (Wang et al., 2004): 11x11 Gaussian window, sigma 1.5, mean of R, G, B.

    As in the authors' code the window stays inside the image. Raises InputError for sides under 11.
    """
    _check_side(*images.shape[-2:])
    return _ssim_and_contrast(images, references)[0].mean(1)


@_full_precision
def ms_ssim(images: Tensor, references: Tensor) -> Tensor:
    """Multi-scale structural similarity (Wang et al., 2003), the mean of R, G and B.

    Five scales where both sides pass 160 pixels; smaller images take the first scales that fit, as
    :func:`ms_ssim_variant` names, with their weights scaled to the same sum. A negative contrast
    counts as 0.
    """
    return _ms_ssim(images, references, floor=0.0)


def ms_ssim_variant(height: int, width: int) -> str:
    """What :func:`ms_ssim` computes at a size: ``win11x5`` is the standard, 11x11 and 5 scales.

    ``win11x4`` from 81 pixels, ``win11x3`` from 41, ``win11x2`` from 21, ``win11x1`` from 11.
    Raises InputError below.
    """
    return f"win{WINDOW}x{_scales(height, width)}"


@_full_precision
def lpips(images: Tensor, references: Tensor) -> Tensor:
    """Learned perceptual distance on AlexNet, version 0.1; see :class:`linksim.lpips.LPIPS`."""
    net: LPIPS = _lpips_net(images.device)
    distance: Tensor = net(images, references)
    return distance


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
    return 1 - _ms_ssim(images, references, floor=_GRADIENT_FLOOR)


METRICS: Mapping[str, Metric] = MappingProxyType(
    {"psnr": psnr, "ssim": ssim, "ms_ssim": ms_ssim, "lpips": lpips}
)
"""Metrics by name."""

LOSSES: Mapping[str, Metric] = MappingProxyType(
    {"mse": mse_loss, "ms_ssim": ms_ssim_loss, "lpips": lpips}
)
"""Differentiable losses by name, each [B]; less is better."""

_DB_FORMS = {"ms_ssim": ms_ssim_db, "lpips": lpips_db}


def _each(images: Tensor) -> tuple[Tensor, ...]:
    """[B, 3, H, W] as B tensors [1, 3, H, W]."""
    return tuple(image[None] for image in images)


def _ms_ssim(images: Tensor, references: Tensor, *, floor: float) -> Tensor:
    scales = _scales(*images.shape[-2:])
    rescale = sum(MS_SSIM_WEIGHTS) / sum(MS_SSIM_WEIGHTS[:scales])
    factors = []
    for scale, weight in enumerate(MS_SSIM_WEIGHTS[:scales]):
        if scale:  # an odd row or column at the end is halved alone
            images, references = (F.avg_pool2d(x, 2, ceil_mode=True) for x in (images, references))
        similarity, contrast = _ssim_and_contrast(images, references)
        term = (similarity if scale == scales - 1 else contrast).clamp(min=floor)
        factors.append(term ** (weight * rescale))
    return torch.stack(factors).prod(0).mean(1)


def _ssim_and_contrast(images: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM and its contrast-structure term, means over the window's places, each [B, 3]."""
    x, y = images, references
    stack = torch.stack((x, y, x * x, y * y, x * y))
    mu_x, mu_y, xx, yy, xy = _blur(stack.flatten(0, 2)).reshape(*stack.shape[:3], -1)
    var_x, var_y, cov = xx - mu_x**2, yy - mu_y**2, xy - mu_x * mu_y
    contrast = (2 * cov + _C2) / (var_x + var_y + _C2)
    luminance = (2 * mu_x * mu_y + _C1) / (mu_x**2 + mu_y**2 + _C1)
    return (luminance * contrast).mean(2), contrast.mean(2)


def _blur(planes: Tensor) -> Tensor:
    """[N, H, W] under the Gaussian window, where it lies inside: [N, H - 10, W - 10]."""
    count = planes.shape[0]
    offsets = torch.arange(WINDOW, device=planes.device, dtype=planes.dtype) - WINDOW // 2
    window = torch.exp(-(offsets**2) / (2 * _SIGMA**2))
    window = (window / window.sum()).expand(count, 1, 1, -1)
    # Planes as groups of one image: a tenth of the time that they take as a batch
    across = F.conv2d(planes[None], window, groups=count)
    return F.conv2d(across, window.mT, groups=count)[0]


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
