"""Codecs through torch.compile give what they give without, and say so where it cannot work."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

import linksim
from linksim.bench.codecs import bench_codecs
from linksim.codec import Decoded
from linksim.codec_lookup import codec_from_settings
from linksim.files.tables import read_table
from linksim.neural_codec import NeuralCodec
from linksim.runtime import compiled
from linksim.runtime.compiled import compile_parts
from linksim.settings import CodecSettings
from tests.helpers.command_line import run
from tests.helpers.places import HELPERS
from tests.helpers.small import settings

CONV = CodecSettings(codec=f"{HELPERS / 'conv.py'}:Conv")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are traced and run, but not translated."""
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")


def tiny(name: str) -> NeuralCodec:
    torch.manual_seed(0)
    codec = codec_from_settings(CodecSettings(codec=name, preset="tiny"))
    assert isinstance(codec, NeuralCodec)
    return codec


def outputs(codec: NeuralCodec) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    snr_db = torch.tensor([1.0, 19.0])
    with torch.inference_mode():
        latent = codec.analysis(images, snr_db)
        decoded = codec.synthesis(latent, snr_db)
    return latent, decoded.images if isinstance(decoded, Decoded) else decoded


@pytest.mark.usefixtures("quick")
def test_the_same_latent_and_images() -> None:
    plain, translated = tiny("mambajscc"), tiny("mambajscc")
    compile_parts(translated)
    for one, other in zip(outputs(plain), outputs(translated), strict=True):
        torch.testing.assert_close(one, other)
    assert type(translated).analysis is type(plain).analysis  # others of the class stay as they are


def test_every_size_is_compiled_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two crops of a training: the second failed, when torch took the sides for unknowns."""
    unknowns: list[list[object]] = []

    def kept(graph: torch.fx.GraphModule, inputs: list[object]) -> Callable[..., object]:
        unknowns.append([one for one in inputs if not isinstance(one, torch.Tensor)])
        return graph.forward

    monkeypatch.setattr(compiled, "BACKEND", kept)
    codec = codec_from_settings(CONV)
    assert isinstance(codec, NeuralCodec)
    compile_parts(codec)
    for side in (64, 128):
        codec.analysis(torch.rand(1, 3, side, side), None)
    assert unknowns == [[], []]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adjscc", "deepjscc", "mambajscc"])
def test_translated_for_this_machine(name: str) -> None:
    plain, translated = (
        codec_from_settings(CodecSettings(codec=name, preset="small")) for _ in range(2)
    )
    assert isinstance(plain, NeuralCodec)
    assert isinstance(translated, NeuralCodec)
    translated.load_state_dict(plain.state_dict())
    compile_parts(translated)
    for one, other in zip(outputs(plain), outputs(translated), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("quick")
def test_a_sweep_gives_the_same_rows(tmp_path: Path) -> None:
    """Classical codecs beside them stay as they are."""
    scenario = settings(CONV.model_dump(exclude_unset=True), "bpg_capacity", trials=2)
    tables = []
    for compiled_too in (False, True):
        out = tmp_path / str(compiled_too)
        linksim.run(scenario, out, batch_size=2, compiled=compiled_too)
        tables.append(read_table(out / "small" / "rows.parquet"))
    pd.testing.assert_frame_equal(*tables, rtol=1e-5)


@pytest.mark.usefixtures("quick")
def test_bench_says_which_it_timed() -> None:
    table = bench_codecs([CONV], sizes=[16], repetitions=1, warm_up=1, compiled=True)
    assert table[["compiled", "device"]].to_numpy().tolist() == [[True, "cpu"]]


def test_without_a_compiler_it_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(graph: object, inputs: object) -> object:
        raise RuntimeError("no C++ compiler\nhere")

    monkeypatch.setattr(compiled, "BACKEND", none)
    table = tmp_path / "out.csv"
    status, _, err = run(
        capsys, "bench", "codec", "mambajscc:tiny", "--size", "16", "--compile", "--csv", str(table)
    )
    assert status == 2
    assert err.startswith("linksim: --compile: torch.compile failed (")
    assert err.endswith("; leave it out\n")
    assert err.count("\n") == 1
