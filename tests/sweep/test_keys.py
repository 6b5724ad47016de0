"""A point's name covers all that determines its rows, and nothing else."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import linksim
from linksim.provenance import sources
from linksim.settings import CodecSettings
from linksim.sweep import plan as planning
from linksim.sweep.plan import codec_identity, plan_sweep
from linksim.sweep.run import run_points
from linksim.sweep.scenario import Scenario
from linksim.sweep.store import Store
from tests.helpers.small import FLAT, rows, settings, write_codec

OFDM = {"type": "ofdm", "model": "TDL-A", "delay_spread_ns": 30, "subcarriers": 12}
DEEPJSCC = {"codec": "deepjscc", "preset": "small"}


def keys(*codecs: str | dict[str, Any], **changes: object) -> list[str]:
    plan = plan_sweep(Scenario.model_validate(settings(*codecs, **changes)))
    return [point.key for point in plan.points]


@pytest.fixture
def edit(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a module of linksim read as if a line of it had been changed."""
    original = sources.SourceTree.node

    def edit(module: str) -> None:
        def edited(tree: sources.SourceTree, name: str, path: Path) -> Any:
            node = original(tree, name, path)
            return replace(node, digest="edited") if name == module else node

        monkeypatch.setattr(sources.SourceTree, "node", edited)

    return edit


@pytest.mark.parametrize(
    ("module", "touched"),
    [
        ("linksim.link.ofdm", ["ofdm"]),
        ("linksim.link.estimation", ["ofdm"]),
        ("linksim.link.waveform", ["ofdm"]),
        ("linksim.link.flat", ["awgn", "ofdm"]),
        ("linksim.link.equalizer", ["awgn", "ofdm"]),
        ("linksim.metrics.lpips", ["awgn", "ofdm"]),
        ("linksim.images.sources", ["awgn", "ofdm"]),
        ("baselines.deepjscc", ["awgn", "ofdm"]),
        ("baselines.swinjscc", []),
        ("linksim.cli.tables", []),
        ("linksim.plot.draw", []),
        ("linksim.results.stats", []),
        ("linksim.sweep.plan", []),
        ("linksim.entrance", []),
    ],
)
def test_edited_modules(module: str, touched: list[str], edit: Callable[[str], None]) -> None:
    def by_channel() -> dict[str, str]:
        changes: dict[str, object] = {"snr_db": [5], "cbr": 1}
        return {
            "awgn": keys(DEEPJSCC, **changes)[0],
            "ofdm": keys(DEEPJSCC, channel=OFDM, **changes)[0],
        }

    before = by_channel()
    edit(module)
    after = by_channel()
    assert [name for name in before if before[name] != after[name]] == touched


def test_labels_order_and_pictures_do_not_matter(tmp_path: Path) -> None:
    path = write_codec(tmp_path / "c.py", "")
    flat: dict[str, Any] = {"codec": f"{path}:Flat"}
    base = keys(flat)
    assert keys({**flat, "label": "renamed"}) == base
    assert keys(flat, channel={"type": "awgn", "label": "renamed"}) == base
    assert keys(flat, snr_db=[10, 5]) == base[::-1]
    assert keys(DEEPJSCC, flat)[2:] == base
    assert keys(flat, pictures={"images": ["kodim01"], "snr_db": 5}) == base
    two = [keys(flat, metrics=names) for names in (["psnr", "ssim"], ["ssim", "psnr"])]
    assert two[0] == two[1] != base
    known = [{"tx": "none", "label": "deaf"}, {"tx": "none", "label": "another"}]
    assert keys(flat, snr_knowledge=known[0]) == keys(flat, snr_knowledge=known[1])


def test_a_relabelled_sweep_computes_nothing(tmp_path: Path) -> None:
    path = write_codec(tmp_path / "c.py", "")
    first = rows(tmp_path, {"codec": f"{path}:Flat"})
    started: list[object] = []
    changes = {"channel": {"type": "awgn", "label": "Calm"}}
    own = {"codec": f"{path}:Flat", "label": "Mine"}
    plan = plan_sweep(Scenario.model_validate(settings(own, **changes)))
    run_points(plan, Store(tmp_path / "small"), on_start=started.append)
    assert not started
    again = rows(tmp_path, own, **changes)
    assert set(again["label"]) == {"Mine"}
    assert set(again["channel"]) == {"Calm"}
    assert again["psnr"].equals(first["psnr"])


def level(table: Any) -> float:
    return float(table["psnr"].iloc[0])


@pytest.mark.parametrize("statement", ["from my_layers import X", "from .my_layers import X"])
def test_an_edited_helper_of_a_users_codec(
    statement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # elsewhere than the codec and its helper
    text = FLAT.replace("self.level)", "X)")
    path = write_codec(tmp_path / "codecs" / "c.py", f"{statement}\n{text}")
    helper = tmp_path / "codecs" / "my_layers.py"
    found = {}
    for value in ("0.5", "0.1", "0.5"):
        helper.write_text(f"X = {value}\n")
        found[value] = level(rows(tmp_path / "out", f"{path}:Flat"))
        write_codec(tmp_path / "plain" / "c.py", "")
        own = {"codec": f"{tmp_path}/plain/c.py:Flat", "options": {"level": float(value)}}
        assert found[value] == level(rows(tmp_path / "plain", own))
    assert found["0.5"] != found["0.1"]


def test_helpers_of_one_name_in_two_folders(tmp_path: Path) -> None:
    """Each codec has the helper that lies beside it."""
    text = "from layers import LEVEL\n" + FLAT.replace("self.level)", "LEVEL)")
    names = []
    for folder, value in (("a", 0.1), ("b", 0.9)):
        path = write_codec(tmp_path / folder / "c.py", text)
        (tmp_path / folder / "layers.py").write_text(f"LEVEL = {value}\n")
        names.append({"codec": f"{path}:Flat", "label": folder})
    both = rows(tmp_path / "out", *names)
    apart = [level(rows(tmp_path / name["label"] / "out", name)) for name in names]
    assert apart[0] != apart[1]
    assert [level(both[both["label"] == name]) for name in "ab"] == apart


def test_a_users_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its module's name, from the folder that the command is called in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    path = write_codec(tmp_path / "mybaselines" / "g.py", "from . import deep\n")
    (tmp_path / "mybaselines" / "deep").mkdir()
    (tmp_path / "mybaselines" / "__init__.py").write_text("")
    inner = tmp_path / "mybaselines" / "deep" / "__init__.py"
    inner.write_text("X = 1\n")
    before = keys("mybaselines.g:Flat")
    assert keys("mybaselines.g:Flat") == before
    inner.write_text("X = 2\n")
    middle = keys("mybaselines.g:Flat")
    assert set(before).isdisjoint(middle)
    path.write_text(path.read_text() + "# a line more\n")
    assert set(middle).isdisjoint(keys("mybaselines.g:Flat"))


def test_a_users_package_called_baselines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands before ours on the path, and its sources count all the same."""
    monkeypatch.syspath_prepend(tmp_path)
    path = write_codec(tmp_path / "baselines" / "g.py", "")
    (tmp_path / "baselines" / "__init__.py").write_text("")
    before = sources.SourceTree().of_modules(["baselines.g"])
    assert before.files["baselines.g"] == path
    path.write_text(path.read_text() + "# a line more\n")
    assert sources.SourceTree().of_modules(["baselines.g"]).digest != before.digest


def test_late_and_hidden_imports_and_data_beside(tmp_path: Path) -> None:
    late = (
        "def use():\n    import late_one\n"
        "import importlib\nimportlib.import_module('late_two')\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import never\nelse:\n    import late_three\n"
        "WEIGHTS = 'table.csv'\n"
    )
    path = write_codec(tmp_path / "c.py", late)
    names = ["late_one.py", "late_two.py", "late_three.py", "table.csv"]
    for name in [*names, "never.py", "other.csv"]:
        (tmp_path / name).write_text("")

    def digest() -> str:
        return sources.SourceTree().of_file(path).digest

    before = digest()
    for name in ("never.py", "other.csv"):
        (tmp_path / name).write_text("# changed\n")
    assert digest() == before
    for name in names:
        (tmp_path / name).write_text("# changed\n")
        before, after = digest(), before
        assert before != after, name


def test_versions_and_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    base = keys("bpg_capacity")
    original = planning.version
    for package in ("av", "torchvision", "pillow", "sionna", "numpy"):
        monkeypatch.setattr(
            planning, "version", lambda name, p=package: "0" if name == p else original(name)
        )
        assert set(keys("bpg_capacity")).isdisjoint(base), package
    mamba = codec_identity(CodecSettings(codec="mambajscc", preset="tiny"))
    assert len(mamba["scan_kernel"]) in (4, 64)  # none, or a digest
    assert "scan_kernel" not in codec_identity(CodecSettings(codec="bpg_capacity"))


def test_only_files_are_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is called like an option's value is no file that an option names."""
    monkeypatch.chdir(tmp_path)
    path = write_codec(
        tmp_path / "c.py",
        "class Deep(Flat):\n"
        "    file_options = ('folder',)\n"
        "    def __init__(self, *, rate='nested', net=None, folder='none'):\n"
        "        super().__init__()\n",
    )

    def identity(**options: object) -> object:
        return codec_identity(CodecSettings(codec=f"{path}:Deep", options=options))

    before = identity(rate="nested"), identity(rate="/usr")
    os.mkdir("nested")
    Path("nested/f").write_text("x")
    assert (identity(rate="nested"), identity(rate="/usr")) == before
    Path("w.pt").write_text("one")
    named = identity(net={"parts": ["w.pt"]}), identity(folder="nested")
    Path("w.pt").write_text("two")
    Path("nested/f").write_text("y")
    assert identity(net={"parts": ["w.pt"]}) != named[0]
    assert identity(folder="nested") != named[1]


def test_the_manifest_holds_the_digests(tmp_path: Path) -> None:
    import json

    path = write_codec(tmp_path / "c.py", "")
    linksim.run(settings(f"{path}:Flat"), tmp_path)
    manifest = json.loads((tmp_path / "small" / "manifest.json").read_text())
    found = manifest["made_of"]["sources"]
    assert {"c.py", "linksim.link.flat", "linksim.metrics.quality"} <= found.keys()
    assert all(len(digest) == 64 for digest in found.values())
    assert not {name for name in found if name.startswith(("linksim.cli", "linksim.plot"))}
    assert {"torch", "av", "pillow"} <= manifest["made_of"]["versions"].keys()
