"""Metrics against published values, closed forms and other implementations."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from torch import Tensor

from linksim.errors import InputError
from linksim.images.reading import read_image
from linksim.images.sets import open_images
from linksim.metrics import quality as metrics
from linksim.metrics.lpips import LPIPS
from linksim.metrics.meter import KEPT_BYTES, Meter, measure, verdicts
from linksim.metrics.table import LOSSES, METRICS
from tests.helpers.places import DATA


@pytest.fixture(scope="module")
def references() -> Tensor:
    """Four crops of photographs, [4, 3, 176, 192]."""
    items = open_images("kodak", crop=(176, 192), limit=4)
    return torch.stack([item.image for item in items]).float() / 255


@pytest.fixture(scope="module")
def noisy(references: Tensor) -> Tensor:
    noise = torch.randn(references.shape, generator=torch.Generator().manual_seed(1))
    return (references + 0.05 * noise).clamp(0, 1)


def test_lpips_of_the_authors_example_pair() -> None:
    reference, worse, better = (
        (read_image(DATA / "lpips" / f"ex_{name}.png").float() / 255)[None]
        for name in ("ref", "p0", "p1")
    )
    values = measure(["lpips"], torch.cat([worse, better]), reference.repeat(2, 1, 1, 1))
    assert values["lpips"].tolist() == pytest.approx([0.7219, 0.1376], abs=5e-5)
    assert values["lpips_db"].tolist() == pytest.approx([1.415, 8.614], abs=2e-3)


def test_lpips_agrees_with_torchmetrics(references: Tensor, noisy: Tensor) -> None:
    from torchmetrics.functional.image.lpips import _LPIPS

    theirs = _LPIPS(pretrained=True, pnet_rand=True, net="alex").eval()  # their copy of the heads
    ours = LPIPS()
    mine, trunk = ours.state_dict(), theirs.net.state_dict()
    for name in trunk:  # sliceN.INDEX.weight
        trunk[name] = mine["features." + name.split(".", 1)[1]]
    theirs.net.load_state_dict(trunk)
    expected = theirs(noisy, references, normalize=True).flatten()
    assert torch.allclose(ours(noisy, references), expected, rtol=1e-4)


def test_psnr_of_a_known_error() -> None:
    reference = torch.full((3, 3, 20, 30), 128 / 255)
    image = reference.clone()
    image[0] += 5 / 255  # every value off by 5
    image[1, 0] += 5 / 255  # a third of them
    expected = [20 * math.log10(255 / 5), 20 * math.log10(255 / 5) + 10 * math.log10(3), 100.0]
    assert metrics.psnr(image, reference).tolist() == pytest.approx(expected, abs=1e-4)


def test_psnr_clamps_and_rounds_first() -> None:
    reference = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2).repeat(1, 3, 1, 1)
    overshoot = torch.tensor([-0.7, 1.4]).reshape(1, 1, 1, 2).repeat(1, 3, 1, 1)
    assert metrics.psnr(overshoot, reference).item() == metrics.CAP_DB
    assert metrics.psnr(reference + 0.4 / 255, reference).item() == metrics.CAP_DB
    off_by_one = metrics.psnr(reference + torch.tensor([0.6, 0.0]) / 255, reference).item()
    assert off_by_one == pytest.approx(20 * math.log10(255) + 10 * math.log10(2), abs=1e-4)


def _reference_ms_ssim(x: np.ndarray, y: np.ndarray, scales: int) -> float:
    """Wang et al. (2003), eq. 7, of two planes in [0, 255], from the formulas; even sides only."""
    taps = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()

    def blur(plane: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(plane, taps, axis=0), taps, axis=1)[5:-5, 5:-5]

    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
    value = 1.0
    for scale, weight in enumerate(weights[:scales] * weights.sum() / weights[:scales].sum()):
        mean_x, mean_y = blur(x), blur(y)
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        variances = blur(x * x) - mean_x**2 + blur(y * y) - mean_y**2
        cs = (2 * (blur(x * y) - mean_x * mean_y) + c2) / (variances + c2)
        luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
        value *= np.mean(luminance * cs if scale == scales - 1 else cs) ** weight
        x, y = (
            p[: p.shape[0] // 2 * 2, : p.shape[1] // 2 * 2]
            .reshape(p.shape[0] // 2, 2, -1, 2)
            .mean((1, 3))
            for p in (x, y)
        )
    return float(value)


@pytest.mark.parametrize(
    ("height", "width", "scales"), [(176, 192, 5), (96, 192, 4), (48, 64, 3), (32, 32, 2)]
)
def test_ms_ssim_against_its_definition(
    references: Tensor, noisy: Tensor, height: int, width: int, scales: int
) -> None:
    x, y = references[:1, :, :height, :width], noisy[:1, :, :height, :width]
    planes = zip(x[0].double().numpy() * 255, y[0].double().numpy() * 255, strict=True)
    expected = np.mean([_reference_ms_ssim(a, b, scales) for a, b in planes])
    assert metrics.ms_ssim_variant(height, width) == f"win11x{scales}"
    assert metrics.ms_ssim(y.double(), x.double()).item() == pytest.approx(expected, abs=1e-10)
    assert metrics.ms_ssim(y, x).item() == pytest.approx(expected, abs=1e-5)


def test_ssim_agrees_with_torchmetrics_inside_the_border(references: Tensor, noisy: Tensor) -> None:
    from torchmetrics.functional.image import structural_similarity_index_measure

    _, full = structural_similarity_index_measure(
        noisy, references, data_range=1.0, reduction="none", return_full_image=True
    )
    expected = full[..., 5:-5, 5:-5].mean((1, 2, 3))
    assert torch.allclose(metrics.ssim(noisy, references), expected, atol=1e-5)


def test_contrast_of_scaled_noise_in_closed_form() -> None:
    x = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = 0.5 + 0.9 * (x - 0.5)
    y = 0.5 + 0.5 * (x - 0.5)  # half the contrast: structure 1, contrast 2*0.5/(1 + 0.25)
    assert metrics.ssim(y, x).item() == pytest.approx(0.8, abs=4e-3)


@pytest.mark.parametrize(
    ("side", "variant"),
    [(768, "win11x5"), (161, "win11x5"), (160, "win11x4"), (81, "win11x4"), (80, "win11x3"),
     (41, "win11x3"), (40, "win11x2"), (21, "win11x2"), (20, "win11x1"), (11, "win11x1")],
)  # fmt: skip
def test_ms_ssim_variants(side: int, variant: str) -> None:
    assert metrics.ms_ssim_variant(side, 1000) == metrics.ms_ssim_variant(1000, side) == variant
    plane = torch.rand(1, 3, side, side)
    assert metrics.ms_ssim(plane, plane).item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("size", [(256, 10), (10, 256)])
def test_too_small_for_ssim(size: tuple[int, int]) -> None:
    tiny = torch.zeros(1, 3, *size)
    for name in ("ssim", "ms_ssim"):
        with pytest.raises(InputError, match=r"at least 11 pixels"):
            measure([name], tiny, tiny)


def test_too_small_for_lpips() -> None:
    smallest = torch.rand(1, 3, 31, 31)
    assert measure(["lpips"], 1 - smallest, smallest)["lpips"].item() > 0
    with pytest.raises(InputError, match="30x31; sides must be at least 31"):
        measure(["lpips"], smallest[:, :, 1:], smallest[:, :, 1:])


def test_rows_do_not_depend_on_the_batch(references: Tensor, noisy: Tensor) -> None:
    together = measure(METRICS, noisy, references)
    assert set(together) == {*METRICS, "ms_ssim_db", "lpips_db"}
    alone = [measure(METRICS, noisy[i : i + 1], references[i : i + 1]) for i in range(4)]
    for name, values in together.items():
        assert torch.equal(values, torch.cat([one[name] for one in alone])), name


@pytest.mark.parametrize(("max_bytes", "computed"), [(KEPT_BYTES, 4), (0, 12)])
def test_what_is_kept_of_an_original_changes_nothing(
    references: Tensor, noisy: Tensor, max_bytes: int, computed: int
) -> None:
    expected = measure(METRICS, noisy, references)
    count = []
    lpips, steps = METRICS["lpips"], metrics.STEPS["lpips"]
    counted = replace(steps, prepare=lambda x: count.append(x) or steps.prepare(x))
    listed = [*(METRICS.keys() - {"lpips"}), replace(lpips, steps=counted)]
    meter = Meter(listed, max_bytes=max_bytes)
    for images in (noisy, 1 - noisy, noisy):
        values = meter.measure(images, references, ["a", "b", "c", "d"])
    assert all(torch.equal(values[name], expected[name]) for name in expected)
    assert len(count) == computed


def test_measures_what_an_8_bit_picture_shows(references: Tensor, noisy: Tensor) -> None:
    picture = (noisy * 255).round() / 255
    for name, values in measure(METRICS, noisy, references).items():
        assert torch.equal(values, measure(METRICS, picture, references)[name]), name


def test_identical_images_have_finite_values(references: Tensor) -> None:
    values = {name: v.tolist() for name, v in measure(METRICS, references, references).items()}
    assert values["psnr"] == values["ms_ssim_db"] == values["lpips_db"] == [100.0] * 4
    assert values["ssim"] == pytest.approx([1.0] * 4)
    assert values["lpips"] == [0.0] * 4


def test_db_form_of_ms_ssim() -> None:
    assert metrics.ms_ssim_db(torch.tensor([0.9, 0.99])).tolist() == pytest.approx(
        [10, 20], abs=1e-4
    )


@pytest.mark.parametrize("name", LOSSES)
def test_losses_have_finite_gradients(name: str, references: Tensor) -> None:
    measure([name] if name in METRICS else ["lpips"], references[:1], references[:1])
    for start in (references[:1], 1 - references[:1], torch.zeros_like(references[:1])):
        images = start.clone().requires_grad_()
        LOSSES[name](images, references[:1]).sum().backward()
        assert images.grad is not None
        assert images.grad.isfinite().all()
    assert not any(p.requires_grad for p in LPIPS().parameters())


@pytest.mark.parametrize("name", LOSSES)
def test_losses_leave_autocast(name: str, references: Tensor, noisy: Tensor) -> None:
    expected = LOSSES[name](noisy.bfloat16().float(), references)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = LOSSES[name](noisy.bfloat16(), references)
    assert torch.equal(value, expected)


@pytest.mark.parametrize("name", LOSSES)
def test_a_step_down_the_gradient_lowers_the_loss(
    name: str, references: Tensor, noisy: Tensor
) -> None:
    images = noisy[:1].clone().requires_grad_()
    before = LOSSES[name](images, references[:1]).sum()
    (gradient,) = torch.autograd.grad(before, images)
    after = LOSSES[name](images - 0.02 * gradient / gradient.abs().max(), references[:1]).sum()
    assert after.item() < before.item()


def test_unknown_metric_and_mismatched_images() -> None:
    image = torch.zeros(1, 3, 32, 32)
    with pytest.raises(InputError, match=r"'pnsr' is none; allowed are psnr, ssim, ms_ssim, lpips"):
        measure(["pnsr"], image, image)
    with pytest.raises(InputError, match=r"\[1, 3, 32, 31\]"):
        measure(["psnr"], image[..., 1:], image)


def test_what_a_codec_reports_is_held_against_the_truth() -> None:
    report = {
        "snr_db_estimate": torch.tensor([6.0, 9.5]),
        "class_index": torch.tensor([3, 0]),
        "failed": torch.tensor([False, True]),
    }
    values = verdicts(report, snr_db=7.0, labels=torch.tensor([3, 1]))
    assert {name: value.tolist() for name, value in values.items()} == {
        "snr_error_db": [1.0, 2.5],
        "accuracy": [1.0, 0.0],
    }
    assert set(verdicts(report, snr_db=7.0, labels=torch.tensor([-1, -1]))) == {"snr_error_db"}
    assert verdicts({}, snr_db=7.0, labels=torch.tensor([3, 1])) == {}
