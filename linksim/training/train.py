"""Training by a recipe: crops through codec and link, to weights with a card.

The data, the SNRs and the channel of step k depend on the recipe's seed and on k alone, so that a
training that was cut off goes on as if it had not been.
"""

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EMAWeightAveraging,
    ModelCheckpoint,
    Timer,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from linksim.codec_lookup import codec_from_settings, resolved_options
from linksim.errors import InputError
from linksim.files import write_atomically
from linksim.images.sets import ImageSet, TrainingCrops, centre_crop
from linksim.link.link import Link
from linksim.link.transmission import Transmission, encode, transmit, uniform_snr
from linksim.metrics.quality import LOSSES, psnr, verdicts
from linksim.neural_codec import NeuralCodec
from linksim.provenance import machine, versions
from linksim.seeding import derive_seed
from linksim.tables import write_table
from linksim.training.callbacks import BatchNormSettling, TrainingProgress
from linksim.training.data import Batches, split_images
from linksim.training.recipe import CbrRange, Recipe, SnrRange
from linksim.units import symbol_budget

VALIDATION_SEED = 1


class Training(L.LightningModule):
    """A neural codec over a link, under a recipe.

    transform: the codec's parameters that learn at the recipe's ``lr_transform``.
    """

    def __init__(
        self,
        recipe: Recipe,
        codec: NeuralCodec,
        training: ImageSet,
        held_out: ImageSet,
        transform: Sequence[nn.Parameter] = (),
    ) -> None:
        super().__init__()
        self._transform = {id(parameter) for parameter in transform}
        self.codec = codec
        self._recipe = recipe
        self._link = Link(recipe.channel, recipe.equalizer)
        self._training = training
        self._held_out = held_out
        self._loss = LOSSES[recipe.loss]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        images, labels = batch
        sent, snr_db = self.send(images, self.global_step)
        own_loss = self.codec.training_loss(
            decoded=sent.decoded,
            images=images,
            frame=sent.frame,
            received=sent.received,
            snr_db=snr_db,
            labels=labels,
        )
        loss = self._loss(sent.decoded.images, images).mean() if own_loss is None else own_loss
        if not bool(torch.isfinite(loss)):
            raise InputError(
                f"the loss is {loss.item()} at step {self.global_step}; lower lr or clip_norm"
            )
        self.log("loss", loss, prog_bar=True)
        self.log("lr", self.lr_schedulers().get_last_lr()[0])  # type: ignore[union-attr]
        return loss

    def forward(self, batch: tuple[int, tuple[Tensor, Tensor]]) -> Transmission:
        """What becomes of (step, (images, labels)), with no loss: for BatchNorm's statistics."""
        step, (images, _) = batch
        return self.send(images.to(self.device), step)[0]

    def send(self, images: Tensor, step: int) -> tuple[Transmission, Tensor]:
        """The images over the link at the CBR and the SNRs [B] of a step, and those SNRs."""
        seed = derive_seed(self._recipe.seed, "step", step, self.global_rank)
        draw = torch.Generator().manual_seed(seed)
        snr_db = _draw_snr(self._recipe, len(images), draw).to(self.device)
        cbr = _draw_cbr(self._recipe, 1 / (6 * self.codec.downsampling**2), draw)
        return self._transmit(images, snr_db, cbr, seed), snr_db

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        images, labels = batch
        seed = derive_seed(VALIDATION_SEED, batch_index)
        values = defaultdict(list)
        for snr in self._recipe.validation.snr_db:
            snr_db = uniform_snr(snr, len(images), self.device)
            sent = self._transmit(images, snr_db, _validation_cbr(self._recipe), seed)
            measured = {"psnr": psnr(sent.decoded.images, images)}
            measured |= verdicts(sent.decoded.report, snr_db=snr, labels=labels)
            for name, value in measured.items():
                values[name].append(value.float().mean())
                self.log(f"{name}_{snr:g}dB", values[name][-1], batch_size=len(images))
        for name, means in values.items():
            self.log(f"val_{name}", torch.stack(means).mean(), batch_size=len(images))

    def _transmit(self, images: Tensor, snr_db: Tensor, cbr: float, seed: int) -> Transmission:
        height, width = images.shape[-2:]
        max_symbols = self._link.data_symbols(symbol_budget(cbr, height, width))
        frame = encode(self.codec, images, snr_db=snr_db, max_symbols=max_symbols)
        realisation = self._link.channel.draw_batch(seed, len(images), max_symbols, self.device)
        return transmit(
            self.codec,
            frame,
            self._link,
            snr_db=snr_db,
            realisation=realisation,
            rx_snr_db=snr_db,
            image_size=(height, width),
        )

    def configure_optimizers(self) -> Any:
        recipe = self._recipe
        groups: dict[bool, list[nn.Parameter]] = {False: [], True: []}
        for parameter in self.codec.parameters():
            groups[id(parameter) in self._transform].append(parameter)
        rates: list[dict[str, Any]] = [
            {"params": groups[False], "lr": recipe.lr},
            {"params": groups[True], "lr": recipe.lr_transform or recipe.lr},
        ]
        optimizer = torch.optim.AdamW(rates, weight_decay=recipe.weight_decay)
        floor = recipe.lr_final / recipe.lr

        def factor(step: int) -> float:
            if step < recipe.warmup:
                return (step + 1) / recipe.warmup
            done = (step - recipe.warmup) / max(recipe.steps - recipe.warmup, 1)
            return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(done, 1)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        recipe = self._recipe
        crops = TrainingCrops(
            [self._training],
            crop=recipe.images.crop,
            downscale=recipe.images.downscale,
            flip=recipe.images.flip,
            seed=derive_seed(recipe.seed, "crops", self.global_rank),
        )
        batches = Batches(
            crops,
            batch_size=recipe.batch_size,
            seed=derive_seed(recipe.seed, "batches", self.global_rank),
            first_step=self.global_step,
            crop_of=recipe.crop_of,
        )
        return DataLoader(batches, batch_size=None)

    def val_dataloader(self) -> DataLoader[Any]:
        side = self._recipe.largest_crop
        crops = [
            (centre_crop(item.image, side, name=item.name).float() / 255, item.label_index)
            for item in self._held_out
        ]
        return DataLoader(crops, batch_size=self._recipe.batch_size)  # type: ignore[arg-type]


def train(recipe: Recipe, folder: Path) -> Path:
    """Train by a recipe, going on where a run in ``folder`` stopped; returns the weights' path.

    The folder gets ``checkpoints/``, the learning curve in ``csv/`` (a file a start),
    TensorBoard's events and at the end ``<name>.safetensors`` with ``<name>.json``, its card, and
    ``<name>.csv``, the learning curve of all starts.
    Raises InputError.
    """
    L.seed_everything(derive_seed(recipe.seed, "init") % 2**32, verbose=False)
    codec = codec_from_settings(recipe.codec)
    if not isinstance(codec, NeuralCodec):
        raise InputError(f"codec {recipe.codec.codec!r} is not neural; there is nothing to train")
    transform = codec.initialise_as_transform() if recipe.initial == "transform" else []
    codec.train()
    training, held_out = split_images(recipe)
    module = Training(recipe, codec, training, held_out, transform)
    timer = Timer()
    checkpoints = ModelCheckpoint(
        folder / "checkpoints", every_n_train_steps=recipe.checkpoint_every, save_last=True
    )
    starts = len(list((folder / "csv").glob("start_*")))  # CSVLogger wipes a folder it finds
    averaging: list[Callback] = []
    if recipe.ema is not None:
        averaging = [EMAWeightAveraging(decay=recipe.ema), BatchNormSettling()]
    trainer = L.Trainer(
        max_steps=recipe.steps,
        val_check_interval=min(recipe.validation.every, recipe.steps),
        check_val_every_n_epoch=None,
        precision="bf16-mixed" if recipe.precision == "bf16" else "32-true",
        gradient_clip_val=recipe.clip_norm,
        devices=recipe.devices,
        strategy=recipe.strategy,
        callbacks=[timer, checkpoints, TrainingProgress(), *averaging],
        logger=[
            CSVLogger(folder, name="csv", version=f"start_{starts}", flush_logs_every_n_steps=50),
            TensorBoardLogger(folder, name="", version="tensorboard"),
        ],
        log_every_n_steps=50,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,
    )
    last = folder / "checkpoints" / "last.ckpt"
    trainer.fit(module, ckpt_path=last if last.is_file() else None)
    trainer.validate(module, verbose=False)
    path = folder / f"{recipe.name}.safetensors"
    if trainer.is_global_zero:
        options = resolved_options(recipe.codec)
        card = _card(recipe, trainer, timer.time_elapsed("train"), training, held_out)
        dtype = torch.float16 if recipe.stored_as == "fp16" else torch.float32
        write_atomically(
            path, lambda place: codec.save(place, options=options, card=card, dtype=dtype)
        )
        text = json.dumps(card, indent=2) + "\n"
        write_atomically(path.with_suffix(".json"), lambda place: place.write_text(text))
        write_table(path.with_suffix(".csv"), learning_curve(folder))
    return path


def learning_curve(folder: Path) -> pd.DataFrame:
    """What the starts of a training logged: a line a step, columns step, loss, lr, val_psnr, ….

    Steps that were done again after a cut-off are those of the later start.
    """
    starts = sorted(
        (folder / "csv").glob("start_*/metrics.csv"), key=lambda path: path.stat().st_mtime
    )
    logged = pd.concat([pd.read_csv(path) for path in starts if path.stat().st_size])
    return logged.groupby("step", as_index=False).last().drop(columns="epoch").round(6)


def _draw_snr(recipe: Recipe, batch: int, draw: torch.Generator) -> Tensor:
    if isinstance(recipe.snr_db, SnrRange):
        low, high = recipe.snr_db.low, recipe.snr_db.high
        return low + (high - low) * torch.rand(batch, generator=draw)
    choices = torch.tensor(recipe.snr_db)
    return choices[torch.randint(len(choices), (batch,), generator=draw)]


def _draw_cbr(recipe: Recipe, step: float, draw: torch.Generator) -> float:
    """A multiple of ``step``, which is the CBR of one latent channel: both ends are drawn too."""
    if not isinstance(recipe.cbr, CbrRange):
        return recipe.cbr
    low = max(1, math.ceil(recipe.cbr.low / step - 1e-9))
    high = max(low, math.floor(recipe.cbr.high / step + 1e-9))
    return step * int(torch.randint(low, high + 1, (), generator=draw))


def _validation_cbr(recipe: Recipe) -> float:
    """The bandwidth to validate at: the recipe's own word, or the largest trained."""
    if recipe.validation.cbr is not None:
        return recipe.validation.cbr
    return recipe.cbr.high if isinstance(recipe.cbr, CbrRange) else recipe.cbr


def _card(
    recipe: Recipe,
    trainer: L.Trainer,
    seconds: float,
    training: ImageSet,
    held_out: ImageSet,
) -> dict[str, Any]:
    """What a user must know of weights: where they come from and what they reached."""
    return {
        "recipe": recipe.model_dump(mode="json", by_alias=True, exclude={"images": {"root"}}),
        "steps": trainer.global_step,
        "images_seen": trainer.global_step * recipe.batch_size * trainer.world_size,
        "training_seconds": round(seconds),
        "training_images": len(training),
        "held_out_images": list(held_out.names),
        "validation": {k: round(float(v), 4) for k, v in trainer.callback_metrics.items()},
        "versions": versions(),
        "machine": machine(),
    }
