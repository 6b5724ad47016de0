"""A codec that Keras saved, as a codec of a scenario; needs ``pip install linksim[tensorflow]``.

    - codec: baselines.keras:KerasCodec
      options: {encoder: my_encoder.keras, decoder: my_decoder.keras}

TensorFlow runs the two models and nothing else: link, metrics and rows are the same as for any
other codec. Tensors pass between the frameworks by DLPack, without a copy on the same device.
"""

import contextlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from linksim.codec import Codec, Frame, Received, RxInfo, TxInfo
from linksim.errors import InputError
from linksim.neural_codec import pair_reals


class KerasCodec(Codec):
    """An encoder and a decoder saved by Keras.

    encoder, decoder: paths of ``.keras`` files, or of SavedModel folders (``model.export``) with a
        ``serving_default`` signature.
    snr_input: both models have a second input, the SNR in dB, float32 [B, 1]. In a SavedModel it is
        the input with ``snr`` in its name.

    Encoder: images float32 [B, H, W, 3] in [0, 1] -> real latent [B, ...], of any shape after the
    batch. The reals of an image, in order, make complex symbols by pairs: (0, 1), (2, 3), …; CBR =
    reals / (6 H W). Decoder: the received latent, in the same shape -> images [B, H, W, 3] in
    [0, 1]. The link sends at unit power a symbol, so the decoder sees reals of mean square 1/2 and
    noise, whatever scale the encoder gave them.

    The shape of the latent is taken from the encoder, once for each image size.

    Raises InputError where TensorFlow or a file is missing, a model does not take the image's size,
    its output is not as above, or the latent does not fit the symbol budget.
    """

    summary: ClassVar[str] = "an encoder and a decoder saved by Keras"
    file_options: ClassVar = ("encoder", "decoder")

    def __init__(self, *, encoder: str, decoder: str, snr_input: bool = False) -> None:
        self.encoder_uses_snr = snr_input
        self._encoder = _SavedByKeras(Path(encoder), snr_input=snr_input)
        self._decoder = _SavedByKeras(Path(decoder), snr_input=snr_input)
        self._latent_shapes: dict[tuple[int, int], torch.Size] = {}

    def encode(self, images: Tensor, tx: TxInfo) -> Frame:
        latent = self._encoder(images.permute(0, 2, 3, 1), tx.snr_db)
        symbols = pair_reals(latent.flatten(1))
        if symbols.shape[1] > tx.max_symbols:
            raise InputError(
                f"{self._encoder.path} gives {symbols.shape[1]} symbols for a "
                f"{tx.image_size[0]}x{tx.image_size[1]} image, the budget is {tx.max_symbols}; "
                "raise cbr"
            )
        return Frame.analog(symbols)

    def decode(self, received: Received, rx: RxInfo) -> Tensor:
        shape = self._latent_shape(rx.image_size)
        reals = torch.view_as_real(received.symbols).flatten(1)[:, : shape.numel()]
        images = self._decoder(reals.reshape(-1, *shape), rx.snr_db)
        if images.shape[1:] != (*rx.image_size, 3):
            raise InputError(
                f"{self._decoder.path} gives {list(images.shape)}; "
                f"wanted [B, {rx.image_size[0]}, {rx.image_size[1]}, 3]"
            )
        return images.permute(0, 3, 1, 2)

    def _latent_shape(self, image_size: tuple[int, int]) -> torch.Size:
        """Shape of one image's latent."""
        if image_size not in self._latent_shapes:
            latent = self._encoder(torch.zeros(1, *image_size, 3), torch.zeros(1))
            self._latent_shapes[image_size] = latent.shape[1:]
        return self._latent_shapes[image_size]


class _SavedByKeras:
    """A saved model as a function of torch tensors: x [B, ...] and snr_db [B] -> [B, ...]."""

    def __init__(self, path: Path, *, snr_input: bool) -> None:
        self.path = path
        self._tf = import_tensorflow()
        self._snr_input = snr_input
        self._signature: Any = None
        if path.suffix == ".keras" and path.is_file():
            self._model = self._tf.keras.models.load_model(path, compile=False)
        elif (path / "saved_model.pb").is_file():
            self._model = self._tf.saved_model.load(str(path))  # keeps the signature's variables
            self._signature = self._model.signatures["serving_default"]
        else:
            raise InputError(f"{path} is neither a .keras file nor a SavedModel folder")

    def __call__(self, x: Tensor, snr_db: Tensor | None) -> Tensor:
        if self._snr_input and snr_db is None:
            raise InputError(f"{self.path} needs an SNR in dB; this side was told none")
        inputs = [x] if snr_db is None or not self._snr_input else [x, snr_db[:, None]]
        given = [self._to_tensorflow(tensor) for tensor in inputs]
        try:
            out = self._run(given)
        except (ValueError, self._tf.errors.InvalidArgumentError) as error:
            raise InputError(
                f"{self.path} does not take {[list(tensor.shape) for tensor in inputs]}: "
                f"{str(error).strip().splitlines()[0]}"
            ) from None
        return self._one_real_tensor(out).to(x.device)

    def _run(self, inputs: list[Any]) -> Any:
        if self._signature is None:
            return self._model(inputs if self._snr_input else inputs[0], training=False)
        names = self._signature.structured_input_signature[1]
        snr_last = sorted(names, key=lambda name: "snr" in name)
        return self._signature(**dict(zip(snr_last, inputs, strict=True)))

    def _to_tensorflow(self, tensor: Tensor) -> Any:
        if not self._tf.config.list_physical_devices("GPU"):
            tensor = tensor.cpu()
        capsule = tensor.detach().float().contiguous().__dlpack__()
        return self._tf.experimental.dlpack.from_dlpack(capsule)

    def _one_real_tensor(self, out: Any) -> Tensor:
        outputs = list(out.values()) if isinstance(out, Mapping) else out
        if isinstance(outputs, list | tuple):
            if len(outputs) != 1:
                raise InputError(f"{self.path} has {len(outputs)} outputs; wanted one")
            outputs = outputs[0]
        if not outputs.dtype.is_floating or outputs.shape.rank < 2:
            raise InputError(
                f"{self.path} gives {outputs.dtype.name} {outputs.shape}; wanted reals [B, ...]"
            )
        return from_dlpack(self._tf.experimental.dlpack.to_dlpack(outputs)).float()


def import_tensorflow() -> Any:
    """The module ``tensorflow``; raises InputError where it is not installed.

    Triton goes first: each of the two brings an LLVM, and loading Triton's (which Sionna does,
    through torch.compile) after TensorFlow's ends the process (tensorflow/tensorflow#124205).
    """
    with contextlib.suppress(ImportError):  # Triton comes with torch on some platforms only
        importlib.import_module("triton")
    try:
        return importlib.import_module("tensorflow")
    except ModuleNotFoundError as error:
        raise InputError(
            f"KerasCodec needs TensorFlow ({error}); pip install 'linksim[tensorflow]'"
        ) from None
