"""Tensors by name from the files that people publish weights in."""

import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from linksim.errors import InputError, one_line
from linksim.importing import unpickling

_WRAPPED = ("state_dict", "model", "net")
"""Keys under which training scripts keep a state_dict."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint by their names, on the CPU.

    Known are safetensors, .npz and .h5 files, and under any other name what ``torch.save`` writes
    (since torch 1.6): a state_dict or a whole module, of which nothing is run. Raises InputError.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    readers: dict[str, Callable[[Path], dict[str, Tensor]]] = {
        ".safetensors": load_file,
        ".npz": _read_npz,
        ".h5": _read_h5,
        ".hdf5": _read_h5,
    }
    read = readers.get(path.suffix.lower(), _read_torch)
    try:
        tensors = read(path)
    except InputError:
        raise
    except unpickling.CallRefusedError as called:
        raise InputError(
            f"{path}: refused: to read it would call {called}; nothing of it was run"
        ) from None
    except (SafetensorError, Exception) as error:  # a broken file can break a reader anywhere
        raise InputError(f"{path}: cannot be read: truncated or broken ({_said(error)})") from None
    if not tensors:
        raise InputError(f"{path}: holds no tensors")
    for name, tensor in tensors.items():
        _check(path, name, tensor)
    return tensors


def _said(error: Exception) -> str:
    return one_line(error)[:120] or type(error).__name__


def _check(path: Path, name: str, tensor: Tensor) -> None:
    if tensor.layout != torch.strided or tensor.is_complex():
        raise InputError(f"{path}: {name} is no plain real tensor")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise InputError(f"{path}: {name} is larger than what the file holds of it")
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise InputError(f"{path}: {name} holds values that are not finite")


def _read_torch(path: Path) -> dict[str, Tensor]:
    if not zipfile.is_zipfile(path):
        raise InputError(
            f"{path}: not a whole file of torch.save (since torch 1.6), safetensors, .npz or .h5"
        )
    with zipfile.ZipFile(path) as archive:
        if any(name.endswith("/constants.pkl") for name in archive.namelist()):
            raise InputError(f"{path}: a TorchScript archive is not read; export its state_dict")
    content = torch.load(path, map_location="cpu", weights_only=False, pickle_module=unpickling)
    return dict(_named_tensors(content))


def _named_tensors(content: Any) -> Iterator[tuple[str, Tensor]]:
    """A state_dict's tensors, or a module's parameters and buffers; names without ``module.``."""
    if isinstance(content, Mapping):
        for key in _WRAPPED:
            if isinstance(content.get(key), Mapping | unpickling.Inert):
                content = content[key]
                break
    found = iter(_items(content)) if isinstance(content, Mapping) else _module_tensors(content)
    for name, value in found:
        if isinstance(value, Tensor):
            yield name.removeprefix("module."), value.detach()


def _module_tensors(module: Any) -> Iterator[tuple[str, Any]]:
    """Parameters and buffers of an inert module and of those inside it."""
    waiting, seen = [("", module)], set()
    while waiting:
        prefix, module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        held = vars(module) if isinstance(module, unpickling.Inert) else {}
        for kind in ("_parameters", "_buffers"):
            for name, value in _items(held.get(kind)):
                yield prefix + name, value
        waiting += [(f"{prefix}{name}.", inner) for name, inner in _items(held.get("_modules"))]


def _items(held: Any) -> list[tuple[str, Any]]:
    return [(str(k), v) for k, v in held.items()] if isinstance(held, Mapping) else []


def _read_npz(path: Path) -> dict[str, Tensor]:
    with np.load(path, allow_pickle=False) as arrays:
        return {_variable(name): torch.from_numpy(arrays[name]) for name in arrays.files}


def _read_h5(path: Path) -> dict[str, Tensor]:
    import h5py

    tensors: dict[str, Tensor] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            tensors[_variable(name)] = torch.from_numpy(np.asarray(item[()]))

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return tensors


def _variable(name: str) -> str:
    """A TensorFlow variable's name without its output number."""
    return name.removesuffix(":0")
