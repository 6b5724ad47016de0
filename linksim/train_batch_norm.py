"""BatchNorm statistics for averaged weights."""

from typing import TYPE_CHECKING, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from linksim.train import Training

BATCHES = 100


class BatchNormSettling(Callback):
    """Measures the statistics of every BatchNorm anew when the training ends.

    Averaged weights give other activations than any of the weights that were averaged, so that
    averages of their statistics do not fit (Izmailov et al., Averaging Weights Leads to Wider
    Optima, UAI 2018, section 3). To be listed after the callback that averages.
    """

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        settle_batch_norms(cast("Training", pl_module))


def settle_batch_norms(module: "Training") -> None:
    """Replace the running statistics by those over the batches that would have come next."""
    norms = [m for m in module.codec.modules() if isinstance(m, _BatchNorm)]
    if not norms:
        return
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average
    was_training = module.codec.training
    module.codec.train()
    first = module.global_step
    with torch.no_grad():
        for step, (images, _) in zip(
            range(first, first + BATCHES), module.train_dataloader(), strict=False
        ):
            module.send(images.to(module.device), step)
    module.codec.train(was_training)
    for norm, momentum in zip(norms, kept, strict=True):
        cast(nn.BatchNorm2d, norm).momentum = momentum
