"""What needs no tracer, where there is none, and what a SITE.yaml may say."""

import subprocess
import sys
from pathlib import Path

import pytest

import linksim.cli.app
from linksim.errors import InputError
from linksim.link.site_settings import load_trace
from tests.helpers.places import ROOT

HIDDEN = """
import sys
from pathlib import Path

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("mitsuba", "drjit") or name.startswith("sionna.rt"):
            raise ImportError(f"{name} is hidden")

sys.meta_path.insert(0, Hidden())
from linksim.cli.app import main
"""

CHANNEL = """
from linksim.link.site import SiteChannel

drawn = SiteChannel(site="munich", cyclic_prefix_us=4.69, subcarrier_spacing_khz=15).draw([1], 10)
assert drawn.h.isfinite().all()
sys.argv = ["linksim", "trace", "scenarios/sites/munich.yaml"]
main()
"""


COMMANDS = """
for command in sys.stdin.read().splitlines():
    sys.argv = ["linksim", *command.split()]
    try:
        main()
    except SystemExit as left:
        assert not left.code, (command, left.code)
"""

STREET = """
images: {source: kodak, crop: 64, limit: 1}
channel:
  {type: site, site: munich, subcarriers: 72, subcarrier_spacing_khz: 15, cyclic_prefix_us: 4.69}
snr_db: [10]
cbr: 1/4
trials: 3
metrics: [psnr]
codecs:
  - {codec: deepjscc, weights: "zoo:deepjscc-small-rayleigh-7db-muon"}
"""


def test_sites_need_no_tracer_and_trace_says_what_to_install() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HIDDEN + CHANNEL],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "linksim[trace]" in done.stderr
    assert "libllvm19" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_other_command_needs_no_tracer(tmp_path: Path) -> None:
    scenario = tmp_path / "street.yaml"
    scenario.write_text(STREET)
    done = tmp_path / "street"
    named = linksim.cli.app.app.registered_commands + linksim.cli.app.app.registered_groups
    names = {str(one.name or one.callback.__name__) for one in named}  # type: ignore[union-attr]
    commands = [
        f"run {scenario} --dry --out {tmp_path}",
        f"run {scenario} --out {tmp_path}",
        f"plot {done}",
        f"report {done}",
        "scenarios",
        "codecs",
        "info",
        "schema",
        *(f"{name} --help" for name in sorted(names - {"trace"})),
    ]
    ran = subprocess.run(
        [sys.executable, "-c", HIDDEN + COMMANDS],
        cwd=ROOT, input="\n".join(commands), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert (done / "report.html").is_file()
    assert list((done / "figures").glob("*street*.png"))


@pytest.mark.parametrize(
    ("receivers", "said"),
    [
        ("{}", "0 of list, line and grid"),
        ("{list: [[0, 0, 1]], line: {from: [0, 0, 1], to: [9, 0, 1]}}", "2 of list, line and grid"),
        ("{grid: {center: [0, 0], size_m: [1e5, 1e5], spacing_m: 1}}", "at most 1,000,000"),
    ],
)
def test_receivers_are_one_of_three(tmp_path, receivers, said) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(f"scene: munich\ntransmitter: [0, 0, 30]\nreceivers: {receivers}\n")
    with pytest.raises(InputError, match=said):
        load_trace(path)


@pytest.mark.slow
def test_scenes_and_positions_that_are_none_are_one_line(tmp_path) -> None:
    """With Sionna RT and LLVM, as DRJIT_LIBLLVM_PATH names it; skipped without them."""
    from linksim.link.tracing import trace

    (tmp_path / "bad.xml").write_text("<scene")
    inside = "[[-73.5, 163.5, 1.5], [0, 0, 1.5]]"
    for scene, points, said in (
        ("atlantis", "[[0, 0, 1.5]]", "no such file, and none of"),
        (tmp_path / "bad.xml", "[[0, 0, 1.5]]", "no scene"),
        ("munich", inside, "is inside a building"),
    ):
        path = tmp_path / "site.yaml"
        path.write_text(
            f"scene: {scene}\ntransmitter: [8.5, 21, 30]\nreceivers: {{list: {points}}}\n"
        )
        with pytest.raises(InputError) as error:
            trace(load_trace(path))
        if "linksim[trace]" in str(error.value):
            pytest.skip(str(error.value))
        assert said in str(error.value)
        assert "\n" not in str(error.value)
