"""What goes on beside the steps of a training: progress shown, BatchNorm statistics settled."""

from itertools import islice
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from torch.optim.swa_utils import update_bn

from linksim.progress import counting_progress

BATCHES = 100


class BatchNormSettling(Callback):
    """Measures the statistics of every BatchNorm anew when the training ends.

    Averaged weights give other activations than any of the weights that were averaged, so that
    averages of their statistics do not fit (Izmailov et al., Averaging Weights Leads to Wider
    Optima, UAI 2018, section 3). They are taken over the batches that would have come next. To be
    listed after the callback that averages.
    """

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        steps = enumerate(pl_module.train_dataloader(), pl_module.global_step)
        update_bn(([step] for step in islice(steps, BATCHES)), pl_module)


class TrainingProgress(Callback):
    """A bar over the steps with the time left, and a line after every validation."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._progress = counting_progress(self._console, "step", "{task.fields[loss]}")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        done, total = trainer.global_step, trainer.max_steps
        if done:
            self._console.print(f"Going on at step {done} of {total}")
        self._task = self._progress.add_task("train", total=total, completed=done, loss="")
        if trainer.is_global_zero:
            self._progress.start()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any
    ) -> None:
        if trainer.global_step % 10 == 0:
            loss = f"loss {float(outputs['loss']):.5f}"
            self._progress.update(self._task, completed=trainer.global_step, loss=loss)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        at = ", ".join(
            f"{name.removeprefix('psnr_')} {value:.2f}"
            for name, value in metrics.items()
            if name.startswith("psnr_")
        )
        line = f"step {trainer.global_step}: PSNR {metrics['val_psnr']:.2f} dB ({at})"
        if "val_snr_error_db" in metrics:
            line += f", SNR error {metrics['val_snr_error_db']:.2f} dB"
        if "val_accuracy" in metrics:
            line += f", accuracy {metrics['val_accuracy']:.3f}"
        if trainer.is_global_zero:
            self._console.print(line)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._progress.stop()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._progress.stop()
