"""The codec bench."""

import pytest

from linksim.bench.codecs import bench_codecs, in_both_precisions
from linksim.bench.link import bench_link
from linksim.errors import InputError
from linksim.settings import CodecSettings


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


def test_a_row_a_part_of_a_sweep() -> None:
    codec = CodecSettings(codec="mambajscc", preset="tiny")
    table = bench_link([codec], size=32, images=2, snr_db=(1, 9))
    assert list(table["part"]) == ["channel", "encode", "link", "decode", "metrics", "rest"]
    assert table["share"].sum() == pytest.approx(1)
    assert bool((table["mean_ms"] > 0).all())
