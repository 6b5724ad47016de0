"""Sweeps on Dask: the rows of a serial run to the bit, whatever happens to a worker or a point."""

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("distributed")

import psutil
from distributed import LocalCluster

from linksim.errors import InputError, PointsFailedError
from linksim.results.collect import collect
from linksim.sweep import cluster
from linksim.sweep.options import RunOptions
from linksim.sweep.plan import Plan, Point, plan_sweep
from linksim.sweep.prepare import prepare
from linksim.sweep.run import run_points
from linksim.sweep.scenario import Scenario
from linksim.sweep.store import Store
from tests.helpers.command_line import run
from tests.helpers.places import HELPERS

THUMBNAIL = {"codec": f"{HELPERS / 'thumbnail.py'}:Thumbnail", "label": "thumbnail"}
MAMBA = {"codec": "mambajscc", "preset": "tiny", "options": {"rate": "nested"}}
FAULTY = {"codec": f"{HELPERS / 'faulty.py'}:Faulty", "label": "faulty"}


def scenario(**changes: object) -> Scenario:
    settings: dict[str, object] = {
        "name": "test",
        "images": {"source": "kodak", "crop": 128, "limit": 3},
        "channel": {"type": "rayleigh"},
        "snr_db": [0, 5, 10, 15],
        "cbr": 0.02,
        "trials": 2,
        "metrics": ["psnr", "ms_ssim"],
        "codecs": [THUMBNAIL, MAMBA],
        "pictures": {"images": ["kodim02"], "snr_db": 5},
    }
    return Scenario.model_validate({**settings, **changes})


def collected(plan: Plan, folder: Path) -> list[bytes]:
    """The bytes of the rows, the summary and the pictures."""
    collect(plan, Store(folder), folder)
    files = [folder / "rows.parquet", folder / "summary.csv", *sorted(folder.glob("pictures/*"))]
    return [path.read_bytes() for path in files]


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("serial")
    plan = plan_sweep(scenario())
    run_points(plan, Store(folder))
    return collected(plan, folder)


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Address of a scheduler with one worker, all in this process."""
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tcp", dashboard_address=None
    ) as started:
        yield started.scheduler_address


def test_two_workers_give_the_rows_of_a_serial_run(serial: list[bytes], tmp_path: Path) -> None:
    plan = plan_sweep(scenario())
    run_points(plan, Store(tmp_path), RunOptions(workers=2))
    assert collected(plan, tmp_path) == serial


def test_a_killed_worker_is_replaced_and_its_point_done_again(
    serial: list[bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = plan_sweep(scenario())
    started: list[Point] = []
    transmissions: list[int] = []

    def kill_a_worker_halfway(point: Point) -> None:
        started.append(point)
        if len(started) == len(plan.points) // 2:
            children = psutil.Process().children(recursive=True)
            workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
            assert len(workers) == 2
            os.kill(workers[0].pid, signal.SIGKILL)

    run_points(
        plan,
        Store(tmp_path),
        RunOptions(workers=2),
        on_start=kill_a_worker_halfway,
        on_image=transmissions.append,
    )
    assert len(started) > len(plan.points)
    assert "a worker died; its point is done again" in caplog.text
    assert sum(transmissions) == len(plan.points) * 3 * 2
    assert collected(plan, tmp_path) == serial


def test_a_codec_is_prepared_once_a_worker(
    serial: list[bytes], scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = []
    monkeypatch.setattr(
        cluster, "prepare", lambda *given: prepared.append(given[1].label) or prepare(*given)
    )
    plan = plan_sweep(scenario())
    run_points(plan, Store(tmp_path), RunOptions(scheduler=scheduler))
    assert prepared == ["thumbnail", "mambajscc"]
    assert collected(plan, tmp_path) == serial


def test_a_failing_point_is_named_and_the_others_are_kept(scheduler: str, tmp_path: Path) -> None:
    plan = plan_sweep(scenario(codecs=[FAULTY, THUMBNAIL]))
    with pytest.raises(
        PointsFailedError,
        match=r"^1 of 8 points failed, the others are kept; "
        r"faulty at cbr 0\.02 and 5 dB: Faulty\.encode raised RuntimeError: out of luck "
        r"\(faulty\.py:\d+\); wanted was a Frame of complex64 \[1, N\].*$",
    ):
        run_points(plan, Store(tmp_path), RunOptions(scheduler=scheduler))
    missing = [p for p in plan.points if p.key not in Store(tmp_path)]
    assert [(p.codec.label, p.snr_db) for p in missing] == [("faulty", 5)]


def test_points_of_bad_input_are_named(scheduler: str, tmp_path: Path) -> None:
    plan = plan_sweep(scenario(cbr=[0.001, 0.02], codecs=[THUMBNAIL], pictures=None))
    with pytest.raises(InputError, match=r"^4 of 8 points failed.* 0\.001 and 0 dB: .* is 49 \("):
        run_points(plan, Store(tmp_path), RunOptions(scheduler=scheduler))
    assert len(list((tmp_path / "points").glob("*.parquet"))) == 4


SCENARIO = f"""
images: {{source: kodak, crop: 64, limit: 1}}
channel: {{type: awgn}}
snr_db: [0, 5]
cbr: 0.02
metrics: [psnr]
codecs: [{{codec: '{FAULTY["codec"]}', label: faulty}}]
"""


def test_the_command_line(
    scheduler: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(SCENARIO)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    for arguments, expected, message in (
        (("--scheduler", scheduler), 1, "1 of 2 points failed, the others are kept; faulty at"),
        (("--scheduler", nobody), 2, f"{nobody}: no Dask scheduler answers there"),
        (("--scheduler", "nonsense"), 2, "wanted an address such as tcp://host:8786"),
        (("--scheduler", scheduler, "--workers", "2"), 2, "not both"),
    ):
        status, out, err = run(capsys, "run", "s.yaml", *arguments)
        assert (status, err.count("\n")) == (expected, 1), (arguments, err)
        assert message in err
        assert "Traceback" not in out + err


def test_without_dask(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(SCENARIO)
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "linksim.sweep.cluster")
    status, _, err = run(capsys, "run", "s.yaml", "--workers", "2")
    assert (status, err.count("\n")) == (2, 1)
    assert "pip install 'linksim[cluster]'" in err
