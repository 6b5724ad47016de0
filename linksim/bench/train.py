"""A training step timed, part by part, and held against what the machine multiplies at most."""

from collections.abc import Callable
from statistics import median
from time import perf_counter

import pandas as pd
import torch
from torch.nn.utils import clip_grad_norm_

from linksim.codec_lookup import codec_from_settings
from linksim.errors import InputError
from linksim.images.sets import open_images
from linksim.link.flat import Rayleigh
from linksim.neural_codec import NeuralCodec
from linksim.provenance import machine
from linksim.runtime.devices import pick_device
from linksim.settings import CodecSettings, Precision
from linksim.sweep.complexity import count_macs
from linksim.training.averaging import Average
from linksim.training.data import Batches
from linksim.training.module import Training
from linksim.training.optimizers import new_optimizers
from linksim.training.recipe import OptimizerName, Recipe, TrainingImages

PARTS = ("data", "forward", "backward", "optimiser")


def bench_train(
    contestant: CodecSettings,
    *,
    crop: int = 128,
    batch_size: int = 8,
    precision: Precision = "fp32",
    optimizer: OptimizerName = "adamw",
    device: str = "auto",
    repetitions: int = 5,
) -> pd.DataFrame:
    """Where the time of a training step goes: a row a part, and one for the whole step.

    Steps over the Kodak photographs (which are timed with, not trained on: the weights are thrown
    away), MSE, fast Rayleigh fading, the whole latent. Columns: part (data, forward, backward,
    optimiser with clipping and weight averaging, step), median_ms, share, crops_per_s (of the
    step), gflops (achieved in the step: counted operations, two a multiply-accumulate, over its
    time), peak_gflops (of one large matrix product in the same run), codec, preset, crop,
    batch_size, precision, optimizer, torch and those of :func:`linksim.provenance.machine`.
    Raises InputError for what does not fit.
    """
    if crop > 512:
        raise InputError(f"bench train: crop is {crop}; the photographs allow at most 512")
    recipe, codec = bench_recipe(contestant, crop=crop, batch_size=batch_size, optimizer=optimizer)
    step = _Step(recipe, codec, precision, pick_device(device))
    step.seconds()
    rounds = [step.seconds() for _ in range(repetitions)]
    seconds = {part: median(each[part] for each in rounds) for part in PARTS}
    whole = sum(seconds.values())
    macs, scan_macs = count_macs(lambda: step.forward_and_backward())
    flops = 2 * (macs + scan_macs)
    return pd.DataFrame(
        {
            "part": [*PARTS, "step"],
            "median_ms": [1e3 * value for value in (*seconds.values(), whole)],
            "share": [value / whole for value in (*seconds.values(), whole)],
            "crops_per_s": batch_size / whole,
            "gflops": flops / whole / 1e9,
            "peak_gflops": peak_flops(step.device, precision) / 1e9,
            "codec": contestant.codec,
            "preset": contestant.preset,
            "crop": crop,
            "batch_size": batch_size,
            "precision": precision,
            "optimizer": optimizer,
            "torch": torch.__version__,
            **machine(),
        }
    )


def peak_flops(device: torch.device, precision: Precision, repetitions: int = 5) -> float:
    """Operations a second of a large matrix product, the fastest of some repetitions."""
    side = 8192 if device.type == "cuda" else 1024
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = torch.randn(2, side, side, device=device, dtype=dtype)
    times = [_seconds(lambda: a @ b, device) for _ in range(repetitions + 1)]
    return 2 * side**3 / min(times[1:])


def bench_recipe(
    contestant: CodecSettings, *, crop: int, batch_size: int, optimizer: OptimizerName = "adamw"
) -> tuple[Recipe, NeuralCodec]:
    """What is timed: MSE, fast Rayleigh fading, the whole latent; and the codec. InputError."""
    codec = codec_from_settings(contestant)
    if not isinstance(codec, NeuralCodec):
        raise InputError(f"codec {contestant.codec!r} is not neural; there is nothing to train")
    recipe = Recipe(
        name="bench",
        codec=contestant,
        channel=Rayleigh(),
        snr_db=(1.0, 7.0, 13.0, 19.0),
        cbr=codec.latent_channels / (6 * codec.downsampling**2),
        images=TrainingImages(source="kodak", crop=crop),
        steps=1000,
        batch_size=batch_size,
        optimizer=optimizer,
    )
    return recipe, codec


class _Step:
    """A codec at the start of a training, and one step of it at a time."""

    def __init__(
        self, recipe: Recipe, codec: NeuralCodec, precision: Precision, device: torch.device
    ) -> None:
        self.device, self._precision = device, precision
        self._crop, self._size = recipe.images.crop, recipe.batch_size
        self._codec = codec.to(device).train()
        self._module = Training(recipe, self._codec)
        self._batches = Batches(recipe, open_images("kodak"), device)
        self._optimizers = new_optimizers(recipe, self._codec)
        self._average = Average(self._codec, 0.999)
        self._done = 0

    def seconds(self) -> dict[str, float]:
        """Do one step; the time of each part."""
        seconds = {"data": _seconds(self._read, self.device)}
        seconds["forward"] = _seconds(self._forward, self.device)
        seconds["backward"] = _seconds(lambda: self._loss.backward(), self.device)
        seconds["optimiser"] = _seconds(self._update, self.device)
        return seconds

    def forward_and_backward(self) -> None:
        """What is counted."""
        self._forward()
        self._loss.backward()

    def _read(self) -> None:
        images, labels = self._batches.of(self._done, self._crop, 0, self._size)
        self._images, self._labels = images.to(self.device), labels.to(self.device)
        self._conditions = self._module.conditions(self._done, self._crop, self.device)

    def _forward(self) -> None:
        with torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self._precision == "bf16"
        ):
            self._loss = self._module(self._images, self._labels, self._conditions)

    def _update(self) -> None:
        clip_grad_norm_(self._codec.parameters(), 1.0, foreach=True)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self._done += 1
        self._average.update(self._done)


def _seconds(function: Callable[[], object], device: torch.device) -> float:
    start = _now(device)
    function()
    return _now(device) - start


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter()
