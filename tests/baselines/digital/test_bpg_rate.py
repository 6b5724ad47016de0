"""Rate and quality of our BPG files against the reference encoder's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from baselines.digital import bpg
from linksim.metrics.quality import psnr


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    """PSNR of two images uint8 [H, W, 3] as the results have it."""
    one, other = (torch.tensor(x).permute(2, 0, 1)[None] / 255 for x in (a, b))
    return psnr(one, other).item()


def bd_rate(reference: np.ndarray, ours: np.ndarray) -> float:
    """Bjontegaard's mean difference of rate in percent (VCEG-M33), for three points (bytes, dB)."""
    low = max(reference[:, 1].min(), ours[:, 1].min())
    high = min(reference[:, 1].max(), ours[:, 1].max())
    integrals = [
        np.polynomial.Polynomial.fit(points[:, 1], np.log(points[:, 0]), 2).integ()
        for points in (reference, ours)
    ]
    areas = [float(integral(high) - integral(low)) for integral in integrals]
    return 100 * float(np.expm1((areas[1] - areas[0]) / (high - low)))


def test_bd_rate_of_a_known_shift() -> None:
    """Five per cent more bytes at every quality is a BD-rate of +5 %."""
    points = np.array([[48894, 36.62], [18803, 31.67], [5538, 27.52]])
    assert bd_rate(points, points * [1.05, 1]) == pytest.approx(5, abs=1e-6)


# bpgenc 0.9.8, x265, default settings, 8-bit 4:2:0: bytes and dB (PSNR over RGB of each image).
_REFERENCE_KODAK = np.array([[48894, 36.62], [18803, 31.67], [5538, 27.52]])
_REFERENCE_KODIM23 = np.array([[20066, 37.89], [7954, 34.01], [3151, 30.43]])
_QPS = (26, 34, 42)  # about the same rates


@pytest.mark.slow
def test_bd_rate_on_kodak(shared: Path) -> None:
    rows = {}
    for path in sorted((shared / "data" / "kodak").glob("*.png")):
        with Image.open(path) as photo:
            image = np.asarray(photo)
        files = [bpg.encode(image, qp) for qp in _QPS]
        rows[path.stem] = [(len(file), psnr_db(bpg.decode(file), image)) for file in files]
    assert len(rows) == 24
    kodak = np.mean(list(rows.values()), axis=0)
    kodim23 = np.array(rows["kodim23"])
    for name, ours, reference in (
        ("Kodak", kodak, _REFERENCE_KODAK),
        ("kodim23", kodim23, _REFERENCE_KODIM23),
    ):
        points = ", ".join(f"{size:,.0f} bytes at {db:.2f} dB" for size, db in ours)
        print(f"{name}: {points}; BD-rate {bd_rate(reference, ours):+.2f} %")
    assert bd_rate(_REFERENCE_KODAK, kodak) < 2
    assert bd_rate(_REFERENCE_KODIM23, kodim23) < 2
