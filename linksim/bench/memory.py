"""What a training step holds in a GPU's memory, counted without one, on tensors without data."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pandas as pd
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from linksim.bench.train import bench_recipe
from linksim.codec import Decoded
from linksim.settings import CodecSettings, Precision
from linksim.training.optimizers import MuonOfLayers, new_optimizers
from linksim.training.recipe import OptimizerName

_TEMPORARIES = 4
"""Tensors of the largest size that an operation's backward pass may hold for a moment: what comes
in, what goes out, and as many between."""


@contextmanager
def on_fake_gpu(module: nn.Module) -> Iterator[None]:
    """A block in which ``cuda`` is a device of tensors without data, and a module lies on it.

    What needs a value on the host there, as a branch or an index by a mask does, raises torch's
    DataDependentOutputException or DynamicOutputShapeException. The module is of no use afterwards.
    """
    mode = FakeTensorMode()
    tables: list[dict[str, Any]] = []
    for holder in module.modules():
        tables += [holder._parameters, holder._buffers]
    fakes = [
        (table, name, tensor, mode.from_tensor(tensor.detach()))
        for table in tables
        for name, tensor in table.items()
        if tensor is not None
    ]
    here = "torch.cuda"  # without a GPU, torch would switch autocast off
    with (
        mode,
        patch(f"{here}.amp.common.amp_definitely_not_available", return_value=False),
        patch(f"{here}.is_bf16_supported", return_value=True),
        patch("linksim.selective_scan.triton.DEVICE", "cuda"),  # even where it is interpreted
    ):
        for table, name, tensor, fake in fakes:
            there = fake.to("cuda")
            of_module = isinstance(tensor, nn.Parameter)
            table[name] = nn.Parameter(there, tensor.requires_grad) if of_module else there
        yield


def count_training_memory(
    contestant: CodecSettings,
    *,
    crop: int = 256,
    batch_size: int = 4,
    precision: Precision = "bf16",
    optimizer: OptimizerName = "adamw",
) -> pd.DataFrame:
    """Gigabytes (10^9) that a training step needs of a GPU, as torch allocates them.

    A row a part: weights, gradients, optimiser (both moments of AdamW; the one of Muon for the
    weights that it has) and average (of the weights), 4 bytes a parameter or moment each; buffers;
    activations, all that autograd keeps of the codec's analysis and synthesis, each storage once;
    temporary, an allowance of four times the largest of these; and step, their sum, an upper bound
    in so far as activations go while gradients come. Columns: part, gigabytes, codec, preset, crop,
    batch_size, precision, optimizer.

    Not counted: the CUDA context and the workspaces of CUDA's libraries (a gigabyte or so), gaps
    between the allocator's blocks, and the link, whose symbols are a small part of an image.
    Raises InputError for what does not fit.
    """
    recipe, codec = bench_recipe(contestant, crop=crop, batch_size=batch_size, optimizer=optimizer)
    codec.train()
    moments = sum(
        4 * parameter.numel() * (1 if isinstance(one, MuonOfLayers) else 2)
        for one in new_optimizers(recipe, codec)
        for group in one.param_groups
        for parameter in group["params"]
    )
    weights = 4 * sum(parameter.numel() for parameter in codec.parameters())
    buffers = sum(buffer.nbytes for buffer in codec.buffers())
    with on_fake_gpu(codec):
        own = {_storage(tensor) for tensor in (*codec.parameters(), *codec.buffers())}
        kept = _Kept()
        images = torch.rand(batch_size, 3, crop, crop, device="cuda")
        snr_db = torch.zeros(batch_size, device="cuda")
        with (
            saved_tensors_hooks(kept.take, lambda tensor: tensor),
            torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"),
        ):
            out = codec.synthesis(codec.analysis(images, snr_db).float(), snr_db)
            decoded = out.images if isinstance(out, Decoded) else out
            loss = (decoded.float() - images).square().mean()
        sizes = [size for storage, size in kept.sizes.items() if storage not in own]
        del loss
    parts = {
        "weights": weights,
        "gradients": weights,
        "optimiser": moments,
        "average": weights,
        "buffers": buffers,
        "activations": sum(sizes),
        "temporary": _TEMPORARIES * max(sizes),
    }
    parts["step"] = sum(parts.values())
    return pd.DataFrame(
        {
            "part": list(parts),
            "gigabytes": [size / 1e9 for size in parts.values()],
            "codec": contestant.codec,
            "preset": contestant.preset,
            "crop": crop,
            "batch_size": batch_size,
            "precision": precision,
            "optimizer": optimizer,
        }
    )


class _Kept:
    """Tensors that autograd keeps: the size in bytes of each storage, once."""

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}
        self._alive: list[Tensor] = []  # no storage's place is taken by a later one

    def take(self, tensor: Tensor) -> Tensor:
        self.sizes[_storage(tensor)] = tensor.untyped_storage().nbytes()
        self._alive.append(tensor)
        return tensor


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
