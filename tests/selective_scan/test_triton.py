"""The Triton kernels against the float64 recurrence written out in recurrence.py.

They run on a GPU where there is one, else in Triton's interpreter (see tests/conftest.py).
"""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from linksim.errors import InputError
from linksim.selective_scan import ScanParameters, backends, selective_scan_bidirectional, triton
from linksim.selective_scan import backend as backend_module
from linksim.selective_scan.backend import choose_backend
from tests.helpers.recurrence import Case, decaying_case, random_case, recurrence, relative_error
from tests.helpers.triton_interpreter import INTERPRETED, device, patch_once

MISSING = triton.why_unavailable()
pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    if INTERPRETED:
        patch_once(monkeypatch)


def on_device(case: Case, dtype: torch.dtype = torch.float32) -> Case:
    """The same values, of that dtype, where the kernels run; they require gradients."""

    def move(t: Tensor | None) -> Tensor | None:
        return None if t is None else t.detach().to(device(), dtype).requires_grad_()

    u, csi = move(case.u), case.csi
    assert u is not None
    csi = None if csi is None else csi.to(device())
    return replace(case, u=u, scan=ScanParameters(*map(move, case.scan)), csi=csi)


def errors(case: Case) -> list[float]:
    """Of the output and of all gradients of the kernels, against the float64 recurrence."""
    exact, single = case.cast(torch.float64), on_device(case)
    wanted, got = recurrence(exact), single.run("triton")
    weights = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1))
    wanted_gradients = torch.autograd.grad(wanted, exact.tensors(), weights.double())
    gradients = torch.autograd.grad(got, single.tensors(), weights.to(device()))
    pairs = zip((got, *gradients), (wanted, *wanted_gradients), strict=True)
    return [relative_error(ours.cpu(), theirs) for ours, theirs in pairs]


def assert_matches(case: Case) -> None:
    assert max(errors(case)) < TOLERANCE


@pytest.mark.parametrize(("length", "reverse"), [(1, False), (7, True), (8, False), (35, True)])
def test_lengths(length: int, reverse: bool) -> None:
    assert_matches(random_case(2, length, 5, 2, interval=6, reverse=reverse))


@pytest.mark.parametrize("channels", [1, 64, 67])
def test_channels_that_do_not_fill_the_warps(channels: int) -> None:
    assert_matches(random_case(1, 18, channels, 2, reverse=channels == 64))


@pytest.mark.parametrize("states", [1, 3, 16])
def test_states(states: int) -> None:
    assert_matches(random_case(1, 17, 6, states, interval=9))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("interval", [1, 16, 21, None])
def test_csi_intervals(interval: int | None, start: bool, reverse: bool) -> None:
    """Restarts at every token, at the first of chunks of 16, within chunks, and at the first."""
    case = random_case(2, 36, 3, 2, interval=interval, reverse=reverse, csi_start=start)
    assert_matches(case)


def test_without_csi_skip_bias_and_softplus() -> None:
    case = random_case(2, 20, 7, 3, csi=False)
    plain = case.scan._replace(delta=case.scan.delta.exp(), D=None, delta_bias=None)
    assert_matches(replace(case, scan=plain, softplus=False))


@pytest.mark.parametrize("reverse", [False, True])
def test_more_chunks_than_are_carried_at_once(reverse: bool) -> None:
    """300 tokens in chunks of 16: 19 chunks, of which 16 are fetched together."""
    assert_matches(random_case(1, 300, 2, 1, interval=130, reverse=reverse))


@pytest.mark.parametrize("pieces", [1, 4])
def test_chunks_of_other_lengths(pieces: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "pieces_of_a_chunk", lambda *_: pieces)
    assert_matches(random_case(2, 75, 3, 2, interval=25, reverse=pieces == 4))


def test_the_smaller_the_scan_the_shorter_its_chunks() -> None:
    """The first and the last stage of MambaJSCC at 256x256, and a batch of large images."""
    assert triton.pieces_of_a_chunk(1, 128 * 128, 256, 2) == 8
    assert triton.pieces_of_a_chunk(1, 16 * 16, 640, 2) == 2
    assert triton.pieces_of_a_chunk(16, 128 * 128, 768, 2) == 32


def test_states_that_live_for_300_tokens() -> None:
    assert_matches(decaying_case(-1e-6, length=300))


@pytest.mark.parametrize("decay", [-0.02, -5, -50, 1e-3])
def test_decay(decay: float) -> None:
    """To states that die at once, and one that grows."""
    assert_matches(decaying_case(decay, length=40))


def test_far_softplus() -> None:
    """softplus(x) where it is x and where it is exp(x)."""
    case = random_case(1, 30, 4, 2)
    wide = case.scan._replace(delta=torch.linspace(-30, 30, 30).double()[None, :, None] + case.u)
    assert_matches(replace(case, scan=wide))


def both_directions(dtype: torch.dtype, length: int = 21, states: int = 2) -> tuple[Case, Case]:
    ahead = random_case(2, length, 5, states, seed=1, interval=10)
    back = random_case(2, length, 5, states, seed=2, interval=10)
    return on_device(ahead, dtype), on_device(back, dtype)


def scan_both(ahead: Case, back: Case) -> Tensor:
    return selective_scan_bidirectional(
        ahead.u, ahead.scan, back.scan, True, csi=ahead.csi, csi_interval=10, backend="triton"
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_two_directions_are_two_scans(dtype: torch.dtype) -> None:
    ahead, back = both_directions(dtype)
    both = scan_both(ahead, back)
    exact = ahead.cast(torch.float64)
    other = replace(back.cast(torch.float64), u=exact.u, csi=exact.csi, reverse=True)
    apart = recurrence(exact) + recurrence(other)
    rounded = 1e-5 if dtype == torch.float32 else 2.0**-8
    assert both.dtype == dtype
    assert relative_error(both.cpu(), apart.cpu()) < rounded
    weights = torch.randn(apart.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    ours = torch.autograd.grad(both, [ahead.u, *ahead.scan, *back.scan], weights.to(device()))
    theirs = torch.autograd.grad(apart, [exact.u, *exact.scan, *other.scan], weights.double())
    for one, two in zip(ours, theirs, strict=True):
        assert one.dtype == dtype
        assert relative_error(one.cpu(), two.cpu()) < rounded


def test_half_precision_is_only_at_the_border() -> None:
    """As if the same values had been given in float32, and the result rounded once."""
    ahead, back = both_directions(torch.bfloat16)
    singles = [on_device(case.cast(torch.float32)) for case in (ahead, back)]
    assert torch.equal(scan_both(ahead, back), scan_both(*singles).to(torch.bfloat16))


def test_csi_keeps_its_precision_under_autocast() -> None:
    """12.3456 dB is no bfloat16 number: a rounded SNR would show."""
    case = on_device(random_case(1, 10, 4, 1))
    case = replace(case, csi=torch.tensor([12.3456], device=device()))
    with torch.autocast(device().type, torch.bfloat16):
        y = case.run("triton")
    assert torch.equal(y, case.run("triton"))


def test_inputs_may_be_views() -> None:
    """Channels not last in memory, B and C cut from one projection, every second token."""
    case = on_device(random_case(2, 12, 6, 3, interval=5))
    wanted = case.run("triton")
    u = case.u.detach().transpose(1, 2).contiguous().transpose(1, 2)
    both = torch.cat((case.scan.B, case.scan.C), dim=-1).detach()
    delta = torch.stack((case.scan.delta, case.scan.delta), dim=2).detach()[:, :, 1]
    views = case.scan._replace(delta=delta, B=both[..., :3], C=both[..., 3:])
    assert not u.is_contiguous()
    assert not delta.is_contiguous()
    assert torch.equal(replace(case, u=u, scan=views).run("triton"), wanted)


def test_nothing_flows_through_an_overwritten_state() -> None:
    """With N = 1 and a restart at every second token, tokens 0, 1 and 2, 3 do not meet."""
    case = on_device(random_case(1, 4, 16, 1, interval=2))
    (gradient,) = torch.autograd.grad(case.run("triton")[:, 2:].sum(), [case.u])
    assert torch.equal(gradient[:, :2], torch.zeros_like(gradient[:, :2]))
    assert bool((gradient[:, 2:] != 0).all())


def test_the_same_bits_each_time() -> None:
    case = on_device(random_case(2, 20, 67, 2, interval=9))
    y, again = case.run("triton"), case.run("triton")
    assert torch.equal(y, again)
    for one, two in zip(
        torch.autograd.grad(y.square().sum(), case.tensors()),
        torch.autograd.grad(again.square().sum(), case.tensors()),
        strict=True,
    ):
        assert torch.equal(one, two)


@pytest.mark.skipif(not INTERPRETED, reason="a compiled kernel keeps its constants")
@pytest.mark.parametrize(("constant", "value"), [("LOG2_E", 1.4427), ("LN_2", 0.69316)])
def test_a_fault_in_one_constant_is_seen(
    constant: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its fifth digit; the case itself passes."""
    kernels = pytest.importorskip("linksim.selective_scan.triton_kernels")
    case = random_case(1, 12, 4, 2, interval=5)
    assert_matches(case)
    monkeypatch.setattr(kernels, constant, value)
    assert max(errors(case)) > TOLERANCE


# --------------------------------------------------------------------------------------------------
# The operator.


def test_floating_point_operations_are_counted() -> None:
    """Three multiply-accumulates a token, channel and state; twice that going back."""
    case = on_device(random_case(2, 9, 3, 2))
    with FlopCounterMode(display=False) as counter:
        case.run("triton").sum().backward()
    assert counter.get_total_flops() == 3 * (2 * 3 * 2 * 9 * 3 * 2)


def test_operators_keep_their_promises() -> None:
    """torch's own checks of schema, fake implementation and autograd registration."""
    case = on_device(random_case(1, 6, 3, 1))
    lists = [[t.detach().requires_grad_()] for t in case.scan if t is not None]
    csi = torch.tensor([7.0], device=device())
    torch.library.opcheck(
        torch.ops.linksim.selective_scan.default,
        (case.u, *lists, csi, True, 4, [False], True, "triton"),
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
    )


def test_compiles_as_one_graph() -> None:
    ahead, back = both_directions(torch.float32, length=9, states=1)

    def scan(u: Tensor, csi: Tensor) -> Tensor:
        return selective_scan_bidirectional(
            u.sin(), ahead.scan, back.scan, True, csi=csi, csi_interval=3, backend="triton"
        )

    compiled = torch.compile(scan, fullgraph=True, backend="aot_eager")
    assert ahead.csi is not None
    y, wanted = compiled(ahead.u, ahead.csi), scan(ahead.u, ahead.csi)
    assert torch.equal(y, wanted)
    assert torch.equal(
        torch.autograd.grad(y.sum(), ahead.u)[0], torch.autograd.grad(wanted.sum(), ahead.u)[0]
    )
