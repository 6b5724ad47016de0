"""Training by a recipe: crops through codec and link, to weights with a card.

A training survives being stopped at any moment: what is done at step k is a function of the recipe
and of k, and all that must be remembered is in the checkpoints, which are written whole. The
weights are made from the last of them, however often that is begun again.
"""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain, count, islice, pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.fabric import Fabric
from lightning.fabric.loggers.tensorboard import TensorBoardLogger
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.rank_zero import rank_zero_only
from rich.console import Console
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import update_bn

from linksim.codec_lookup import codec_from_settings, resolved_options
from linksim.errors import InputError, one_line
from linksim.files import file_digest, write_atomically
from linksim.neural_codec import NeuralCodec, read_weights_metadata
from linksim.runtime.compiled import compile_parts
from linksim.runtime.devices import computes_in_bf16, pick_device
from linksim.runtime.seeding import derive_seed
from linksim.settings import Precision
from linksim.training import folder as folders
from linksim.training.averaging import Average
from linksim.training.card import card_of
from linksim.training.checkpoints import Checkpoints
from linksim.training.data import (
    Batches,
    HeldOut,
    data_digest,
    open_training_images,
    split_images,
)
from linksim.training.log import Curve, Teller
from linksim.training.module import Training
from linksim.training.optimizers import new_optimizers
from linksim.training.recipe import Recipe
from linksim.training.schedule import crop_of, last_step, pixels_seen, rate_factor
from linksim.zoo import weights_path

LOG_EVERY = 50
"""Steps between two rows of the learning curve."""
SETTLING_BATCHES = 100
"""Over which BatchNorm's statistics are measured anew for averaged weights."""
_WARM_UP = 3  # steps of a start that say nothing about how long steps take


@dataclass(frozen=True, kw_only=True)
class Start:
    """How a training is run; its weights do not depend on it, but by rounding.

    decay_from: the checkpoint from which a recipe of ``schedule: wsd`` decays, in a folder below;
        ``last`` takes the newest.
    minutes: stop in time with a checkpoint. device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    overwrite: start anew. shard_mb: the largest size of a checkpoint's files, in megabytes.
    compiled: torch.compile the codec; it changes the weights by rounding, and the card says so.
    """

    decay_from: int | Literal["last"] | None = None
    minutes: float | None = None
    device: str = "auto"
    overwrite: bool = False
    shard_mb: int | None = None
    compiled: bool = False


def train(
    recipe: Recipe, folder: Path, start: Start | None = None, console: Console | None = None
) -> Path | None:
    """Train by a recipe, going on where a run in ``folder`` stopped; the path of its weights.

    None where the time was up before: the same call goes on. A finished training does nothing.
    What the folder holds is said in :mod:`linksim.training.folder`.
    Raises InputError, also where the folder holds another training.
    """
    start, console = start or Start(), console or Console()
    deadline = None if start.minutes is None else time.monotonic() + 60 * start.minutes
    with folders.claimed(folder) if leads() else nullcontext():
        images = open_training_images(recipe)
        split = split_images(recipe, images)
        data = data_digest(images)
        overwrite = start.overwrite and leads()
        if overwrite and start.decay_from is None:
            folders.clear(folder, recipe.name)
        checkpoints = _checkpoints(recipe, folder, data, None, start)
        origin, decay_from = checkpoints, _decay_from(recipe, checkpoints, start.decay_from)
        if decay_from is not None:
            folder = folder / f"decay_{decay_from}"
            if overwrite:
                folders.clear(folder, recipe.name)
            checkpoints = _checkpoints(recipe, folder, data, decay_from, start)
        weights = folder / f"{recipe.name}.safetensors"
        if folders.is_finished(weights, last_step(recipe, decay_from)):
            console.print(f"{weights} is finished: nothing to do", soft_wrap=True, highlight=False)
            return weights
        if leads():
            checkpoints.sweep()
        try:
            work = _Work(recipe, folder, decay_from, start, split, data)
            work.take_up(checkpoints, origin, console)
            return weights if work.run(checkpoints, deadline, console) else None
        except OSError as error:
            raise InputError(
                f"{error.filename or folder}: {error.strerror or error}; the last checkpoint stays"
            ) from None


def leads() -> bool:
    """Whether this process is the first of those that share a training.

    It alone claims the folder and writes there; the others are started by Lightning from the same
    command, and read.
    """
    return int(rank_zero_only.rank) == 0  # type: ignore[attr-defined]  # it is set at import


def _checkpoints(
    recipe: Recipe, folder: Path, data: str, decay_from: int | None, start: Start
) -> Checkpoints:
    """Those of the training in a folder, which must be this one."""
    identity = folders.identity_of(recipe, data, decay_from)
    run = folders.begin(folder, identity) if leads() else folders.run_of(folder)
    return Checkpoints(
        folder=folder / folders.CHECKPOINTS,
        run=run,
        shard_mb=start.shard_mb,
        keep_every=recipe.keep_every,
    )


def _decay_from(recipe: Recipe, main: Checkpoints, asked: int | str | None) -> int | None:
    """The step to decay from; raises InputError for one that cannot be."""
    if asked is None:
        return None
    if recipe.schedule != "wsd" or recipe.decay_steps is None:
        raise InputError(f"--decay-from is for recipes of schedule wsd, not {recipe.schedule}")
    steps = main.steps()
    if not steps:
        raise InputError(f"--decay-from {asked}: {main.folder} holds no checkpoint yet")
    if asked != "last" and asked not in steps:
        raise InputError(
            f"--decay-from {asked}: no checkpoint of that step; there are "
            f"{', '.join(map(str, steps))}"
        )
    step = steps[-1] if asked == "last" else int(asked)
    if recipe.decay_steps > step:
        raise InputError(
            f"--decay-from {step}: decay_steps is {recipe.decay_steps}, longer than the run so far"
        )
    return step


class _Work:
    """A training at work: the codec, its optimisers and average, and the step that is reached."""

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        decay_from: int | None,
        start: Start,
        images: tuple[Any, Any],
        data: str,
    ) -> None:
        self.recipe, self.folder, self.decay_from = recipe, folder, decay_from
        self.training, self.held_out = images
        self.data = data
        self.total = last_step(recipe, decay_from)
        picked = pick_device(start.device)
        self.precision = _precision(recipe, picked)
        self.fabric = _fabric(recipe, picked, self.precision, folder)
        self.fabric.launch()
        self.share = _share(recipe, self.fabric)
        torch.manual_seed(derive_seed(recipe.seed, "init"))
        codec, transform = _new_codec(recipe)
        if start.compiled:
            compile_parts(codec)
        self.arithmetic = f"{self.precision}, compiled" if start.compiled else self.precision
        self.codec = codec
        self.module = Training(recipe, codec)
        self.optimizers = new_optimizers(recipe, codec, transform)
        self.wrapped, *self.steppers = self.fabric.setup(self.module, *self.optimizers)
        self.average = None if recipe.ema is None else Average(codec, recipe.ema)
        self.batches = Batches(recipe, self.training, self.fabric.device)
        self.validation = HeldOut(
            self.held_out, side=recipe.validation_crop, size=recipe.micro_batch or recipe.batch_size
        )
        self.step = 0
        self.seconds = 0.0
        self.precisions: list[str] = []
        self.curve = Curve()

    # What is remembered.

    def take_up(self, checkpoints: Checkpoints, origin: Checkpoints, console: Console) -> None:
        """Go on from the newest checkpoint that is whole; a decay begins with one of ``origin``."""
        damaged = []
        for step in reversed(checkpoints.steps()):
            try:
                self._load(checkpoints.load(step))
            except InputError as error:
                damaged.append(error)
                console.print(f"{error}; the one before it is tried", soft_wrap=True)
            else:
                console.print(f"Going on at step {self.step} of {self.total}")
                break
        else:
            if damaged:
                raise InputError(f"{damaged[0]}; no checkpoint is whole; --overwrite starts anew")
            if self.decay_from is not None:
                self._load(origin.load(self.decay_from))
        if self.arithmetic not in self.precisions:
            self.precisions.append(self.arithmetic)

    def _load(self, state: dict[str, Any]) -> None:
        self.codec.load_state_dict(state["codec"])
        for optimizer, held in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(held)
        if self.average is not None:
            self.average.load(state["average"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.precisions, self.curve = list(state["precisions"]), Curve(state["curve"])

    def _state(self) -> dict[str, Any]:
        return {
            "codec": self.codec.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "average": None if self.average is None else self.average.state(),
            "step": self.step,
            "seconds": self.seconds,
            "precisions": self.precisions,
            "curve": self.curve.rows,
        }

    def _save(self, checkpoints: Checkpoints) -> None:
        if self.fabric.is_global_zero:
            checkpoints.save(self.step, self._state())
            self.curve.write(self.folder / folders.CURVE)
        self.fabric.barrier()

    # What is done.

    def run(self, checkpoints: Checkpoints, deadline: float | None, console: Console) -> bool:
        """All steps that are left, and the weights; False where the time was up before."""
        teller = Teller(
            console, done=self.step, total=self.total, batch_size=self.recipe.batch_size
        )
        try:
            if not self._steps(checkpoints, deadline, teller):
                return False
        finally:
            teller.stop()
        self._finish(teller)
        return True

    def _steps(self, checkpoints: Checkpoints, deadline: float | None, teller: Teller) -> bool:
        recipe, pace = self.recipe, _Pace()
        while self.step < self.total:
            loss = self._learn()
            if self.step % LOG_EVERY == 0 or self.step == self.total:
                self._log({"loss": float(loss), "lr": self.optimizers[0].param_groups[0]["lr"]})
            if self.step % recipe.validation.every == 0 and self.step < self.total:
                self._validate(teller)
            teller.step(self.step, loss)
            self.seconds += pace.step()
            late = deadline is not None and self._agreed(pace.is_late(deadline))
            if self.step % recipe.checkpoint_every == 0 or self.step == self.total or late:
                self._save(checkpoints)
                pace.saved()
            if late and self.step < self.total:
                teller.line(f"The time is up: stopped at step {self.step} of {self.total}")
                return False
        return True

    def _agreed(self, late: bool) -> bool:
        """The same answer for all processes that share the work."""
        return bool(self.fabric.broadcast(late))

    def _learn(self) -> Tensor:
        """One step; its loss."""
        recipe, step = self.recipe, self.step
        factor = rate_factor(recipe, step, self.decay_from)
        for group in chain.from_iterable(o.param_groups for o in self.optimizers):
            group["lr"] = group["peak"] * factor
        side = crop_of(recipe, step, self.decay_from)
        conditions = self.module.conditions(step, side, self.fabric.device)
        total = torch.zeros((), device=self.fabric.device)
        first, last = self.share
        bounds = [*range(first, last, recipe.crops_at_once(side)), last]
        for a, b in pairwise(bounds):
            images, labels = self.fabric.to_device(self.batches.of(step, side, a, b))
            torch.manual_seed(derive_seed(recipe.seed, "layers", step, a))
            with self.fabric.no_backward_sync(self.wrapped, enabled=b < last):
                loss = self.wrapped(images, labels, conditions.of(a, b)) * (
                    (b - a) / (last - first)
                )
                self.fabric.backward(loss)
            total += loss.detach()
        if not bool(torch.isfinite(total)):
            raise InputError(f"the loss is {total.item()} at step {step}; lower lr or clip_norm")
        clip_grad_norm_(self.codec.parameters(), recipe.clip_norm, foreach=True)
        for stepper in self.steppers:
            stepper.step()
            stepper.zero_grad()
        self.step += 1
        if self.average is not None:
            self.average.update(self.step)
        return total

    def _log(self, values: dict[str, float]) -> None:
        seen = pixels_seen(self.recipe, self.step, self.decay_from)
        self.curve.add(self.step, {"gigapixels": seen / 1e9, **values})
        self.fabric.log_dict(values, step=self.step)

    def _validate(self, teller: Teller) -> dict[str, float]:
        """Measure the averaged weights on the held-out images."""
        with nullcontext() if self.average is None else self.average.in_place():
            metrics = self._measure()
        self._log(metrics)
        if self.fabric.is_global_zero:
            teller.validation(self.step, metrics)
        return metrics

    def _measure(self) -> dict[str, float]:
        self.codec.eval()
        with self.fabric.autocast():
            metrics = self.module.validation(self.validation, self.fabric.device)
        self.codec.train()
        return metrics

    # What it leaves.

    def _finish(self, teller: Teller) -> None:
        """Weights, their card and the learning curve, all from the last checkpoint's state."""
        if self.average is not None:
            self.average.swap()
            self._settle_batch_norm()
        metrics = self._measure()
        self._log(metrics)
        if not self.fabric.is_global_zero:
            return
        teller.validation(self.step, metrics)
        recipe = self.recipe
        card = card_of(
            recipe,
            decay_from=self.decay_from,
            seconds=self.seconds,
            precisions=self.precisions,
            training_images=len(self.training),
            held_out=self.held_out.names,
            data=self.data,
            validation=metrics,
        )
        write_weights(self.folder / f"{recipe.name}.safetensors", recipe, self.codec, card)
        self.curve.write(self.folder / f"{recipe.name}.csv")
        self.curve.write(self.folder / folders.CURVE)

    def _settle_batch_norm(self) -> None:
        """Measure the statistics of every BatchNorm anew, over the batches that would come next.

        Averaged weights give other activations than any of the weights that were averaged, so that
        averages of their statistics do not fit (Izmailov et al., Averaging Weights Leads to Wider
        Optima, UAI 2018, section 3).
        """
        norms = [m for m in self.codec.modules() if isinstance(m, _BatchNorm)]
        if not any(norm.training for norm in norms):
            return  # a codec that holds its statistics fixed keeps them
        steps = islice(count(self.step), SETTLING_BATCHES)
        with self.fabric.autocast():
            update_bn(([step] for step in steps), _Sender(self.module, self._send))

    def _send(self, step: int) -> None:
        recipe, device = self.recipe, self.fabric.device
        side = crop_of(recipe, self.total - 1, self.decay_from)
        conditions = self.module.conditions(step, side, device)
        size = recipe.crops_at_once(side)
        images, _ = self.batches.of(step, side, 0, size)
        self.module.send(images.to(device), conditions.of(0, size))


class _Pace:
    """How long steps and checkpoints take, at the longest."""

    def __init__(self) -> None:
        self._step, self._save, self._steps = 0.0, 1.0, 0
        self._before = time.monotonic()

    def step(self) -> float:
        """A step has ended; the seconds that it took, validation included."""
        seconds = self._since()
        self._steps += 1
        if self._steps > _WARM_UP:
            self._step = max(self._step, seconds)
        return seconds

    def saved(self) -> None:
        """A checkpoint has been written."""
        self._save = max(self._save, self._since())

    def is_late(self, deadline: float) -> bool:
        """Whether another step and checkpoint might end after the deadline."""
        return time.monotonic() + 1.2 * (self._step + 2 * self._save) > deadline

    def _since(self) -> float:
        before, self._before = self._before, time.monotonic()
        return self._before - before


class _Sender(nn.Module):
    """A training's codec, sending the crops of a step that it is called with; no loss."""

    def __init__(self, module: Training, send: Callable[[int], object]) -> None:
        super().__init__()
        self.module = module
        self._send = send

    def forward(self, step: int) -> None:
        self._send(step)


def _precision(recipe: Recipe, device: torch.device) -> Precision:
    if recipe.precision != "auto":
        return recipe.precision
    return "bf16" if computes_in_bf16(device) else "fp32"


def _fabric(recipe: Recipe, device: torch.device, precision: Precision, folder: Path) -> Fabric:
    devices: Any = recipe.devices
    if ":" in str(device):
        devices = [device.index]
    elif device.type == "cpu" and devices == "auto":
        devices = 1
    try:
        return Fabric(
            accelerator=device.type,
            devices=devices,
            strategy=recipe.strategy,
            precision="bf16-mixed" if precision == "bf16" else "32-true",
            loggers=TensorBoardLogger(folder, name="", version=folders.TENSORBOARD),
        )
    except (ValueError, MisconfigurationException) as error:
        raise InputError(
            f"devices: {recipe.devices} with strategy: {recipe.strategy} ({one_line(error)})"
        ) from None


def _share(recipe: Recipe, fabric: Fabric) -> tuple[int, int]:
    """Which images of every batch are this process's: from the first to before the last."""
    size, rest = divmod(recipe.batch_size, fabric.world_size)
    if rest:
        raise InputError(
            f"batch_size is {recipe.batch_size}; {fabric.world_size} devices cannot share it evenly"
        )
    return fabric.global_rank * size, (fabric.global_rank + 1) * size


def _new_codec(recipe: Recipe) -> tuple[NeuralCodec, Sequence[nn.Parameter]]:
    """The codec before the first step, and its parameters that hold a transform."""
    _check_start(recipe)
    codec = codec_from_settings(recipe.codec)
    if not isinstance(codec, NeuralCodec):
        raise InputError(f"codec {recipe.codec.codec!r} is not neural; there is nothing to train")
    transform = codec.initialise_as_transform() if recipe.initial == "transform" else []
    return codec.train(), transform


def _check_start(recipe: Recipe) -> None:
    """Raise InputError for weights that say themselves that they are of another codec."""
    start, name = recipe.codec.weights, recipe.codec.codec
    if start is None:
        return
    _, card = read_weights_metadata(weights_path(start))
    try:
        theirs = card["recipe"]["codec"]["codec"]
    except (KeyError, TypeError):
        return
    if theirs != name and ":" not in f"{theirs}{name}":
        raise InputError(f"weights {start} are of {theirs!r}, the recipe's codec is {name!r}")


def write_weights(path: Path, recipe: Recipe, codec: NeuralCodec, card: dict[str, Any]) -> None:
    """Write weights and, beside them, their card with the file's digest; raises InputError."""
    options = resolved_options(recipe.codec)
    dtype = torch.float16 if recipe.stored_as == "fp16" else torch.float32
    write_atomically(path, lambda place: codec.save(place, options=options, card=card, dtype=dtype))
    text = json.dumps({**card, "sha256": file_digest(path)}, indent=2) + "\n"
    write_atomically(path.with_suffix(".json"), lambda place: place.write_text(text))
