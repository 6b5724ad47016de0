"""Decoded images against their originals: the metrics that a scenario names, image by image."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from linksim.errors import InputError, PluginError, described
from linksim.metrics.quality import Prepared, to_8_bits, without_autocast
from linksim.metrics.table import Metric, find_metric
from linksim.runtime.kept import process_kept

KEPT_BYTES = 1024**3


class Meter:
    """Measures decoded images, computing what the metrics need of an original once for all of them.

    metrics: of the table, or a user's own, by name. max_bytes: how much of that to keep; for
    further originals it is computed every time. Raises InputError for an unknown name.
    """

    def __init__(self, metrics: Collection[str | Metric], *, max_bytes: int = KEPT_BYTES) -> None:
        self._metrics = [find_metric(m) if isinstance(m, str) else m for m in metrics]
        self._kept: dict[tuple[str, str], Prepared] = {}
        self._bytes_left = max_bytes

    def measure(self, images: Tensor, references: Tensor, keys: Sequence[str]) -> dict[str, Tensor]:
        """The metrics of images against references, each [B]; dB forms come with ms_ssim and lpips.

        keys: one a reference, the same whenever it is the same image. Images are first rounded to
        the 8 bits that a picture file has. Each is measured by itself, so that no value depends on
        the batch. Raises PluginError where a user's own metric does not keep to its contract.
        """
        if images.shape != references.shape or images.ndim != 4 or images.shape[1] != 3:
            raise InputError(
                f"metrics: images {list(images.shape)} and references {list(references.shape)} "
                "must both be [B, 3, H, W]"
            )
        values: dict[str, Tensor] = {}
        with torch.inference_mode(), without_autocast(images):
            rounded = _each(to_8_bits(images))
            for metric in self._metrics:
                value = partial(self._value, metric)
                values[metric.name] = torch.cat(
                    [value(*pair) for pair in zip(rounded, _each(references), keys, strict=True)]
                )
                if metric.db is not None:
                    in_db, column = metric.db
                    values[column.name] = in_db(values[metric.name])
        return values

    def variants(self, height: int, width: int) -> dict[str, str]:
        """What of a metric with variants is computed at a size, as ``ms_ssim_variant``."""
        return {
            f"{metric.name}_variant": metric.variant(height, width)
            for metric in self._metrics
            if metric.variant is not None
        }

    def _value(self, metric: Metric, image: Tensor, reference: Tensor, key: str) -> Tensor:
        """[1], of an image and a reference, each [1, 3, H, W]."""
        if metric.steps is not None:
            return metric.steps.compare(image, self._prepared(metric, reference, key))
        assert metric.function is not None
        try:
            with process_kept():
                value = metric.function(image.clone(), to_8_bits(reference))
        except (Exception, SystemExit) as error:
            raise PluginError(f"metric {metric.name}: {described(error)}") from error
        if not isinstance(value, Tensor) or value.shape != (1,) or value.is_meta:
            given = type(value).__name__
            if isinstance(value, Tensor):
                given = f"{list(value.shape)} on {value.device.type}"
            raise PluginError(f"metric {metric.name}: gave {given} for one image; wanted is [B]")
        return value.detach().float()

    def _prepared(self, metric: Metric, reference: Tensor, key: str) -> Prepared:
        kept = self._kept.get((metric.name, key))
        if kept is None:
            assert metric.steps is not None
            kept = metric.steps.prepare(to_8_bits(reference))
            size = sum(tensor.nbytes for tensor in kept)
            if size <= self._bytes_left:
                self._kept[metric.name, key] = kept
                self._bytes_left -= size
        return kept


def measure(
    metrics: Collection[str | Metric], images: Tensor, references: Tensor
) -> dict[str, Tensor]:
    """The metrics of images against references, once; as :meth:`Meter.measure`."""
    return Meter(metrics, max_bytes=0).measure(images, references, [""] * len(references))


def verdicts(
    report: Mapping[str, Tensor], *, snr_db: float | Tensor, labels: Tensor
) -> dict[str, Tensor]:
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


def _each(images: Tensor) -> tuple[Tensor, ...]:
    """[B, 3, H, W] as B tensors [1, 3, H, W]."""
    return tuple(image[None] for image in images)
