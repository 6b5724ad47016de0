"""The Triton kernels against the float64 recurrence written out in recurrence.py.

On a GPU where there is one, else in Triton's interpreter, which takes milliseconds for a token and
state: sequences are short here, and so are pieces (2 tokens) and chunks (2 pieces). The sizes that
are used, and a full grid, are in test_triton_sizes.py.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from linksim.errors import InputError
from linksim.selective_scan import backend as backend_module
from linksim.selective_scan import backends, selective_scan_bidirectional, triton
from linksim.selective_scan.backend import choose_backend
from tests.helpers.on_triton import (
    INTERPRETED,
    TOLERANCE,
    assert_matches,
    device,
    errors,
    on_device,
    patch_language_once,
)
from tests.helpers.recurrence import Case, decaying_case, random_case, recurrence, relative_error

MISSING = triton.why_unavailable()
needs_triton = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))


@pytest.fixture
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "BLOCK_T", 2)
    if INTERPRETED:
        patch_language_once(monkeypatch)


pytestmark = [needs_triton, pytest.mark.usefixtures("short_pieces")]


@pytest.mark.parametrize(("length", "reverse"), [(1, False), (3, True), (4, False), (9, True)])
def test_lengths(length: int, reverse: bool) -> None:
    assert_matches(random_case(2, length, 5, 2, interval=6, reverse=reverse))


@pytest.mark.parametrize("channels", [1, 64, 67])
def test_channels_that_do_not_fill_the_warps(channels: int) -> None:
    assert_matches(random_case(1, 5, channels, 2, reverse=channels == 64))


@pytest.mark.parametrize("states", [1, 5])
def test_states(states: int) -> None:
    assert_matches(random_case(1, 5, 6, states, interval=3))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("interval", [1, 4, 5, None])
def test_csi_intervals(interval: int | None, start: bool, reverse: bool) -> None:
    """Restarts at every token, at the first ones of chunks, within chunks, and at the very first.

    The length is no multiple of the chunk's: walking back, restarts fall elsewhere.
    """
    case = random_case(1, 9, 3, 2, interval=interval, reverse=reverse, csi_start=start)
    assert_matches(case)


def test_without_csi_skip_bias_and_softplus() -> None:
    case = random_case(2, 6, 7, 2, csi=False)
    plain = case.scan._replace(delta=case.scan.delta.exp(), D=None, delta_bias=None)
    assert_matches(replace(case, scan=plain, softplus=False))


def test_more_chunks_than_are_carried_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """35 tokens in chunks of 2: 18, of which 16 are fetched together."""
    monkeypatch.setattr(triton, "pieces_of_a_chunk", lambda *_: 1)
    assert_matches(random_case(1, 35, 2, 1, interval=20, reverse=True))


def test_chunks_of_more_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "pieces_of_a_chunk", lambda *_: 4)
    assert_matches(random_case(1, 11, 3, 2, interval=7, reverse=True))


def test_states_that_live_long() -> None:
    assert_matches(decaying_case(-1e-6, length=40))


@pytest.mark.parametrize("decay", [-0.02, -5, -50, 1e-3])
def test_decay(decay: float) -> None:
    """To states that die at once, and one that grows."""
    assert_matches(decaying_case(decay, length=9))


def test_far_softplus() -> None:
    """softplus(x) where it is x and where it is exp(x)."""
    case = random_case(1, 16, 4, 1)
    wide = case.scan._replace(delta=torch.linspace(-30, 30, 16).double()[None, :, None] + case.u)
    assert_matches(replace(case, scan=wide))


def both_directions(dtype: torch.dtype, length: int = 7) -> tuple[Case, Case]:
    ahead = random_case(2, length, 5, 2, seed=1, interval=5)
    back = random_case(2, length, 5, 2, seed=2, interval=5)
    return on_device(ahead, dtype), on_device(back, dtype)


def scan_both(ahead: Case, back: Case) -> Tensor:
    return selective_scan_bidirectional(
        ahead.u, ahead.scan, back.scan, True, csi=ahead.csi, csi_interval=5, backend="triton"
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_two_directions_are_two_scans(dtype: torch.dtype) -> None:
    ahead, back = both_directions(dtype)
    both = scan_both(ahead, back)
    exact = replace(ahead, csi=None).cast(torch.float64)
    exact = replace(exact, csi=ahead.csi)
    other = replace(back.cast(torch.float64), u=exact.u, csi=ahead.csi, reverse=True)
    apart = recurrence(exact) + recurrence(other)
    # Half precision rounds by 2^-9 and 2^-12 on a GPU; the interpreter cuts bfloat16 off, by 2^-8.
    tolerance = {torch.float32: TOLERANCE, torch.bfloat16: 2.0**-7, torch.float16: 2.0**-10}[dtype]
    assert both.dtype == dtype
    assert relative_error(both, apart) < tolerance
    weights = torch.randn(apart.shape, generator=torch.Generator().manual_seed(1))
    weights = weights.to(device(), dtype)
    ours = torch.autograd.grad(both, [ahead.u, *ahead.scan, *back.scan], weights)
    theirs = torch.autograd.grad(apart, [exact.u, *exact.scan, *other.scan], weights.double())
    for one, two in zip(ours, theirs, strict=True):
        assert one.dtype == dtype
        assert relative_error(one, two) < tolerance


def test_half_precision_is_only_at_the_border() -> None:
    """As if the same values had been given in float32, and each result rounded (or cut) once."""
    ahead, back = both_directions(torch.bfloat16)
    singles = [on_device(case, torch.float32) for case in (ahead, back)]
    half, single = scan_both(ahead, back).float(), scan_both(*singles)
    assert bool(((half - single).abs() <= 2.0**-7 * single.abs()).all())


def test_csi_keeps_its_precision_under_autocast() -> None:
    """12.3456 dB is no bfloat16 number: a rounded SNR would show."""
    case = on_device(random_case(1, 4, 4, 1))
    case = replace(case, csi=torch.tensor([12.3456], device=device()))
    with torch.autocast(device().type, torch.bfloat16):
        y = case.run("triton")
    assert torch.equal(y, case.run("triton"))


def test_inputs_may_be_views() -> None:
    """Channels not last in memory, B and C cut from one projection, every second token."""
    case = on_device(random_case(2, 5, 6, 3, interval=5))
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


@pytest.mark.skipif(not INTERPRETED, reason="a compiled kernel keeps its constants")
@pytest.mark.parametrize(("constant", "value"), [("LOG2_E", 1.4430), ("LN_2", 0.69316)])
def test_a_fault_in_one_constant_is_seen(
    constant: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its fourth or fifth digit; the case itself passes."""
    kernels = pytest.importorskip("linksim.selective_scan.triton_kernels")
    case = random_case(1, 5, 4, 2, interval=5)
    assert_matches(case)
    monkeypatch.setattr(kernels, constant, value)
    assert max(errors(case)) > TOLERANCE


# --------------------------------------------------------------------------------------------------
# The operator.


def test_floating_point_operations_are_counted() -> None:
    """Three multiply-accumulates a token, channel and state; twice that going back."""
    case = on_device(random_case(2, 3, 3, 2))
    with FlopCounterMode(display=False) as counter:
        case.run("triton").sum().backward()
    assert counter.get_total_flops() == 3 * (2 * 3 * 2 * 3 * 3 * 2)


def test_operator_keeps_its_promises() -> None:
    """torch's own checks of schema, fake implementation and autograd registration."""
    case = on_device(random_case(1, 3, 3, 1))
    lists = [[t.detach().requires_grad_()] for t in case.scan if t is not None]
    csi = torch.tensor([7.0], device=device())
    torch.library.opcheck(
        torch.ops.linksim.selective_scan.default,
        (case.u, *lists, csi, True, 4, [False], True, "triton"),
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
    )


def test_compiles_as_one_graph() -> None:
    ahead, back = both_directions(torch.float32, length=3)

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


# --------------------------------------------------------------------------------------------------
# Which backend a call takes, and what it cannot.


@pytest.mark.parametrize(
    ("u", "states", "message"),
    [
        (torch.zeros(1, 2, 3, dtype=torch.float64), 4, r"u is torch.float64 on cpu; the triton"),
        (torch.zeros(1, 2, 3, device="meta"), 4, r"u is torch.float32 on meta; the triton"),
        (torch.zeros(1, 2, 3), 300, "A has 300 states a channel; the triton backend takes up to"),
    ],
)
def test_what_it_does_not_take_is_one_line(u: Tensor, states: int, message: str) -> None:
    if u.device.type == "cpu":
        u = u.to(device())
    with pytest.raises(InputError, match=message.replace("cpu", device().type)) as error:
        choose_backend(u, states, "triton")
    assert "\n" not in str(error.value)


def test_without_triton_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "MISSING", "triton is not installed; get it")
    with pytest.raises(
        InputError, match="triton backend is not available: triton is not installed"
    ):
        choose_backend(torch.zeros(1, 2, 3), 4, "triton")
    assert backends()["triton"] == "not available: triton is not installed; get it"


class _OnCuda:
    """As much of a CUDA tensor as the choice of a backend looks at."""

    device = torch.device("cuda")
    dtype = torch.bfloat16


@pytest.mark.parametrize(
    ("triton_missing", "mamba_missing", "chosen"),
    [(None, None, "triton"), ("no", None, "cuda"), (None, "no", "triton"), ("no", "no", None)],
)
def test_on_a_gpu_it_comes_first(
    triton_missing: str | None,
    mamba_missing: str | None,
    chosen: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(triton, "MISSING", triton_missing)
    monkeypatch.setattr(triton, "DEVICE", "cuda")
    monkeypatch.setattr(backend_module.cuda, "why_unavailable", lambda: mamba_missing)
    u: Tensor = _OnCuda()  # type: ignore[assignment]
    if chosen is not None:
        assert choose_backend(u, 16, None) == chosen
    else:
        with pytest.warns(RuntimeWarning, match="slow reference backend, because the triton one"):
            assert choose_backend(u, 16, None) == "reference"
