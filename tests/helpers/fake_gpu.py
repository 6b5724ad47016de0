"""A GPU's tensors without a GPU: no data, so that what needs a value on the host cannot run."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode


@contextmanager
def on_fake_gpu(module: nn.Module) -> Iterator[None]:
    """A block in which ``cuda`` is a device of tensors that hold no data, and a module is there.

    What copies a value to the host, or lets a branch depend on one, raises
    torch's DataDependentOutputException or DynamicOutputShapeException.
    """
    mode = FakeTensorMode()
    holders = list(module.modules())
    fakes = [
        (holder, name, mode.from_tensor(tensor.detach()))
        for holder in holders
        for table in (holder._parameters, holder._buffers)
        for name, tensor in table.items()
        if tensor is not None
    ]
    with mode:
        for holder, name, fake in fakes:
            there = fake.to("cuda")
            if name in holder._parameters:
                holder._parameters[name] = nn.Parameter(
                    there, requires_grad=there.is_floating_point()
                )
            else:
                holder._buffers[name] = there
        yield
