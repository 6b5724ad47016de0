"""The reference backend and what the public function promises whatever the backend."""

import importlib
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from linksim.errors import InputError
from linksim.selective_scan import backend as backend_module
from linksim.selective_scan import selective_scan, selective_scan_bidirectional
from linksim.selective_scan.backend import backends, choose_backend
from tests.helpers.recurrence import Case, random_case, recurrence, relative_error


def reference(case: Case) -> Tensor:
    return case.run("reference")


def test_by_hand() -> None:
    """One channel, two states, three tokens: every number worked out below."""
    ones = torch.ones(1, 3, 1, dtype=torch.float64)
    # A step of one halves the first state and quarters the second.
    A = -torch.tensor([[2.0, 4.0]], dtype=torch.float64).log()
    y = selective_scan(
        8 * ones,
        ones,
        A,
        torch.tensor([[[1.0, 0.5]] * 3], dtype=torch.float64),
        torch.tensor([[[1.0, 10.0]] * 3], dtype=torch.float64),
        csi=torch.tensor([20.0]),
        csi_interval=2,
    )
    # first state: (20)/2 + 8 = 18; 18/2 + 8 = 17; set to 20 again, 18
    # second state: 0 + 4 = 4; 1 + 4 = 5; 1.25 + 4 = 5.25
    assert y.flatten().tolist() == pytest.approx([18 + 40, 17 + 50, 18 + 52.5])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("length", "interval"), [(11, 1), (11, 4), (130, 50), (130, None)])
def test_matches_the_recurrence(length: int, interval: int | None, reverse: bool) -> None:
    case = random_case(2, length, 3, 4, interval=interval, reverse=reverse).cast(torch.float64)
    y, wanted = reference(case), recurrence(case)
    assert relative_error(y, wanted) < 1e-14
    for ours, theirs in zip(
        torch.autograd.grad(y.square().sum(), case.tensors()),
        torch.autograd.grad(wanted.square().sum(), case.tensors()),
        strict=True,
    ):
        assert relative_error(ours, theirs) < 1e-13


@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("interval", [7, 40, 100, None])
def test_without_csi_before_the_first_token(
    backend: str, interval: int | None, reverse: bool
) -> None:
    """And its gradients; with 100 or None it is never told."""
    case = random_case(2, 100, 70, 4, interval=interval, reverse=reverse, csi_start=False)
    single, exact = case.cast(torch.float32), case.cast(torch.float64)
    y, wanted = single.run(backend), recurrence(exact)
    assert relative_error(y, wanted) < 1e-5
    for ours, theirs in zip(
        torch.autograd.grad(y.square().sum(), single.tensors()),
        torch.autograd.grad(wanted.square().sum(), exact.tensors()),
        strict=True,
    ):
        assert relative_error(ours, theirs) < 1e-4
    if interval in (100, None):
        assert torch.equal(y, replace(single, csi=None).run(backend))


def test_gradcheck() -> None:
    case = random_case(2, 6, 3, 2, interval=4, reverse=True).cast(torch.float64)

    def scan(u: Tensor, *scan: Tensor) -> Tensor:
        return selective_scan(u, *scan, True, csi=case.csi, csi_interval=4, reverse=True)

    assert torch.autograd.gradcheck(scan, case.tensors())


def test_two_directions_are_two_scans() -> None:
    ahead, back = random_case(2, 9, 3, 4, seed=1), random_case(2, 9, 3, 4, seed=2)
    both = selective_scan_bidirectional(
        ahead.u, ahead.scan, back.scan, True, csi=ahead.csi, csi_interval=3
    )
    forward = recurrence(replace(ahead, interval=3))
    backward = recurrence(replace(back, u=ahead.u, csi=ahead.csi, interval=3, reverse=True))
    assert relative_error(both, forward + backward) < 1e-14


def test_csi_gets_no_gradient() -> None:
    case = random_case(1, 5, 2, 2).cast(torch.float64)
    csi = torch.tensor([5.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(
        reference(replace(case, csi=csi)).sum(), [csi], allow_unused=True
    )
    assert gradient is None


def test_low_precision_input_computes_in_float32() -> None:
    case = random_case(1, 40, 4, 4)
    half = case.cast(torch.bfloat16)
    y = reference(half)
    exact = recurrence(half.cast(torch.float64))
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, exact.float().to(torch.bfloat16))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"u": torch.zeros(2, 0, 3)}, r"u is \[2, 0, 3\]; it must be \[batch, L, channels\]"),
        ({"u": torch.zeros(2, 3)}, r"u is \[2, 3\]; it must be \[batch, L, channels\]"),
        ({"delta": torch.zeros(2, 5, 4)}, r"delta is \[2, 5, 4\]; it must .* = \[2, 5, 3\]"),
        ({"A": torch.zeros(3)}, r"A is \[3\]; it must be \[channels, N\]"),
        ({"A": torch.zeros(3, 0)}, r"A is \[3, 0\]; it must be \[channels, N\], N >= 1"),
        ({"A": torch.zeros(2, 4)}, r"A is \[2, 4\]; it must be \[channels, N\] = \[3, 4\]"),
        ({"B": torch.zeros(2, 5, 3)}, r"B is \[2, 5, 3\]; it must be \[batch, L, N\]"),
        ({"C": torch.zeros(1, 5, 4)}, r"C is \[1, 5, 4\]; it must be \[batch, L, N\]"),
        ({"D": torch.zeros(4)}, r"D is \[4\]; it must be \[channels\] = \[3\]"),
        ({"delta_bias": torch.zeros(3, 1)}, r"delta_bias is \[3, 1\]"),
        ({"csi": torch.zeros(1)}, r"csi is \[1\]; it must be \[batch\] = \[2\]"),
        ({"csi_interval": 0}, "csi_interval is 0; it must be at least 1"),
        ({"B": torch.zeros(2, 5, 4, dtype=torch.int64)}, "B is torch.int64; it must be a floating"),
        ({"delta": torch.full((2, 5, 3), torch.inf)}, "delta holds non-finite values"),
        ({"csi": torch.tensor([1.0, torch.nan])}, "csi holds non-finite values"),
        ({"backend": "fast"}, "backend is 'fast'; allowed are reference, native, triton, cuda"),
        ({"backend": "cuda"}, "the cuda backend"),
    ],
)
def test_bad_input_is_one_line(changes: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {
        "u": torch.zeros(2, 5, 3),
        "delta": torch.zeros(2, 5, 3),
        "A": torch.zeros(3, 4),
        "B": torch.zeros(2, 5, 4),
        "C": torch.zeros(2, 5, 4),
        "backend": "reference",
    }
    with pytest.raises(InputError, match=message) as error:
        selective_scan(**{**arguments, **changes})  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_without_the_library_it_warns_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    importlib.reload(backend_module)  # it has not warned yet
    monkeypatch.setattr(backend_module, "KERNEL", None)
    monkeypatch.setattr(backend_module, "DETAIL", "no compiler was there")
    u = torch.zeros(1, 2, 3)
    with pytest.warns(RuntimeWarning, match="slow reference backend.*no compiler was there"):
        assert choose_backend(u, 4, None) == "reference"
    assert choose_backend(u, 4, None) == "reference"  # warned once
    assert backends()["native"] == "not available: no compiler was there"
    with pytest.raises(InputError, match="native backend is not available: no compiler"):
        choose_backend(u, 4, "native")


def test_native_refuses_what_it_cannot_keep() -> None:
    with pytest.raises(InputError, match=r"float64 on cpu|not available"):
        choose_backend(torch.zeros(1, 2, 3, dtype=torch.float64), 4, "native")
