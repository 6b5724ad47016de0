"""The codec bench."""

import pytest

from linksim.bench import bench_codecs, in_both_precisions
from linksim.errors import InputError


def test_a_row_a_codec_and_precision() -> None:
    table = bench_codecs(
        in_both_precisions([("mambajscc", "tiny")]), sizes=[32], repetitions=3, warm_up=1
    )
    assert list(table["precision"]) == ["fp32", "bf16"]
    assert bool((table["median_ms"] >= table["fastest_ms"]).all())
    assert bool((table["fastest_ms"] > 0).all())
    assert {"processor", "threads", "system", "torch"} <= set(table.columns)


def test_unknown_preset_is_refused() -> None:
    with pytest.raises(InputError, match="no preset 'huge'"):
        bench_codecs(in_both_precisions([("mambajscc", "huge")]))
