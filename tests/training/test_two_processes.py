"""A training shared by two processes gives what one gives, and can be stopped and gone on with."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.helpers.layouts import smooth_picture
from tests.helpers.places import HELPERS, ROOT


def trained(folder: Path, processes: int, *, steps: int) -> Path:
    """The weights of a training by that many processes, as the command line leaves them."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        f"""
name: shared
codec: {{codec: "{HELPERS / "conv.py"}:Conv"}}
channel: {{type: rayleigh}}
snr_db: [1, 19]
cbr: 1/24
images: {{root: "{folder / "pictures"}", crop: 32, holdout: 1}}
schedule: wsd
decay_steps: 1
steps: {steps}
batch_size: 4
lr: 0.01
warmup: 1
checkpoint_every: 2
devices: {processes}
strategy: {"ddp" if processes > 1 else "auto"}
"""
    )
    out = folder / str(processes)
    command = [sys.executable, "-m", "linksim", "train", str(recipe)]
    done = subprocess.run(
        [*command, "--out", str(out), "--device", "cpu"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Weights in") == 1
    return out / "shared" / "shared.safetensors"


@pytest.mark.slow
def test_two_processes_are_one(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for i in range(5):
        smooth_picture(i, (64, 64)).save(tmp_path / "pictures" / f"{i}.png")
    one = load_file(trained(tmp_path, 1, steps=4))
    trained(tmp_path, 2, steps=2)
    two = load_file(trained(tmp_path, 2, steps=4))
    for name, weights in one.items():
        torch.testing.assert_close(two[name], weights, rtol=1e-4, atol=1e-5)
