"""Channel estimates against closed forms, TR 38.901's covariances and Sionna's estimators."""

from typing import Any

import pytest
import torch
from torch import Tensor

from linksim.link.estimation import Covariance, LeastSquares, LmmseEstimator, LsEstimator, Moments
from linksim.link.ofdm import Ofdm, moments_of_ls, robust_covariance
from linksim.link.pilots import PilotGrid, PilotPattern

PLACE = {"precision": "single", "device": "cpu"}
FAST = {"model": "TDL-C", "delay_spread_ns": 250, "speed_mps": 50}


def ofdm(**changes: Any) -> Ofdm:
    settings = {"subcarriers": 48, "pilots": {"symbols": [2, 11], "spacing": 4}, **FAST}
    return Ofdm.model_validate({**settings, **changes})


def pilot_grid(channel: Ofdm) -> PilotGrid:
    assert channel.pilots is not None
    return PilotGrid(
        channel.pilots,
        symbols=channel.symbols_per_slot,
        subcarriers=channel.subcarriers,
        device="cpu",
    )


def sionnas_grid(pilots: PilotGrid) -> Any:
    """The same slot, 14 symbols of 48 subcarriers, as Sionna has it."""
    from sionna.phy.ofdm import PilotPattern as SionnasPattern
    from sionna.phy.ofdm import ResourceGrid

    mask = torch.zeros(14 * 48, dtype=torch.bool)
    mask[pilots.places] = True
    pattern = SionnasPattern(
        mask.reshape(1, 1, 14, 48).numpy(), pilots.values.reshape(1, 1, -1).numpy(), **PLACE
    )
    return ResourceGrid(14, 48, 30e3, pilot_pattern=pattern, **PLACE)


def draws_of(channel: Ofdm, slots: int, no: float, seed: int = 3) -> tuple[Tensor, Tensor]:
    """Independent slots and what is received of their pilots, complex64 [slots, 1, S, F]."""
    h = channel.draw_batch(seed, slots, 1).h
    pilots = pilot_grid(channel)
    sent = torch.zeros(h.shape[-2:].numel(), dtype=torch.complex64)
    sent[pilots.places] = pilots.values
    noise = torch.randn(h.shape, dtype=h.dtype, generator=torch.Generator().manual_seed(1))
    return h, h * sent.reshape(h.shape[-2:]) + noise * no**0.5


def variance(no: float) -> Tensor:
    return torch.full((1, 1, 1, 1), no)


def covariance_of(channel: Ofdm) -> Covariance:
    covariance = channel.covariance()
    assert covariance is not None
    return covariance


def full_covariance(channel: Ofdm) -> Tensor:
    """E[h h^H] of a slot laid out symbol by symbol, from Sionna's covariances."""
    covariance = covariance_of(channel)
    return torch.kron(covariance.time, covariance.frequency)


@pytest.mark.parametrize("symbols", [[2], [2, 11], [2, 5, 8, 11]])
def test_error_of_ls_falls_by_the_pilots_that_are_averaged(symbols: list[int]) -> None:
    """At pilots no/R with R symbols (van de Beek et al., 1995), half of it halfway between two, and
    beyond the outermost that of the outermost: nothing is extrapolated."""
    channel = ofdm(
        delay_spread_ns=0, speed_mps=0, pilots={"symbols": symbols, "spacing": 2}, subcarriers=47
    )
    pilots, no = pilot_grid(channel), 0.2
    ls = LeastSquares(pilots, over_time="average")
    h, y = draws_of(channel, 4000, no)
    error = (ls(pilots.received(y)) - h).abs().square().mean((0, 1))
    torch.testing.assert_close(error, no * ls.noise_gain, rtol=0.12, atol=0)
    at_pilot = no / len(symbols)
    for symbol in (0, 7, 13):
        assert float(error[symbol, 10]) == pytest.approx(at_pilot, rel=0.1)
        assert float(error[symbol, 11]) == pytest.approx(at_pilot / 2, rel=0.1)
    sparse = PilotGrid(
        PilotPattern(symbols=(2,), spacing=8), symbols=14, subcarriers=48, device="cpu"
    )
    assert float(LeastSquares(sparse, over_time="linear").noise_gain.max()) <= 1


@pytest.mark.parametrize("over_time", ["average", "linear"])
def test_ls_is_sionnas_between_the_outer_pilots(over_time: str) -> None:
    from sionna.phy.ofdm import LSChannelEstimator

    pilots = pilot_grid(ofdm())
    grid = sionnas_grid(pilots)
    kind = {"average": "lin_time_avg", "linear": "lin"}[over_time]
    y = torch.randn(5, 14, 48, dtype=torch.complex64)
    theirs, _ = LSChannelEstimator(grid, kind, **PLACE)(y[:, None, None], torch.tensor(0.1))
    ours = LeastSquares(pilots, over_time=over_time)(pilots.received(y))
    inside = slice(pilots.columns[0], pilots.columns[-1] + 1)
    rows = slice(2, 12) if over_time == "linear" else slice(None)
    torch.testing.assert_close(
        ours[:, rows, inside], theirs[:, 0, 0, 0, 0, rows, inside], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("over_time", ["average", "linear"])
def test_moments_of_ls_are_what_the_covariances_say(over_time: str) -> None:
    """E[h h_0*] = sum_i conj(w_i) r_i and E|h_0|^2 = w^H R w, R from Sionna's covariances."""
    channel = ofdm(
        pilots={"symbols": [2, 11], "spacing": 8}, ls_over_time=over_time, estimation="ls"
    )
    pilots = pilot_grid(channel)
    count = len(pilots.places)
    impulses = torch.eye(count, dtype=torch.complex64).reshape(count, 2, -1)
    weights = LeastSquares(pilots, over_time=over_time)(impulses).flatten(1).to(torch.complex128)
    covariance = full_covariance(channel)[:, pilots.places]
    cross = (covariance * weights.T.conj()).sum(1).reshape(14, 48)
    own = torch.einsum("pe,pq,qe->e", weights.conj(), covariance[pilots.places], weights).real
    measured = moments_of_ls(channel)
    assert float((1 - 2 * cross.real + own.reshape(14, 48)).max()) > 0.08  # it does change
    torch.testing.assert_close(measured.cross, cross.to(torch.complex64), rtol=0, atol=0.05)
    torch.testing.assert_close(measured.own, own.reshape(14, 48).float(), rtol=0, atol=0.1)


def test_ls_gives_the_mean_of_the_channel_given_the_estimate() -> None:
    """What is left is as large as announced and has nothing to do with the estimate."""
    channel, no = ofdm(estimation="ls"), 0.3
    ls = LsEstimator(pilot_grid(channel), moments_of_ls(channel), over_time="average")
    h, y = draws_of(channel, 4000, no)
    h_hat, error = ls(y, variance(no), 1.0)
    left = h - h_hat
    assert float(left.abs().square().mean() / error.mean()) == pytest.approx(1, abs=0.05)
    assert float((left * h_hat.conj()).mean((0, 1)).abs().max()) < 0.05
    assert float(h_hat.abs().square().mean()) == pytest.approx(1 - float(error.mean()), abs=0.03)


def test_moments_of_a_scaled_channel() -> None:
    h = torch.randn(1000, 2, 3, dtype=torch.complex64)
    moments = Moments.of(2 * h, 2j * h)
    torch.testing.assert_close(moments.own, torch.ones(2, 3))
    torch.testing.assert_close(moments.cross, torch.full((2, 3), -1j, dtype=torch.complex64))


@pytest.mark.parametrize("no", [1.0, 0.05, 1e-4])
def test_lmmse_is_its_closed_form(no: float) -> None:
    """W = R_hp (R_pp + no I)^-1 and diag(R - W R_ph), with all of a slot's covariance at once."""
    channel = ofdm(pilots={"symbols": [2, 11], "spacing": 3})
    pilots = pilot_grid(channel)
    h, y = draws_of(channel, 500, no)
    h_hat, error = LmmseEstimator(pilots, covariance_of(channel))(y, variance(no), 1.0)
    whole = full_covariance(channel)
    to_pilots = whole[:, pilots.places]
    noisy = to_pilots[pilots.places] + no * torch.eye(len(pilots.places))
    weights = torch.linalg.solve(noisy, to_pilots, left=False)
    at_pilots = pilots.received(y).flatten(2).to(torch.complex128)
    expected = torch.einsum("ep,bnp->bne", weights, at_pilots).reshape(h.shape)
    left = (torch.diagonal(whole) - (weights * to_pilots.conj()).sum(1)).real.reshape(14, 48)
    torch.testing.assert_close(h_hat, expected.to(torch.complex64), rtol=0, atol=2e-3)
    torch.testing.assert_close(error[0, 0], left.float(), rtol=0.01, atol=2e-5)
    measured = (h - h_hat).abs().square().mean()
    assert float(measured / error.mean()) == pytest.approx(1, abs=0.1)


def test_lmmse_takes_the_variance_of_each_image_and_the_amplifiers_gain() -> None:
    channel = ofdm()
    lmmse = LmmseEstimator(pilot_grid(channel), covariance_of(channel))
    _, y = draws_of(channel, 2, 0.1)
    both = lmmse(y, torch.tensor([0.1, 0.4]).reshape(2, 1, 1, 1), 1.0)
    for image, no in enumerate((0.1, 0.4)):
        alone = lmmse(y[image : image + 1], variance(no), 1.0)
        for ours, theirs in zip(both, alone, strict=True):
            assert torch.equal(ours[image : image + 1], theirs)
    half, quarter = lmmse(0.5 * y, variance(0.1 / 4), 0.5), lmmse(y, variance(0.1), 1.0)
    torch.testing.assert_close(half[0], 0.5 * quarter[0])
    torch.testing.assert_close(half[1], 0.25 * quarter[1])


@pytest.mark.parametrize("no", [0.5, 0.02])
def test_lmmse_is_no_worse_than_sionnas(no: float) -> None:
    """Sionna's filters frequency and time one after the other and takes the first one's errors for
    independent, which costs a little."""
    from sionna.phy.ofdm import LMMSEChannelEstimator

    channel = ofdm()
    pilots, covariance = pilot_grid(channel), covariance_of(channel)
    grid = sionnas_grid(pilots)
    theirs = LMMSEChannelEstimator(
        grid,
        covariance.time.to(torch.complex64),
        covariance.frequency.to(torch.complex64),
        order="f-t",
        **PLACE,
    )
    h, y = draws_of(channel, 400, no)
    ours, _ = LmmseEstimator(pilots, covariance)(y, variance(no), 1.0)
    found = theirs(y[:, None], torch.tensor(no))[0][:, 0, 0, 0, 0]
    error, their_error = ((h[:, 0] - e).abs().square().mean() for e in (ours[:, 0], found))
    assert 0.8 < float(error / their_error) < 1.005
    assert float((ours[:, 0] - found).abs().square().mean()) < 0.3 * float(error)


@pytest.mark.parametrize("model", ["TDL-A", "TDL-B", "TDL-C", "CDL-C"])
@pytest.mark.parametrize(("speed_mps", "most"), [(3, 1.1), (50, 1.25)])
def test_robust_lmmse_errs_about_as_it_announces(model: str, speed_mps: int, most: float) -> None:
    """Whatever the profile, as long as its delays and shifts are within the limits: Li et al.,
    1998, section III, for spectra that fill the slot. Near the largest shift a slot is too short
    for that. And less than LS."""
    channel, no = ofdm(model=model, delay_spread_ns=150, speed_mps=speed_mps), 0.1
    pilots = pilot_grid(channel)
    h, y = draws_of(channel, 1000, no)
    h_hat, error = LmmseEstimator(pilots, robust_covariance(channel))(y, variance(no), 1.0)
    measured = float((h - h_hat).abs().square().mean())
    assert measured < most * float(error.mean())
    ls = LeastSquares(pilots, over_time="linear")(pilots.received(y))
    assert measured < 0.8 * float((h - ls).abs().square().mean())


def test_robust_covariance_has_the_spectra_it_was_made_of() -> None:
    """Of delays up to a fifth of a symbol and shifts up to a tenth of its rate, spread evenly."""
    covariance = Covariance.robust(20, 40, longest_delay=0.2, largest_doppler=0.1)
    generator = torch.Generator().manual_seed(0)
    delays = 0.2 * torch.rand(200_000, 1, generator=generator, dtype=torch.float64)
    shifts = 0.1 * (2 * torch.rand(200_000, 1, generator=generator, dtype=torch.float64) - 1)
    over_frequency = torch.exp(-2j * torch.pi * delays * torch.arange(40)).mean(0)
    over_time = torch.exp(2j * torch.pi * shifts * torch.arange(20)).mean(0)
    torch.testing.assert_close(covariance.frequency[:, 0], over_frequency, rtol=0, atol=0.01)
    torch.testing.assert_close(covariance.time[:, 0], over_time, rtol=0, atol=0.01)
    for matrix in (covariance.time, covariance.frequency):
        torch.testing.assert_close(matrix, matrix.mH)
        assert float(torch.linalg.eigvalsh(matrix).min()) > -1e-9


# --- what it does for a code ---------------------------------------------------------------------

FRAMES = 300


@pytest.mark.slow
def test_block_errors_with_lmmse_are_near_those_of_perfect_knowledge() -> None:
    """TDL-C, QPSK 1/2 at 7 dB, two slots of 288 subcarriers: over the same fading and noise."""
    from baselines.digital.ldpc import transport_chain
    from baselines.digital.mcs import fixed_mcs
    from linksim.codec import Frame
    from linksim.link.link import Link

    def block_error_rate(estimation: str) -> float:
        channel = ofdm(
            speed_mps=3,
            subcarriers=288,
            pilots={"symbols": [2, 11], "spacing": 2},
            estimation=estimation,
        )
        length = channel.data_symbols(2 * channel.uses_per_slot)
        plan = fixed_mcs({"modulation": "qpsk", "rate": 0.5}).plan(length)
        chain = transport_chain(plan, iterations=50, device="cpu")
        failed = 0
        for seed in range(FRAMES // 50):
            generator = torch.Generator().manual_seed(seed)
            payload = torch.randint(0, 2, (50, plan.payload_bits), generator=generator)
            draw = channel.draw_batch(seed, 50, length)
            received, _ = Link(channel).transmit(
                Frame.analog(chain.encode(payload)),
                snr_db=torch.full((50,), 7.0),
                realisation=draw,
            )
            _, passed = chain.decode(received.unbiased(), received.no_eff)
            failed += int((~passed).sum())
        return failed / FRAMES

    perfect, lmmse, robust, ls = map(block_error_rate, ("perfect", "lmmse", "lmmse_robust", "ls"))
    print(f"perfect {perfect}, LMMSE {lmmse}, robust {robust}, LS {ls}")
    assert perfect > 0.01
    assert lmmse < 1.5 * perfect
    assert lmmse <= robust < ls
