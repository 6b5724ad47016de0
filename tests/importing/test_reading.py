"""Files are read without running them, and what is wrong with one is said in a line."""

import os
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from linksim.errors import InputError
from linksim.importing import import_weights
from linksim.importing.reading import read_tensors
from tests.helpers.command_line import run
from tests.helpers.official import MVSC4, OFFICIAL, Official, as_module

TENSORS = {"encoder.a.weight": torch.arange(6.0).view(2, 3), "encoder.count": torch.tensor(3)}


class Calls:
    """Unpickled as usual, calls ``function(*arguments)``."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def same(read: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    return read.keys() == wanted.keys() and all(torch.equal(read[k], wanted[k]) for k in wanted)


@pytest.mark.parametrize("wrap", ["plain", "state_dict", "module.", "whole module"])
def test_what_torch_save_writes(wrap: str, tmp_path: Path) -> None:
    content: Any = {
        "plain": TENSORS,
        "state_dict": {"epoch": 3, "state_dict": TENSORS},
        "module.": {f"module.{name}": tensor for name, tensor in TENSORS.items()},
        "whole module": as_module(TENSORS),
    }[wrap]
    torch.save(content, tmp_path / "x.pt")
    assert same(read_tensors(tmp_path / "x.pt"), TENSORS)


def test_arrays_of_tensorflow(tmp_path: Path) -> None:
    arrays = {"encoder/en1/bias:0": np.arange(3.0), "encoder/en1/kernel:0": np.ones((2, 2))}
    np.savez(tmp_path / "x.npz", **arrays)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    wanted = {name[:-2]: torch.from_numpy(array) for name, array in arrays.items()}
    assert same(read_tensors(tmp_path / "x.npz"), wanted)
    assert same(read_tensors(tmp_path / "x.h5"), wanted)


@pytest.mark.parametrize("inside", ["at the top", "beside tensors", "in a module"])
@pytest.mark.parametrize(
    ("function", "argument", "named"),
    [
        (os.system, "touch {}", "posix.system"),
        (eval, "open({!r}, 'w')", "builtins.eval"),
        (os.mkdir, "{}", "posix.mkdir"),
        (exec, "open({!r}, 'w')", "builtins.exec"),
    ],
)
def test_a_pickle_that_would_call_is_refused(
    function: Any, argument: str, named: str, inside: str, tmp_path: Path
) -> None:
    trace = tmp_path / "executed"
    harm: Any = Calls(function, argument.format(str(trace)))
    content = {"at the top": harm, "beside tensors": {**TENSORS, "x": harm}, "in a module": None}
    whole = as_module(TENSORS)
    whole.notes["hook"] = harm
    torch.save(content[inside] or whole, tmp_path / "x.pt")
    with pytest.raises(InputError, match=f"refused: to read it would call {named}; nothing"):
        read_tensors(tmp_path / "x.pt")
    assert not trace.exists()
    torch.load(tmp_path / "x.pt", weights_only=False)  # the file does what is feared of it
    assert trace.exists()


def pickled(raw: bytes, path: Path) -> Path:
    """A file of torch.save whose pickle is ``raw``."""
    torch.save({}, path)
    with zipfile.ZipFile(path) as old:
        content = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, data in content.items():
            new.writestr(name, raw if name.endswith("data.pkl") else data)
    return path


def test_bound_methods_of_modules_stay_inert(tmp_path: Path) -> None:
    """They are pickled as a call of getattr, which modules that are published have in them."""
    module = as_module(TENSORS)
    module.notes["core"] = partial(module.get_submodule, "encoder")
    torch.save(module, tmp_path / "inert.pt")
    assert same(read_tensors(tmp_path / "inert.pt"), TENSORS)


def test_what_getattr_would_give_is_not_called(tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    raw = b"cbuiltins\ngetattr\n(cposix\nsystem\nV__call__\ntR(Vtouch %b\ntR." % bytes(trace)
    path = pickled(raw, tmp_path / "x.pt")
    with pytest.raises(InputError):
        read_tensors(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)  # the file does what is feared of it
    assert trace.exists()


def test_builders_cannot_be_tampered_with(tmp_path: Path) -> None:
    """A pickle may set attributes of what it names: not of torch's own functions."""
    raw = b"ctorch._utils\n_rebuild_tensor_v2\n(N(V__doc__\nVchanged\ndtb."
    before = torch._utils._rebuild_tensor_v2.__doc__
    with pytest.raises(InputError):
        read_tensors(pickled(raw, tmp_path / "x.pt"))
    assert torch._utils._rebuild_tensor_v2.__doc__ == before


@pytest.mark.parametrize("suffix", [".pt", ".model", ".npz", ".h5", ".safetensors"])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.95])
def test_a_truncated_file(suffix: str, keep: float, tmp_path: Path) -> None:
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    if suffix == ".npz":
        np.savez(whole, a=np.ones(1000))
    elif suffix == ".h5":
        with h5py.File(whole, "w") as file:
            file["a"] = np.ones(1000)
    elif suffix == ".safetensors":
        save_file({"a": torch.ones(1000)}, whole)
    else:
        torch.save({"a": torch.ones(1000)}, whole)
    data = whole.read_bytes()
    cut.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(InputError) as error:
        read_tensors(cut)
    assert str(error.value).startswith(str(cut))
    assert "\n" not in str(error.value)


def test_tensors_that_are_not_what_they_seem(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(10**12)}, tmp_path / "huge.pt")
    with pytest.raises(InputError, match="a is larger than what the file holds"):
        read_tensors(tmp_path / "huge.pt")
    torch.save({"a": torch.tensor([1.0, float("nan")])}, tmp_path / "nan.pt")
    with pytest.raises(InputError, match="a holds values that are not finite"):
        read_tensors(tmp_path / "nan.pt")
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    with pytest.raises(InputError, match="holds no tensors"):
        read_tensors(tmp_path / "empty.pt")


# --------------------------------------------------------------------------------------------------
# Whole imports.


def swin_state(shared: Path) -> dict[str, Tensor]:
    return load_file(next(o for o in OFFICIAL if o.name == "swinjscc-none").state(shared))


def test_mambajscc_from_two_pickled_modules(shared: Path, tmp_path: Path) -> None:
    """As its authors publish it: names tell what shapes do not."""
    official = next(one for one in OFFICIAL if one.name == "mambajscc-csirest-published-gelu")
    tensors = load_file(official.state(shared))
    files = []
    for side in ("encoder", "decoder"):
        held = {name: t for name, t in tensors.items() if name.startswith(f"{side}.")}
        files.append(tmp_path / f"{side}_OUTCHANS6_extentMLP_SCANnum2_adpssm_rsl256.pt")
        torch.save(as_module(held), files[-1])
    weights = import_weights(files, "mambajscc", out=tmp_path / "x.safetensors")
    assert load_file(weights).keys() == load_file(official.imported(shared, tmp_path)).keys()
    for name, tensor in load_file(official.imported(shared, tmp_path)).items():
        assert torch.equal(load_file(weights)[name], tensor), name


@pytest.mark.parametrize(
    ("file_name", "adaptation"),
    [
        ("SwinJSCC_w_SA_AWGN_HRimage_cbr_psnr.model", "modnet"),
        ("SwinJSCC_w_o_SAandRA_AWGN_HRimage_snr10.model", "none"),
        ("WITT_W/O.model", "none"),
    ],
)
def test_the_file_name_tells_whether_the_snr_is_used(
    file_name: str, adaptation: str, shared: Path, tmp_path: Path
) -> None:
    path = tmp_path / file_name.replace("/", "_")
    torch.save(swin_state(shared), path)
    weights = import_weights(path, "swinjscc")
    assert weights == path.with_suffix(".safetensors")
    names = load_file(weights).keys()
    assert any("modnet" in name for name in names) == (adaptation == "modnet")


def test_bad_input_is_a_line_and_status_2(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = swin_state(shared)
    bad = {
        "unnamed.model": (state, "--set snr_adaptation=modnet"),
        "w_SA_shape.model": (
            {**state, "encoder.layers.2.blocks.0.mlp.fc1.weight": torch.ones(3, 8)},
            "mlp.0.weight is [3, 8], wanted [32, 8]",
        ),
        "w_SA_missing.model": (
            {k: v for k, v in state.items() if k != "decoder.head_list.weight"},
            "no tensor 'decoder.head_list.weight'",
        ),
        "w_SA_more.model": ({**state, "decoder.extra": torch.ones(1)}, "'decoder.extra'"),
        "w_SA_other.model": ({"features.0.weight": torch.ones(2)}, "not SwinJSCC or WITT"),
    }
    for name, (content, said) in bad.items():
        torch.save(content, tmp_path / name)
        status, _, err = run(capsys, "import", str(tmp_path / name), "--codec", "swinjscc")
        assert status == 2, name
        assert said in err.replace("\n", " "), name
        assert not (tmp_path / name).with_suffix(".safetensors").exists()
    for codec in ("mambajscc", "deepjscc", "adjscc", "bpg_ldpc"):
        status, _, err = run(capsys, "import", str(tmp_path / "unnamed.model"), "--codec", codec)
        assert status == 2, codec
        assert "Traceback" not in err


ONE_EACH = list({one.codec: one for one in [*OFFICIAL, MVSC4]}.values())


@pytest.mark.parametrize("official", ONE_EACH, ids=lambda one: one.codec)
def test_files_of_another_shape_or_codec(
    official: Official, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a truncated one: nothing is written, one line says why."""
    state = load_file(official.state(shared))
    other = ONE_EACH[ONE_EACH.index(official) - 1]
    used = {n: t for n, t in state.items() if "attn_mask" not in n and "noise_anti" not in n}
    name, largest = max(used.items(), key=lambda item: item[1].numel())
    files = [tmp_path / f"{bad}.safetensors" for bad in ("shape", "other", "truncated")]
    save_file({**state, name: torch.cat([largest, largest])}, files[0])
    files[1].write_bytes(other.state(shared).read_bytes())
    whole = official.state(shared).read_bytes()
    files[2].write_bytes(whole[: len(whole) // 2])
    settings = [word for k, v in official.options.items() for word in ("--set", f"{k}={v}")]
    out = tmp_path / "out.safetensors"
    for file in files:
        status, _, err = run(
            capsys, "import", str(file), "--codec", official.codec, "--out", str(out), *settings
        )
        assert status == 2, file
        assert err.startswith("linksim: ")
        assert err.count("\n") == 1, err
        assert str(file) in err
        assert not out.exists()


def test_the_command_line(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(swin_state(shared), tmp_path / "net.model")
    out = tmp_path / "swin.safetensors"
    status, said, _ = run(
        capsys,
        *("import", str(tmp_path / "net.model"), "--codec", "swinjscc", "--out", str(out)),
        *("--set", "snr_adaptation=none"),
    )
    assert status == 0
    assert f"- {{codec: swinjscc, weights: {out}}}" in said
    assert "16 bits an image" in said
    status, _, err = run(capsys, "import", str(out), "--codec", "swinjscc", "--out", str(out))
    assert status == 2
    assert "give another --out" in err.replace("\n", " ")
