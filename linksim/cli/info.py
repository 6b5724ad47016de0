"""``linksim codecs`` and ``linksim info``."""

import torch
from rich.console import Console
from rich.table import Table

from linksim.codec_lookup import codec_names, find_codec
from linksim.neural_codec import read_weights_metadata
from linksim.provenance import machine, versions
from linksim.selective_scan import backends
from linksim.zoo import weights_path, zoo_names


def list_codecs(console: Console) -> None:
    """Each codec's name, what it is, its paper, what it adapts to, and its presets."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for name in codec_names():
        cls = find_codec(name)
        presets = ", ".join(cls.presets) or "-"
        adapts = f"adapts to SNR: {cls.adapts_to_snr}; rate: {cls.rates}; presets: {presets}"
        table.add_row(name, cls.summary)
        table.add_row("", cls.paper)
        table.add_row("", adapts)
    console.print(table)
    console.print(
        "Your own: codec: ./file.py:Class or package.module:Class (docs/tutorials/train.md)."
    )


def show_info(console: Console) -> None:
    """Versions, machine, scan backends and shipped weights."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in {**versions(), **machine()}.items():
        table.add_row(name, str(value))
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    table.add_row("devices", ", ".join(["cpu", *gpus]))
    for name, state in backends().items():
        table.add_row(f"scan backend {name}", state)
    for name in zoo_names():
        _, card = read_weights_metadata(weights_path(name))
        table.add_row(name, _in_words(card))
    console.print(table)


def _in_words(card: dict[str, object]) -> str:
    validation = card.get("validation")
    psnr = validation.get("val_psnr") if isinstance(validation, dict) else None
    return f"{card.get('steps')} steps, validation PSNR {psnr} dB"
