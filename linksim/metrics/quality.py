"""Image quality, per image: PSNR, SSIM, MS-SSIM and LPIPS.

Each metric takes images and references, float32 [B, 3, H, W] in [0, 1], and gives [B].
:class:`Meter` is what the sweep uses; LOSSES holds the same ones in the form to train with.
:func:`verdicts` holds what a codec reports beside its images against the truth.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, partial, wraps
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional as F

from linksim.errors import InputError
from linksim.metrics.lpips import LPIPS

Metric = Callable[[Tensor, Tensor], Tensor]
_Prepared = tuple[Tensor, ...]

CAP_DB = 100.0
"""What identical images score in dB, so that a mean over images stays finite."""

KEPT_BYTES = 1024**3

WINDOW = 11
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2
_GRADIENT_FLOOR = 1e-6


def _full_precision(metric: Metric) -> Metric:
    """The metric outside of any autocast, which would blur squares in bfloat16 and ruin it."""

    @wraps(metric)
    def outside(images: Tensor, references: Tensor) -> Tensor:
        with _without_autocast(images):
            dtype = torch.promote_types(images.dtype, torch.float32)
            return metric(images.to(dtype), references.to(dtype))

    return outside


class Meter:
    """Measures decoded images, computing what the metrics need of an original once for all of them.

    names: the metrics, of :data:`METRICS`. max_bytes: how much of that to keep; for further
    originals it is computed every time. Raises InputError for an unknown name.
    """

    def __init__(self, names: Collection[str], *, max_bytes: int = KEPT_BYTES) -> None:
        for name in names:
            if name not in METRICS:
                raise InputError(f"metrics: {name!r} is none; allowed are {', '.join(METRICS)}")
        self._names = tuple(names)
        self._kept: dict[tuple[str, str], _Prepared] = {}
        self._bytes_left = max_bytes

    def measure(self, images: Tensor, references: Tensor, keys: Sequence[str]) -> dict[str, Tensor]:
        """The metrics of images against references, each [B]; dB forms come with ms_ssim and lpips.

        keys: one a reference, the same whenever it is the same image. Images are first rounded to
        the 8 bits that a picture file has. Each is measured by itself, so that no value depends on
        the batch.
        """
        if images.shape != references.shape or images.ndim != 4 or images.shape[1] != 3:
            raise InputError(
                f"metrics: images {list(images.shape)} and references {list(references.shape)} "
                "must both be [B, 3, H, W]"
            )
        values: dict[str, Tensor] = {}
        with torch.inference_mode(), _without_autocast(images):
            rounded = _each(to_8_bits(images))
            for name in self._names:
                prepared = map(partial(self._prepared, name), _each(references), keys)
                pairs = zip(rounded, prepared, strict=True)
                values[name] = torch.cat([_STEPS[name].compare(*pair) for pair in pairs])
                if name in _DB_FORMS:
                    values[f"{name}_db"] = _DB_FORMS[name](values[name])
        return values

    def _prepared(self, name: str, reference: Tensor, key: str) -> "_Prepared":
        kept = self._kept.get((name, key))
        if kept is None:
            kept = _STEPS[name].prepare(to_8_bits(reference))
            size = sum(tensor.nbytes for tensor in kept)
            if size <= self._bytes_left:
                self._kept[name, key] = kept
                self._bytes_left -= size
        return kept


def measure(names: Collection[str], images: Tensor, references: Tensor) -> dict[str, Tensor]:
    """The named metrics of images against references, once; as :meth:`Meter.measure`."""
    return Meter(names, max_bytes=0).measure(images, references, [""] * len(references))


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


def _without_autocast(images: Tensor) -> AbstractContextManager[object]:
    return torch.autocast(images.device.type, enabled=False)


def _levels(references: Tensor) -> _Prepared:
    """The 256 levels of a picture file, as whole float32 numbers."""
    return ((references.clamp(0, 1) * 255).round().float(),)


def _psnr(images: Tensor, prepared: _Prepared) -> Tensor:
    (levels,) = _levels(images)
    squared = (levels - prepared[0]).square().flatten(1)
    # Whole numbers, whose sum in float64 is exact in any order
    mse = squared.sum(1, dtype=torch.float64) / squared.shape[1]
    return (20 * torch.log10(255 / mse.sqrt())).clamp(max=CAP_DB).float()


def _moments(references: Tensor) -> _Prepared:
    """What SSIM needs of references [B, 3, H, W]: they themselves, their mean and variance."""
    _check_side(*references.shape[-2:])
    mean, square = _blur(torch.stack((references, references * references)))
    return references, mean, square - mean**2


def _ssim(images: Tensor, prepared: _Prepared) -> Tensor:
    contrast, mean = _contrast(images, prepared)
    return (_luminance(mean, prepared[1]) * contrast).mean((2, 3)).mean(1)


def _pyramid(references: Tensor) -> _Prepared:
    """The :func:`_moments` of every scale, one after the other."""
    levels = _halved(references, _scales(*references.shape[-2:]))
    return tuple(tensor for level in levels for tensor in _moments(level))


def _ms_ssim(images: Tensor, prepared: _Prepared, *, floor: float = 0.0) -> Tensor:
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


def _contrast(images: Tensor, moments: _Prepared) -> tuple[Tensor, Tensor]:
    """SSIM's contrast-structure term at the window's places and the images' mean there, each
    [B, 3, H - 10, W - 10]."""
    x, (y, mu_y, var_y) = images, moments
    mu_x, xx, xy = _blur(torch.stack((x, x * x, x * y)))
    var_x, cov = xx - mu_x**2, xy - mu_x * mu_y
    return (2 * cov + _C2) / (var_x + var_y + _C2), mu_x


def _luminance(mu_x: Tensor, mu_y: Tensor) -> Tensor:
    return (2 * mu_x * mu_y + _C1) / (mu_x**2 + mu_y**2 + _C1)


def _features(references: Tensor) -> _Prepared:
    return _lpips_net(references.device).unit_features(references)


def _lpips(images: Tensor, prepared: _Prepared) -> Tensor:
    return _lpips_net(images.device).distance(images, prepared)


@dataclass(frozen=True)
class _Steps:
    """A metric in two steps: what it needs of references, and images compared with that."""

    prepare: Callable[[Tensor], _Prepared]
    compare: Callable[[Tensor, _Prepared], Tensor]


_STEPS: Mapping[str, _Steps] = MappingProxyType(
    {
        "psnr": _Steps(_levels, _psnr),
        "ssim": _Steps(_moments, _ssim),
        "ms_ssim": _Steps(_pyramid, _ms_ssim),
        "lpips": _Steps(_features, _lpips),
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
