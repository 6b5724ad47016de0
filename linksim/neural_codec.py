"""What all neural codecs share: padding, complex symbols, rate, precision and weights.

encode: images [B, 3, H, W] -> pad -> analysis -> latent [B, C, h, w] -> symbols [B, N]
decode: symbols -> latent, zeros for what was not sent -> synthesis -> crop -> images
"""

import hashlib
import json
import struct
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from linksim.codec import Codec, Decoded, Frame, Received, RxInfo, TxInfo
from linksim.errors import InputError, one_line
from linksim.runtime import batch_exact
from linksim.settings import Precision

Rate = Literal["fixed", "nested"]
Scale = Literal["withheld", "side_info"]

_SCALE = struct.Struct("<e")  # float16: 16 bits


class NeuralCodec(Codec, nn.Module):
    """A codec made of a learned analysis and synthesis around a real-valued latent.

    A subclass sets ``stride`` and ``downsampling``, calls ``super().__init__`` with its latent
    width and writes ``analysis`` and ``synthesis``.

    stride: the padded image's sides are multiples of it.
    downsampling: the latent is [B, C, H/downsampling, W/downsampling].
    latent_channels: C. Two real values make one complex symbol, so CBR = C / (6 * downsampling^2).
    rate: ``fixed`` sends the whole latent; ``nested`` sends as many of its first channels as fit
        the budget, and the receiver puts zeros for the others.
    scale: the link brings each image to unit power. ``withheld`` leaves the receiver without the
        factor; ``side_info`` tells it, as 16 bits an image beside the channel, which are counted.
        Published codecs take it for granted.

    >>> class Mean(NeuralCodec):
    ...     stride = downsampling = 8
    ...     def analysis(self, images, snr_db):
    ...         return F.avg_pool2d(images, 8)
    ...     def synthesis(self, latent, snr_db):
    ...         return F.interpolate(latent, scale_factor=8)
    >>> tx = TxInfo(snr_db=None, max_symbols=200, image_size=(64, 64))
    >>> Mean(latent_channels=3).encode(torch.rand(1, 3, 64, 64), tx).symbols.shape  # 3*8*8 / 2
    torch.Size([1, 96])
    """

    stride: int
    downsampling: int

    rates: ClassVar[str] = "fixed, nested"

    def __init__(
        self, *, latent_channels: int, rate: Rate = "fixed", scale: Scale = "withheld"
    ) -> None:
        super().__init__()
        if latent_channels < 1:
            raise InputError(f"latent_channels is {latent_channels}; it must be at least 1")
        if rate not in ("fixed", "nested"):
            raise InputError(f"rate is {rate!r}; allowed are 'fixed' and 'nested'")
        if scale not in get_args(Scale):
            raise InputError(f"scale is {scale!r}; allowed are 'withheld' and 'side_info'")
        self.latent_channels = latent_channels
        self.rate = rate
        self.scale = scale
        self.precision: Precision = "fp32"

    @abstractmethod
    def analysis(self, images: Tensor, snr_db: Tensor | None) -> Tensor:
        """Latent [B, C, h, w] of padded images [B, 3, H, W] in [0, 1]; snr_db is [B] or None."""

    @abstractmethod
    def synthesis(self, latent: Tensor, snr_db: Tensor | None) -> Tensor | Decoded:
        """Padded images [B, 3, H, W] from a noisy latent [B, C, h, w]; need not be clamped."""

    def training_loss(
        self,
        *,
        decoded: Decoded,
        images: Tensor,
        frame: Frame,
        received: Received,
        snr_db: Tensor,
        labels: Tensor,
    ) -> Tensor | None:
        """The codec's own loss (a scalar), for one trained on more than its images.

        None, as here, leaves it to the recipe's image loss. snr_db [B] is the true SNR, labels [B]
        the class indices or -1; neither was told to the decoder.
        """
        return None

    def initialise_as_transform(self) -> list[nn.Parameter]:
        """Start from a linear transform codec (:mod:`linksim.nn.transform_init`), not from noise.

        Returns the parameters that hold it, which a recipe can let learn at a rate of their own.
        Raises InputError for a codec that does not say how.
        """
        raise InputError(f"{type(self).__name__} cannot start as a transform; use initial: random")

    def encode(self, images: Tensor, tx: TxInfo) -> Frame:
        """Pad, analyse, keep the channels that fit the budget, pair reals into symbols."""
        channels = self.channels_that_fit(tx)
        with self._autocast(images):
            return self.frame_for(_pad(images, self.stride), tx.snr_db, channels)

    def frame_for(self, images: Tensor, snr_db: Tensor | None, channels: int) -> Frame:
        """The frame of padded images that carries so many channels: the first of the latent."""
        return self.frame_of(self.analysis(images, snr_db).float()[:, :channels])

    def decode(self, received: Received, rx: RxInfo) -> Tensor | Decoded:
        """Unpair, fill up with zeros, synthesise, crop."""
        latent = self.latent_of(self.rescaled(received), rx.image_size)
        return self.images_of(latent, rx)

    def images_of(self, latent: Tensor, rx: RxInfo) -> Tensor | Decoded:
        """Synthesise from a latent [B, C, h, w] and crop."""
        with self._autocast(latent):
            out = self.synthesis(latent, rx.snr_db)
        if isinstance(out, Decoded):
            return Decoded(images=_crop(out.images, rx.image_size), report=out.report)
        return _crop(out, rx.image_size)

    def frame_of(
        self, latent: Tensor, side_info: Sequence[bytes] | None = None, bits: int = 0
    ) -> Frame:
        """Pair the reals of a latent [B, channels, h, w] into symbols, all of them used.

        side_info: a bytes object an image, of which that many bits count, for the receiver; the
        scale, where it is told, stands behind it.
        """
        frame = Frame.analog(pair_reals(latent.flatten(1)))
        told = list(side_info or [b""] * len(latent))
        if self.scale == "side_info":
            told = [a + _SCALE.pack(b) for a, b in zip(told, _scales(frame.symbols), strict=True)]
            bits += 8 * _SCALE.size
        if bits == 0:
            return frame
        counted = torch.full((len(latent),), bits, device=latent.device)
        return replace(frame, side_info=tuple(told), side_info_bits=counted)

    def rescaled(self, received: Received) -> Tensor:
        """The received symbols [B, N], at the transmitter's scale where that is told."""
        if self.scale == "withheld":
            return received.symbols
        told = received.side_info
        if told is None:
            raise InputError(f"{type(self).__name__} with scale: side_info got no side information")
        scales = [_SCALE.unpack(data[-_SCALE.size :])[0] for data in told]
        factors = torch.tensor(scales, device=received.symbols.device)
        return batch_exact.scale(received.symbols, factors[:, None])

    def latent_of(self, symbols: Tensor, image_size: tuple[int, int]) -> Tensor:
        """The latent [B, C, h, w] that symbols [B, N] carry, zero in channels not sent."""
        h, w = self._latent_size(image_size)
        reals = torch.view_as_real(symbols).flatten(1)
        channels = reals.shape[1] // (h * w)
        latent = reals[:, : channels * h * w].reshape(-1, channels, h, w)
        return F.pad(latent, (0, 0, 0, 0, 0, self.latent_channels - channels))

    def channels_that_fit(self, info: TxInfo | RxInfo) -> int:
        """How many latent channels are sent within the symbol budget.

        Raises InputError where the budget is too small for one channel, or, at a fixed rate, for
        the whole latent.
        """
        h, w = self._latent_size(info.image_size)
        fit = min(2 * info.max_symbols // (h * w), self.latent_channels)
        if fit == 0 or (self.rate == "fixed" and fit < self.latent_channels):
            needed = 1 if self.rate == "nested" else self.latent_channels
            height, width = info.image_size
            raise InputError(
                f"{type(self).__name__} needs {-(-needed * h * w // 2)} symbols for {needed} "
                f"latent channel(s) of a {height}x{width} image (rate: {self.rate}), the budget is "
                f"{info.max_symbols}; raise cbr or lower latent_channels"
            )
        return fit

    def save(
        self,
        path: Path,
        *,
        options: Mapping[str, Any],
        card: Mapping[str, Any],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Write a safetensors file with the codec's options and a card of how it was trained.

        dtype: in which floating-point weights are stored; they are float32 again when loaded.
        """
        tensors = {
            name: value.detach()
            .to(dtype if value.is_floating_point() else value.dtype)
            .contiguous()
            for name, value in self.state_dict().items()
        }
        metadata = {"options": json.dumps(dict(options)), "card": json.dumps(dict(card))}
        metadata["metadata_sha256"] = _text_digest(metadata)
        metadata["tensors_sha256"] = _tensors_digest(tensors)
        path.write_bytes(save(tensors, metadata))

    def load(self, path: Path) -> None:
        """Read weights written by :meth:`save`; raises InputError for what is damaged or does not
        fit."""
        metadata = _checked_metadata(path)
        with _reading(path), safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata.get("tensors_sha256") not in (None, _tensors_digest(tensors)):
            raise InputError(f"{path}: damaged: its weights are not those that were written")
        self.load_tensors(tensors, str(path))

    def load_tensors(self, tensors: Mapping[str, Tensor], where: str) -> None:
        """Take weights by name; raises InputError, which begins with ``where``, unless they fit."""
        try:
            self.load_state_dict(tensors)
        except RuntimeError:
            raise InputError(
                f"{where}: weights do not fit {type(self).__name__}: {_mismatch(self, tensors)}"
            ) from None

    def _latent_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        height, width = (-(-side // self.stride) * self.stride for side in image_size)
        return height // self.downsampling, width // self.downsampling

    def _autocast(self, tensor: Tensor) -> AbstractContextManager[object]:
        if self.precision == "fp32":  # leave an outer autocast, as in training, in force
            return torch.autocast(
                tensor.device.type,
                enabled=torch.is_autocast_enabled(tensor.device.type),
                dtype=torch.get_autocast_dtype(tensor.device.type),
            )
        return torch.autocast(tensor.device.type, dtype=torch.bfloat16)


def read_weights_metadata(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(options, card) of a file written by :meth:`NeuralCodec.save`; raises InputError."""
    metadata = _checked_metadata(path)
    return _json_object(path, metadata, "options"), _json_object(path, metadata, "card")


def _checked_metadata(path: Path) -> dict[str, str]:
    """The text in a file of weights, if it is what was written there."""
    if not path.is_file():
        raise InputError(f"{path}: no such weights file")
    with _reading(path), safe_open(path, framework="pt") as file:
        metadata: dict[str, str] = file.metadata() or {}
    if metadata.get("metadata_sha256") not in (None, _text_digest(metadata)):
        raise InputError(f"{path}: damaged: its options or card are not those that were written")
    return metadata


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # of a damaged file, whatever the library makes of it
        raise InputError(f"{path}: not a readable safetensors file ({one_line(error)})") from None


def _json_object(path: Path, metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    text = metadata.get(key, "{}")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{path}: its {key} must be a JSON object, not {text[:40]!r}")
    return found


def _text_digest(metadata: Mapping[str, str]) -> str:
    """SHA-256 of the options and the card."""
    text = "\0".join(metadata.get(key, "") for key in ("options", "card"))
    return hashlib.sha256(text.encode()).hexdigest()


def _tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors: of their names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode())
        digest.update(tensor.cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _scales(symbols: Tensor) -> list[float]:
    """Root mean square of each image's symbols [B, N], within what float16 holds."""
    power = torch.view_as_real(symbols).double().square().sum(dim=(1, 2)) / symbols.shape[1]
    limits = torch.finfo(torch.float16)
    return power.sqrt().clamp(limits.tiny, limits.max).tolist()


def _pad(images: Tensor, stride: int) -> Tensor:
    height, width = images.shape[-2:]
    bottom, right = -height % stride, -width % stride
    return F.pad(images, (0, right, 0, bottom), mode="replicate") if bottom or right else images


def _crop(images: Tensor, size: tuple[int, int]) -> Tensor:
    return images[..., : size[0], : size[1]].float()


def pair_reals(reals: Tensor) -> Tensor:
    """[B, n] reals to [B, ceil(n/2)] complex symbols, neighbours paired, within each image."""
    if reals.shape[1] % 2:
        reals = F.pad(reals, (0, 1))
    return torch.view_as_complex(reals.reshape(reals.shape[0], -1, 2).contiguous())


def _mismatch(module: nn.Module, tensors: Mapping[str, Tensor]) -> str:
    """The first difference between what a module wants and what a file holds."""
    wanted = module.state_dict()
    for name in sorted(wanted.keys() | tensors.keys()):
        if name not in tensors:
            return f"{name} is missing from the file"
        if name not in wanted:
            return f"the file holds {name}, which the codec does not have"
        if wanted[name].shape != tensors[name].shape:
            return f"{name} is {list(tensors[name].shape)}, wanted {list(wanted[name].shape)}"
    return "unreadable"
