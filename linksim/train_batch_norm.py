"""BatchNorm statistics for averaged weights."""

from itertools import islice
from typing import TYPE_CHECKING, cast

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch.optim.swa_utils import update_bn

if TYPE_CHECKING:
    from linksim.train import Training

BATCHES = 100


class BatchNormSettling(Callback):
    """Measures the statistics of every BatchNorm anew when the training ends.

    Averaged weights give other activations than any of the weights that were averaged, so that
    averages of their statistics do not fit (Izmailov et al., Averaging Weights Leads to Wider
    Optima, UAI 2018, section 3). They are taken over the batches that would have come next. To be
    listed after the callback that averages.
    """

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        training = cast("Training", pl_module)
        steps = enumerate(training.train_dataloader(), training.global_step)
        update_bn(([step] for step in islice(steps, BATCHES)), training)
