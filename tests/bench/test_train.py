"""``bench train``: its parts add up, and what it counts is what is computed by hand."""

from typing import get_args

import pytest

from linksim.bench.train import PARTS, bench_train
from linksim.errors import InputError
from linksim.settings import CodecSettings
from linksim.training.recipe import OptimizerName
from tests.helpers.places import HELPERS


@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
def test_parts_and_operations(optimizer: OptimizerName) -> None:
    """Two convolutions of 8x8 by 8 of 3 <-> 16 channels: 3 * 16 multiply-accumulates a pixel each.

    Backwards the encoder has the weight's gradient, the decoder that of its input as well.
    """
    conv = CodecSettings(codec=f"{HELPERS / 'conv.py'}:Conv")
    table = bench_train(
        conv, crop=32, batch_size=2, device="cpu", optimizer=optimizer, repetitions=2
    )
    assert set(table["optimizer"]) == {optimizer}
    assert list(table["part"]) == [*PARTS, "step"]
    parts, whole = table.iloc[:-1], table.iloc[-1]
    assert parts["share"].sum() == pytest.approx(1)
    assert parts["median_ms"].sum() == pytest.approx(whole["median_ms"])
    assert whole["crops_per_s"] == pytest.approx(2000 / whole["median_ms"])
    operations = 2 * (2 * 32**2) * 3 * 16 * 5
    assert whole["gflops"] * whole["median_ms"] * 1e6 == pytest.approx(operations)
    assert whole["peak_gflops"] > 0


def test_bad_input() -> None:
    with pytest.raises(InputError, match="'bpg_ldpc' is not neural"):
        bench_train(CodecSettings(codec="bpg_ldpc"))
    with pytest.raises(InputError, match="at most 512"):
        bench_train(CodecSettings(codec="mambajscc"), crop=1024)
