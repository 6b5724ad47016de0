"""A codec held to the contract of :mod:`linksim.codec`, so that it cannot change the measurement.

It gets copies, random numbers of its own, and is told in one line where it breaks the contract.
"""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from linksim.codec import (
    ChannelProbe,
    Codec,
    CodedBits,
    Decoded,
    Frame,
    Received,
    RxInfo,
    TxInfo,
)
from linksim.errors import InputError, PluginError, described, is_ours
from linksim.link.link import Ledger, check_frame
from linksim.sweep.randomness import seeded

T = TypeVar("T")

CONTRACT = "the contract is linksim/codec.py"
FAR_OUTSIDE = 1.0
"""Mean distance of an image's values from [0, 1] beyond which they must be on another scale."""

MEASURED = frozenset(
    (
        *("label", "codec", "is_bound", "channel", "snr_knowledge", "snr_db", "cbr", "image"),
        *("trial", "seed", "tx_snr_db", "rx_snr_db", "snr_error_db", "accuracy", "cbr_realised"),
        *("ebno_db", "images", "count", "failure_rate", "pilot_share"),
        *(field.name for field in fields(Ledger)),
        *("papr_db", "papr_max_db"),
    )
)
"""Columns that linksim fills itself. With those of metrics no codec may report them."""


class HeldCodec(Codec):
    """A codec as a sweep calls it.

    metrics: names that stand for measured quality, which the codec may not report.
    drew: whether it ever drew random numbers; then it is given one image at a time, each with its
        own seed, and no frame of it is kept.
    """

    def __init__(
        self, codec: Codec, *, metrics: Collection[str], device: torch.device | None = None
    ) -> None:
        self._codec = codec
        self._metrics = tuple(metrics)
        self._device = device or torch.device("cpu")
        self._seed = 0
        self._name = type(codec).__name__
        self._ours = is_ours(type(codec))
        self.encoder_uses_snr = codec.encoder_uses_snr
        self.encoder_uses_feedback = codec.encoder_uses_feedback
        self.drew = False

    def seeded(self, seed: int) -> "HeldCodec":
        """The same, its next calls drawing from that seed."""
        self._seed = seed
        return self

    def calibrate(self, probe: ChannelProbe) -> None:
        self._call("calibrate", "nothing", lambda: self._codec.calibrate(probe))

    def encode(self, images: Tensor, tx: TxInfo) -> Frame:
        wanted = f"a Frame of complex64 [{len(images)}, N], N at most {tx.max_symbols}"
        copies = images.clone(), replace(tx, snr_db=_copy(tx.snr_db))
        frame = self._call("encode", wanted, lambda: self._codec.encode(*copies))
        if not isinstance(frame, Frame):
            raise self._broken("encode", f"gave {_in_words(frame)}", wanted)
        parts = [getattr(frame, name) for name in ("symbols", "used")]
        for part in parts:
            if not isinstance(part, Tensor) or part.device.type != self._device.type:
                raise self._broken("encode", f"gave a Frame of {_in_words(part)}", wanted)
        self._check_bits(frame.bits, len(images))
        self._check_frame(frame, len(images), tx.max_symbols, wanted)
        return replace(frame, symbols=frame.symbols.clone(), used=frame.used.clone())

    def decode(self, received: Received, rx: RxInfo) -> Decoded:
        shape = (len(received.symbols), 3, *rx.image_size)
        wanted = f"images float32 {list(shape)} in [0, 1]"
        copies = (
            replace(received, used=received.used.clone()),
            replace(rx, snr_db=_copy(rx.snr_db)),
        )
        out = self._call("decode", wanted, lambda: self._codec.decode(*copies))
        decoded = out if isinstance(out, Decoded) else Decoded(images=out)
        images = decoded.images
        if (
            not isinstance(images, Tensor)
            or (images.dtype, images.shape) != (torch.float32, shape)
            or images.device.type != self._device.type
        ):
            raise self._broken("decode", f"gave {_in_words(images)}", wanted)
        if decoded.done is not None and not _is_one_each(decoded.done, torch.bool, len(images)):
            raise self._broken("decode", f"says done as {_in_words(decoded.done)}", "bool [B]")
        self._check_range(images, wanted)
        self._check_report(decoded.report, len(images))
        return decoded

    def _check_range(self, images: Tensor, wanted: str) -> None:
        finite = torch.nan_to_num(images.detach(), nan=0.0, posinf=0.0, neginf=0.0)
        outside = (finite - finite.clamp(0, 1)).abs().mean(dim=(1, 2, 3))
        if bool((outside > FAR_OUTSIDE).any()):
            low, high = float(finite.min()), float(finite.max())
            values = f"gave values from {low:.4g} to {high:.4g}"
            raise self._broken("decode", values, f"{wanted}, not 0..255")

    def _check_report(self, report: Any, batch: int) -> None:
        if not isinstance(report, Mapping):
            raise self._broken("decode", f"reports {_in_words(report)}", "columns by their names")
        for name, column in report.items():
            if not isinstance(name, str) or not name.isidentifier():
                raise self._broken("decode", f"reports {name!r}", "a name such as my_column")
            taken = [m for m in self._metrics if name == m or name.startswith(f"{m}_")]
            if name in MEASURED or taken:
                raise self._broken(
                    "decode",
                    f"reports {name!r}, a column that linksim measures",
                    "another name",
                )
            if not isinstance(column, Tensor) or column.shape != (batch,):
                raise self._broken(
                    "decode", f"reports {name} as {_in_words(column)}", f"a tensor [{batch}]"
                )
            if column.is_complex() or column.is_meta:
                raise self._broken(
                    "decode", f"reports {name} as {_in_words(column)}", "real numbers"
                )

    def _check_frame(self, frame: Frame, batch: int, max_symbols: int, wanted: str) -> None:
        with self._named("encode", wanted):
            try:
                check_frame(frame, batch=batch, max_symbols=max_symbols)
            except InputError as error:
                place = self._place("encode")
                raise InputError(f"{place}{self._name}.encode: {error} ({CONTRACT})") from None

    def _check_bits(self, bits: Any, batch: int) -> None:
        if bits is None:
            return
        wanted = f"CodedBits of int64 [{batch}], none negative"
        if not isinstance(bits, CodedBits):
            raise self._broken("encode", f"gave bits as {_in_words(bits)}", wanted)
        for name, count in vars(bits).items():
            if not _is_one_each(count, torch.int64, batch) or int(count.min()) < 0:
                raise self._broken("encode", f"gave bits.{name} as {_in_words(count)}", wanted)

    def _call(self, method: str, wanted: str, function: Callable[[], T]) -> T:
        with self._named(method, wanted), seeded(self._seed, self._device) as draws:
            result = function()
        self.drew = self.drew or (draws.any and method != "calibrate")
        return result

    @contextmanager
    def _named(self, method: str, wanted: str) -> Iterator[None]:
        """Errors of a user's codec in one line. Of one of ours they are ours."""
        try:
            yield
        except InputError:
            raise
        except (Exception, SystemExit) as error:  # a codec that leaves must not end the sweep
            if self._ours:
                raise
            raise PluginError(
                f"{self._name}.{method} raised {described(error)}; wanted was {wanted} ({CONTRACT})"
            ) from error

    def _broken(self, method: str, what: str, wanted: str) -> InputError:
        place = self._place(method)
        return InputError(f"{place}{self._name}.{method} {what}; wanted {wanted} ({CONTRACT})")

    def _place(self, method: str) -> str:
        code = getattr(inspect.unwrap(getattr(type(self._codec), method)), "__code__", None)
        return f"{Path(code.co_filename).name}:{code.co_firstlineno}: " if code else ""


def _copy(values: Tensor | None) -> Tensor | None:
    return None if values is None else values.clone()


def _is_one_each(value: object, dtype: torch.dtype, batch: int) -> bool:
    if not isinstance(value, Tensor) or value.is_meta:
        return False
    return value.dtype == dtype and value.shape == (batch,)


def _in_words(value: object) -> str:
    if isinstance(value, Tensor):
        place = "" if value.device.type == "cpu" else f" on {value.device.type}"
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}{place}"
    return "None" if value is None else f"a {type(value).__name__}"
