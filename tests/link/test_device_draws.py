"""Draws on the device: those of the seeds, and known to the keys of points."""

import pytest
import torch

from linksim.errors import InputError
from linksim.link.device_draws import DrawnOnDevice
from linksim.link.flat import Rayleigh
from linksim.link.link import Link
from linksim.sweep.options import Numerics, RunOptions
from linksim.sweep.plan import plan_sweep
from linksim.sweep.scenario import Scenario
from tests.helpers.command_line import run
from tests.helpers.small import settings


def test_on_the_cpu_they_are_those_of_the_cpu() -> None:
    channel, cpu = Rayleigh(), torch.device("cpu")
    one = Link(channel).draw([1, 2, 3], 50, cpu)
    other = DrawnOnDevice(channel).draw([1, 2, 3], 50, cpu)
    assert torch.equal(one.h, other.h)
    assert torch.equal(one.noise, other.noise)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_they_depend_on_the_seeds_alone() -> None:
    link, gpu = DrawnOnDevice(Rayleigh()), torch.device("cuda")
    together, alone = link.draw([1, 2], 5000, gpu), link.draw([2], 5000, gpu)
    assert together.h.device.type == together.noise.device.type == "cuda"
    assert torch.equal(together.h[1:], alone.h)
    assert torch.equal(together.noise[1:], alone.noise)
    for values in (together.h, together.noise):
        assert float(values.abs().square().mean()) == pytest.approx(1, abs=0.05)


def test_keys_and_manifest_know_draws_of_another_device_alone() -> None:
    scenario = Scenario.model_validate(settings("bpg_capacity"))
    usual, on_cpu, on_gpu = (
        plan_sweep(scenario),
        plan_sweep(scenario, Numerics(draws="cpu")),
        plan_sweep(scenario, Numerics(draws="cuda")),
    )
    assert [p.key for p in usual.points] == [p.key for p in on_cpu.points]
    assert not {p.key for p in usual.points} & {p.key for p in on_gpu.points}
    assert "draws" not in usual.made_of
    assert on_gpu.made_of["draws"] == "cuda"
    assert isinstance(on_gpu.points[0].link, DrawnOnDevice)
    assert on_gpu.points[0].link is on_gpu.links[0]


def test_the_device_is_the_runs() -> None:
    assert RunOptions(device="cpu", draws="device").numerics.draws == "cpu"
    assert RunOptions(draws="cpu").numerics.draws == "cpu"
    with pytest.raises(InputError, match="draws is 'gpu'; allowed are cpu and device"):
        RunOptions(draws="gpu")


def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "run", "quick", "--draws", "both", "--dry")
    assert (status, err) == (2, "linksim: draws is 'both'; allowed are cpu and device\n")
