"""Run as a program: compile every kernel of a scan for a GPU that need not be here.

Prints a line a kernel: its name, registers a thread and bytes of shared memory. The kernels are
bound to their arguments as for a launch, and go through ptxas, but nothing is launched.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from linksim.selective_scan import operator
from tests.helpers.recurrence import random_case

CAPABILITY = int(sys.argv[1])
PTXAS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"


class Absent:
    """What Triton asks of a driver before it compiles."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", CAPABILITY, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def registers(ptx: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel.ptx")
        source.write_text(ptx)
        architecture = next(word for word in ptx.split() if word.startswith("sm_"))
        command = [PTXAS, "-v", "--gpu-name", architecture, source, "-o", Path(folder, "out")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stderr.partition(" registers")[0].split()[-1])


launch = JITFunction.run


def compile_only(
    self: JITFunction, *args: object, grid: object, warmup: bool, **kw: object
) -> None:
    kernel = launch(self, *args, grid=grid, warmup=True, **kw)
    print(self.__name__, registers(kernel.asm["ptx"]), kernel.metadata.shared)


driver.set_active(Absent())
JITFunction.run = compile_only
case = random_case(1, 4096, 128, 16).cast(torch.bfloat16)
y = operator.selective_scan(
    "triton",
    case.u,
    [case.scan, case.scan],
    True,
    csi=case.csi,
    csi_interval=64,
    csi_start=True,
    reverse=[False, True],
)
y.sum().backward()
