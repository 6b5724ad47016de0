"""The native kernel against a float64 recurrence written out in recurrence.py."""

import resource
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch._inductor.utils import run_and_get_code
from torch.utils.flop_counter import FlopCounterMode

from linksim.errors import InputError
from linksim.selective_scan import (
    ScanParameters,
    kernel,
    selective_scan,
    selective_scan_bidirectional,
)
from linksim.selective_scan.kernel import DETAIL, KERNEL
from tests.helpers.recurrence import Case, decaying_case, random_case, recurrence, relative_error

pytestmark = pytest.mark.skipif(KERNEL is None, reason=DETAIL)

TOLERANCE = 1e-5


@pytest.fixture
def restored_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def native(case: Case) -> Tensor:
    return case.run("native")


def assert_matches(case: Case) -> None:
    """Output and all gradients of the float32 kernel against the float64 recurrence."""
    exact, single = case.cast(torch.float64), case.cast(torch.float32)
    wanted, got = recurrence(exact), native(single)
    weights = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1))
    assert relative_error(got, wanted) < TOLERANCE
    wanted_gradients = torch.autograd.grad(wanted, exact.tensors(), weights.double())
    gradients = torch.autograd.grad(got, single.tensors(), weights)
    for ours, theirs in zip(gradients, wanted_gradients, strict=True):
        assert relative_error(ours, theirs) < TOLERANCE


@pytest.mark.parametrize("length", [1, 2, 31, 32, 33, 500])
@pytest.mark.parametrize("reverse", [False, True])
def test_lengths(length: int, reverse: bool) -> None:
    assert_matches(random_case(2, length, 20, 4, interval=7, reverse=reverse))


def test_long_sequence() -> None:
    assert_matches(random_case(1, 5000, 3, 1, interval=2048))


@pytest.mark.parametrize("channels", [1, 15, 16, 17, 63, 64, 65, 100, 130])
def test_channels_that_do_not_fill_the_vectors(channels: int) -> None:
    assert_matches(random_case(2, 40, channels, 16, reverse=channels % 2 == 0))


@pytest.mark.parametrize("states", [1, 2, 3, 5, 8, 15, 16, 17, 24, 31, 64])
def test_states(states: int) -> None:
    assert_matches(random_case(1, 70, 20, states, interval=30))


@pytest.mark.parametrize("name", kernel.instruction_sets())
def test_every_build(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All builds that this processor can run, not only the one that is chosen."""
    library, detail = kernel.load([name])
    assert library is not None, detail
    monkeypatch.setattr(kernel, "KERNEL", library)
    assert_matches(random_case(2, 70, 100, 16, interval=33, reverse=True))
    assert_matches(random_case(1, 40, 21, 5))


@pytest.mark.parametrize("name", kernel.instruction_sets())
def test_exponential(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state set to one and let decay for a token is exp(delta A): within 2e-7 of the true one,
    and what one rounding of the exponent, 2^-23 of it, makes of that."""
    monkeypatch.setattr(kernel, "KERNEL", kernel.load([name])[0])
    exponents = torch.linspace(-65, 0, 200_000)  # further down, parts are flushed to zero
    zero, one = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    decayed = selective_scan(
        zero.expand(1, 1, len(exponents)),
        -exponents[None, None],
        -torch.ones(len(exponents), 1),
        zero,
        one,
        csi=torch.ones(1),
        backend="native",
    )
    true = exponents.double().exp()
    error = ((decayed[0, 0].double() - true) / true).abs()
    assert float((error - 2.0**-23 * exponents.double().abs()).max()) < 2e-7


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("interval", [1, 7, 64, 2048, None])
def test_csi_intervals(interval: int | None, reverse: bool) -> None:
    assert_matches(random_case(3, 150, 18, 16, interval=interval, reverse=reverse))


def test_without_csi_skip_bias_and_softplus() -> None:
    case = random_case(2, 50, 20, 8, csi=False)
    plain = case.scan._replace(delta=case.scan.delta.exp(), D=None, delta_bias=None)
    assert_matches(replace(case, scan=plain, softplus=False))


def test_states_that_live_for_5000_tokens() -> None:
    assert_matches(decaying_case(-1e-6, length=5000))


@pytest.mark.parametrize("decay", [-1e-3, -0.02, -0.7, -5, -50, 1e-3])
def test_decay(decay: float) -> None:
    """To states that die at once, and one that grows."""
    assert_matches(decaying_case(decay, length=300))


def test_far_softplus() -> None:
    """softplus(x) where it is x and where it is exp(x)."""
    case = random_case(1, 60, 16, 4)
    wide = case.scan._replace(delta=torch.linspace(-30, 30, 60).double()[None, :, None] + case.u)
    assert_matches(replace(case, scan=wide))


def test_inputs_may_be_views() -> None:
    """Channels not last in memory, B and C cut from one projection, every second token."""
    case = random_case(2, 48, 24, 16, interval=5).cast(torch.float32)
    wanted = native(case)
    u = case.u.detach().transpose(1, 2).contiguous().transpose(1, 2)
    both = torch.cat((case.scan.B, case.scan.C), dim=-1).detach()
    delta = torch.stack((case.scan.delta, case.scan.delta), dim=2).detach()[:, :, 1]
    views = case.scan._replace(delta=delta, B=both[..., :16], C=both[..., 16:])
    assert not u.is_contiguous()
    assert not delta.is_contiguous()
    assert torch.equal(native(replace(case, u=u, scan=views)), wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [70, 640])
def test_two_directions_are_two_scans(dtype: torch.dtype, channels: int) -> None:
    ahead = random_case(2, 45, channels, 16, seed=1, interval=10).cast(dtype)
    back = random_case(2, 45, channels, 16, seed=2, interval=10).cast(dtype)
    u, csi = ahead.u, ahead.csi
    both = selective_scan_bidirectional(
        u, ahead.scan, back.scan, True, csi=csi, csi_interval=10, backend="native"
    )
    reversed_case = replace(back, u=u, csi=csi, reverse=True)
    apart = native(ahead).float() + native(reversed_case).float()
    tolerance = 1e-6 if dtype == torch.float32 else 2**-7
    assert both.dtype == dtype
    assert relative_error(both, apart) < tolerance
    leaves = [u, *ahead.scan, *back.scan]
    for one, other in zip(
        torch.autograd.grad(both.float().square().sum(), leaves),
        torch.autograd.grad(apart.square().sum(), leaves),
        strict=True,
    ):
        assert one.dtype == dtype
        assert relative_error(one, other) < 4 * tolerance


def test_bfloat16_is_only_at_the_border() -> None:
    """As if the same values had been given in float32, and the results rounded once."""
    case = random_case(2, 100, 40, 16, interval=9)
    half = case.cast(torch.bfloat16)
    single = replace(half, scan=ScanParameters(*(t.detach().float() for t in half.scan)))
    single = replace(single, u=half.u.detach().float()).cast(torch.float32)
    y, wanted = native(half), native(single)
    assert torch.equal(y, wanted.to(torch.bfloat16))
    weights = torch.ones_like(y)
    gradients = torch.autograd.grad(y, half.tensors(), weights)
    exact = torch.autograd.grad(wanted, single.tensors(), weights.float())
    for ours, theirs in zip(gradients, exact, strict=True):
        assert torch.equal(ours, theirs.to(torch.bfloat16))


def test_csi_keeps_its_precision_under_autocast() -> None:
    """12.3456 dB is no bfloat16 number: a rounded SNR would show."""
    case = random_case(1, 30, 16, 4).cast(torch.float32)
    case = replace(case, csi=torch.tensor([12.3456]))
    with torch.autocast("cpu", torch.bfloat16):
        y = native(case)
    assert torch.equal(y, native(case))


@pytest.mark.usefixtures("restored_threads")
@pytest.mark.parametrize(("batch", "channels"), [(1, 70), (1, 640), (3, 130), (5, 16)])
def test_the_same_bits_for_any_number_of_threads(batch: int, channels: int) -> None:
    case = random_case(batch, 80, channels, 16, interval=25).cast(torch.float32)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        y = native(case)
        results.append([y, *torch.autograd.grad(y.square().sum(), case.tensors())])
    for one, two, three in zip(*results, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


def test_nothing_flows_through_an_overwritten_state() -> None:
    """With N = 1 and a restart at every second token, tokens 0, 1 and 2, 3 do not meet."""
    case = random_case(1, 4, 16, 1, interval=2).cast(torch.float32)
    (gradient,) = torch.autograd.grad(native(case)[:, 2:].sum(), [case.u])
    assert torch.equal(gradient[:, :2], torch.zeros_like(gradient[:, :2]))
    assert bool((gradient[:, 2:] != 0).all())


def test_compiles_as_one_graph() -> None:
    ahead = random_case(1, 20, 16, 4, seed=1).cast(torch.float32)
    back = random_case(1, 20, 16, 4, seed=2).cast(torch.float32)

    def scan(u: Tensor, csi: Tensor) -> Tensor:
        return selective_scan_bidirectional(
            u.sin(), ahead.scan, back.scan, True, csi=csi, csi_interval=3
        )

    compiled = torch.compile(scan, fullgraph=True, backend="aot_eager")
    assert ahead.csi is not None
    y, wanted = compiled(ahead.u, ahead.csi), scan(ahead.u, ahead.csi)
    assert torch.equal(y, wanted)
    assert torch.equal(
        torch.autograd.grad(y.sum(), ahead.u)[0], torch.autograd.grad(wanted.sum(), ahead.u)[0]
    )


@pytest.mark.slow
def test_code_is_generated_around_it() -> None:
    """One graph each way, whose generated code calls the operator and gives the same."""
    case = random_case(1, 20, 16, 4, seed=1).cast(torch.float32)

    def scan(u: Tensor) -> Tensor:
        return selective_scan(u.sin(), *case.scan, delta_softplus=True, backend="native").exp()

    def both(function: Callable[[Tensor], Tensor]) -> Tensor:
        return torch.autograd.grad(function(case.u).sum(), case.u)[0]

    gradient, code = run_and_get_code(both, torch.compile(scan, fullgraph=True))
    torch.testing.assert_close(gradient, both(scan))
    for name in ("selective_scan.default", "selective_scan_backward.default"):
        assert sum(f"torch.ops.linksim.{name}(" in text for text in code) == 1


def test_operators_keep_their_promises() -> None:
    """torch's own checks of schema, fake implementation and autograd registration."""
    case = random_case(1, 10, 5, 3).cast(torch.float32)
    lists = [[t.detach().requires_grad_()] for t in case.scan if t is not None]
    csi = torch.tensor([7.0])
    torch.library.opcheck(
        torch.ops.linksim.selective_scan.default,
        (case.u, *lists, csi, True, 4, [False], True, "native"),
    )


def test_floating_point_operations_are_counted() -> None:
    """Three multiply-accumulates a token, channel and state; twice that going back."""
    case = random_case(2, 30, 7, 5).cast(torch.float32)
    with FlopCounterMode(display=False) as counter:
        native(case).sum().backward()
    assert counter.get_total_flops() == 3 * (2 * 3 * 2 * 30 * 7 * 5)


@pytest.mark.parametrize("name", ["u", "delta", "A", "B", "C", "D", "delta_bias", "csi"])
def test_non_finite_input_is_named(name: str) -> None:
    case = random_case(1, 40, 20, 4).cast(torch.float32)
    if name == "u":
        broken = replace(case, u=_with_nan(case.u))
    elif name == "csi":
        assert case.csi is not None
        broken = replace(case, csi=_with_nan(case.csi))
    else:
        tensor = _with_nan(getattr(case.scan, name))
        broken = replace(case, scan=case.scan._replace(**{name: tensor}))
    with pytest.raises(InputError, match=f"selective_scan: {name} holds non-finite values"):
        native(broken)


def _with_nan(tensor: Tensor) -> Tensor:
    broken = tensor.detach().clone()
    broken.view(-1)[-1] = float("nan")
    return broken


def test_memory_is_given_back() -> None:
    """Fifty calls, forward and backward, of more than 2 MB each."""
    case = random_case(1, 2000, 64, 16).cast(torch.float32)

    def step() -> int:
        native(case).sum().backward()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = max(step() for _ in range(10))
    after = max(step() for _ in range(50))
    assert after - before < 10_000  # kB
