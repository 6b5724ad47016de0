"""The native selective scan: one C++ source, compiled once per instruction set.

The rest of the package is described in pyproject.toml. The extensions are optional: where there is
no compiler, or it does not know an instruction set, installation goes on without and the scan runs
on what is there. They are plain shared libraries with a C interface, loaded by ctypes, and know
nothing of Python or torch.
"""

import platform
import shutil
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py

SOURCES = "linksim/selective_scan/csrc"
FLAGS = ["-std=c++17", "-O3", "-g0", "-fopenmp", "-ffp-contract=fast", "-fno-math-errno", "-w"]
INSTRUCTION_SETS = {"baseline": []}
if platform.machine() in ("x86_64", "AMD64"):
    INSTRUCTION_SETS |= {
        "avx2": ["-mavx2", "-mfma"],
        "avx512": ["-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mfma"],
    }


class BuildWithScenarios(build_py):
    """Puts the scenarios and recipes, which stand beside the packages, into the package."""

    def run(self):
        super().run()
        if not self.editable_mode:
            place = Path(self.build_lib, "linksim", "scenarios")
            shutil.copytree("scenarios", place, dirs_exist_ok=True)


setup(
    cmdclass={"build_py": BuildWithScenarios},
    ext_modules=[
        Extension(
            f"linksim.selective_scan._native_{name}",
            sources=[f"{SOURCES}/scan.cpp", f"{SOURCES}/limits.cpp"],
            depends=sorted(str(path) for path in Path(SOURCES).glob("*.h")),
            extra_compile_args=[*FLAGS, "-fvisibility=hidden", *flags],
            extra_link_args=["-fopenmp"],
            language="c++",
            optional=True,
        )
        for name, flags in INSTRUCTION_SETS.items()
    ],
)
