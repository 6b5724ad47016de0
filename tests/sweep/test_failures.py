"""A user's codec that goes wrong: one line that names file and line, and the right exit status."""

import re
from pathlib import Path

import pytest

from tests.helpers.command_line import run
from tests.helpers.small import FLAT, HEAD

CODECS = """
class Boom(Flat):
    def encode(self, images, tx):
        raise RuntimeError("boom at encode")
class Late(Flat):
    def decode(self, received, rx):
        return [][1]
class Sometimes(Flat):
    def decode(self, received, rx):
        if rx.snr_db[0] == 5:
            raise KeyError("now")
        return super().decode(received, rx)
class NoneOut(Flat):
    def decode(self, received, rx):
        return None
class NoFrame(Flat):
    def encode(self, images, tx):
        return torch.ones(len(images), 4, dtype=torch.complex64)
class Reals(Flat):
    def encode(self, images, tx):
        return Frame.analog(torch.ones(len(images), 4))
class NotFinite(Flat):
    def encode(self, images, tx):
        return Frame.analog(super().encode(images, tx).symbols * float("nan"))
class Leaves(Flat):
    def decode(self, received, rx):
        raise SystemExit(0)
class LeavesEarly(Flat):
    def __init__(self):
        raise SystemExit
class Unbuilt(Flat):
    def __init__(self):
        super().__init__()
        self.x = {}["missing"]
class Half(Codec):
    def encode(self, images, tx): ...
class Escapes(Flat):
    def encode(self, images, tx):
        raise RuntimeError("\\x1b[31mred\\nand more")
"""
SCENARIO = """
images: {source: kodak, crop: 32, limit: 1}
channel: {type: awgn}
snr_db: [5, 10]
cbr: 0.1
metrics: [psnr]
codecs: [{codec: "NAME", label: one}]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("e.py").write_text(HEAD + FLAT + CODECS)
    Path("missing.py").write_text("import nothing_like_it\n")
    Path("syntax.py").write_text("def f(:\n")
    Path("leaves.py").write_text("import sys\nsys.exit()\n")
    Path("raises.py").write_text("x = 1\n1 / 0\n")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        (
            "./e.py:Boom",
            2,
            r"Boom\.encode raised RuntimeError: boom at encode \(e\.py:\d+\); w",
        ),
        ("./e.py:Late", 2, r"Late\.decode raised IndexError: .* \(e\.py:\d+\); wanted was images"),
        ("./e.py:Sometimes", 1, r"1 of 2 points failed, the others are kept; .*KeyError: 'now'"),
        ("./e.py:NoneOut", 2, r"e\.py:\d+: NoneOut\.decode gave None; wanted images float32"),
        (
            "./e.py:NoFrame",
            2,
            r"e\.py:\d+: NoFrame\.encode gave complex64 \[1, 4\]; wanted a F",
        ),
        (
            "./e.py:Reals",
            2,
            r"e\.py:\d+: Reals\.encode: a frame's symbols are torch\.float32 \[1, 4\]; wanted",
        ),
        ("./e.py:NotFinite", 2, r"e\.py:\d+: NotFinite\.encode: .* not finite \(the contract is"),
        (
            "./e.py:Leaves",
            2,
            r"Leaves\.decode raised SystemExit: 0 \(e\.py:\d+\); wanted was images",
        ),
        ("./e.py:LeavesEarly", 2, r"cannot be built: SystemExit"),
        ("./leaves.py:X", 2, r"cannot be imported: SystemExit: .*\(leaves\.py:2\)"),
        ("./e.py:Unbuilt", 2, r"cannot be built: KeyError: 'missing' \(e\.py:\d+\)"),
        ("./e.py:Half", 2, r"Half does not define decode"),
        ("./e.py:Escapes", 2, r"RuntimeError: \\x1b\[31mred and more"),
        ("./e.py:Nothing", 2, r"\./?e\.py has no Nothing"),
        ("./missing.py:X", 2, r"No module named 'nothing_like_it' \(missing\.py:1\)"),
        ("./syntax.py:X", 2, r"cannot be imported: SyntaxError: .* \(syntax\.py:1\)"),
        ("./raises.py:X", 2, r"cannot be imported: ZeroDivisionError: .* \(raises\.py:2\)"),
        (".foo:X", 2, r"'\.foo' names neither a \.py file nor a module"),
        (":X", 2, r"names neither a \.py file nor a module"),
    ],
)
def test_one_line_that_names_the_place(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, status: int, message: str
) -> None:
    Path("s.yaml").write_text(SCENARIO.replace("NAME", name))
    found, out, err = run(capsys, "run", "s.yaml")
    assert found == status, err
    assert re.search(message, err), err
    assert err.count("\n") == 1
    assert "Traceback" not in out + err
    assert "\x1b[31m" not in out + err


def test_a_file_with_the_name_of_a_library(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be a codec's, which then does not mean itself; it may be nobody's helper."""
    Path("new").mkdir()
    Path("new/torch.py").write_text(HEAD + FLAT)
    Path("new/c.py").write_text(HEAD + FLAT)
    Path("old").mkdir()
    Path("old/random.py").write_text("")
    Path("old/r.py").write_text(f"import random\n{HEAD}{FLAT}")
    for name, message in (
        ("new/torch", ""),
        ("new/c", r"new/torch\.py has the name of a library that is in use; rename it"),
        ("old/r", r"old/random\.py has the name of a library that is in use; rename it"),
    ):
        Path("s.yaml").write_text(SCENARIO.replace("NAME", f"./{name}.py:Flat"))
        status, _, err = run(capsys, "run", "s.yaml")
        assert (status, err.count("\n")) == ((2, 1) if message else (0, 0)), err
        assert re.search(message, err), err


def test_the_traceback_where_it_is_asked_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, line in (("./e.py:Boom", "boom at encode"), ("./raises.py:X", "1 / 0")):
        Path("s.yaml").write_text(SCENARIO.replace("NAME", name))
        for arguments in (("run", "s.yaml", "--debug"), ("--debug", "run", "s.yaml")):
            status, _, err = run(capsys, *arguments)
            assert status == 2
            assert "Traceback" in err
            assert line in err
            assert err.splitlines()[-1].startswith("linksim: ")


def test_others_finish_and_are_kept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two = SCENARIO.replace('[{codec: "NAME", label: one}]', "['./e.py:Boom', './e.py:Flat']")
    Path("s.yaml").write_text(two)
    status, _, err = run(capsys, "run", "s.yaml")
    assert status == 2
    assert "2 of 4 points failed, the others are kept" in err
    assert len(list(Path("results/s/points").glob("*.parquet"))) == 2


def test_ctrl_c_says_what_is_kept(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from linksim.sweep.prepared import PreparedCodec

    original, calls = PreparedCodec.rows, []

    def interrupted(self: PreparedCodec, *arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(PreparedCodec, "rows", interrupted)
    Path("s.yaml").write_text(SCENARIO.replace("NAME", "./e.py:Flat"))
    status, _, err = run(capsys, "run", "s.yaml")
    assert status == 130
    assert "stopped; 1 of 2 points are kept in results/s; the same command goes on there" in err


def test_dry_runs_and_shipped_scenarios(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("s.yaml").write_text(SCENARIO.replace("NAME", "./e.py:Flat"))
    status, out, _ = run(capsys, "run", "s.yaml", "--dry")
    assert (status, Path("results").exists()) == (0, False)
    assert "2 of 2 points are to be computed: " in " ".join(out.split())
    assert run(capsys, "run", "s.yaml")[0] == 0
    assert "All 2 points are there" in run(capsys, "run", "s.yaml", "--dry")[1]
    status, out, _ = run(capsys, "scenarios")
    assert status == 0
    assert {"quick", "rayleigh_sweep", "outage"} <= {line.split()[0] for line in out.splitlines()}
    assert "crop: 256" in run(capsys, "scenarios", "quick")[1]
    status, _, err = run(capsys, "run", "no_such_name")
    assert status == 2
    assert "no scenario of that name comes with linksim; there are awgn_sweep" in err


def test_what_a_user_wrote_is_shown_and_not_obeyed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label = '"a [/] [red]b\\e[31mc"'
    Path("s.yaml").write_text(SCENARIO.replace("NAME", "./e.py:Flat").replace("one", label))
    status, out, err = run(capsys, "run", "s.yaml")
    assert status == 0, err
    assert "a [/] [red]b\\x1b[31mc" in out
    assert "\x1b[31m" not in out
