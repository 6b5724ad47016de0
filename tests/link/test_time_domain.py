"""OFDM in the time domain against the frequency domain and closed forms of the interference."""

from typing import Any

import pytest
import torch
from torch import Tensor

from linksim.codec import Frame
from linksim.link.link import Link
from linksim.link.ofdm import Ofdm, interference_of


def ofdm(**changes: Any) -> Ofdm:
    settings = {
        "model": "TDL-A",
        "delay_spread_ns": 50,
        "subcarriers": 96,
        "symbols_per_slot": 4,
        "domain": "time",
    }
    return Ofdm.model_validate({**settings, **changes})


def symbols_of(batch: int, n: int) -> Tensor:
    """Random QPSK, complex64 [batch, n], of unit power."""
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(2, (batch, n, 2), generator=generator) * 2 - 1
    return torch.view_as_complex(signs * 0.5**0.5)


def test_a_quiet_channel_is_that_of_the_frequency_domain() -> None:
    """The same fading from the same seed, and little interference: what a sinc's tails bring."""
    in_time, in_frequency = ofdm(), ofdm(domain="frequency")
    assert in_time.fading_name == in_frequency.fading_name
    assert in_time.name != in_frequency.name
    n = in_time.data_per_slot
    x = symbols_of(4, n)
    draws = [channel.draw(range(4), n) for channel in (in_time, in_frequency)]
    assert torch.equal(draws[0].noise, draws[1].noise)
    inner = (draws[0].h - draws[1].h)[..., 12:-12]  # at the edges a sinc's tails are cut off
    assert float(inner.abs().square().mean()) < 2e-3
    assert interference_of(in_time) < 2e-3
    snr_db = torch.full((4,), 10.0)
    errors = [
        Link(channel).transmit(Frame.analog(x), snr_db=snr_db, realisation=draw)[0].symbols - x
        for channel, draw in zip((in_time, in_frequency), draws, strict=True)
    ]
    powers = [float(error.abs().square().mean()) for error in errors]
    assert powers[0] == pytest.approx(powers[1], rel=0.05)


def test_interference_of_a_fast_channel_is_what_is_known_of_it() -> None:
    """(2 pi f_d T)^2 / 24 for Jakes' spectrum (Y. Li and L. J. Cimini, Bounds on the Interchannel
    Interference of OFDM in Time-Varying Impairments, IEEE Trans. Commun., 2001): -17.8 dB at a
    tenth of the subcarrier spacing, and below -31 dB where the frequency domain is allowed."""
    for share, tolerance in ((0.1, 0.12), (0.05, 0.12)):
        speed_mps = share * 30e3 / 3.5e9 * 299_792_458
        fast = ofdm(delay_spread_ns=0, speed_mps=speed_mps)
        expected = (2 * torch.pi * share) ** 2 / 24
        assert interference_of(fast) == pytest.approx(expected, rel=tolerance)
    assert (2 * torch.pi * 0.02) ** 2 / 24 < 10**-3.1


def test_interference_of_a_long_delay_is_what_reaches_into_the_next_symbol() -> None:
    """A path that is later than the prefix by a share e of a symbol keeps (1 - e)^2 of its power;
    2e - e^2 of it is interference. Summed over the paths of TDL-A without a prefix, received six
    samples early."""
    from linksim.link.profiles import sionna_model

    channel = ofdm(delay_spread_ns=300, cyclic_prefix_us=0, subcarriers=288)
    model = sionna_model("TDL-A", 300.0, 3.5, 0.0, "cpu")
    late = (model.delays * 288 * 30e3 + 6) / 288
    powers = model.mean_powers
    expected = float((powers * (2 * late - late**2)).sum())
    assert expected > 0.02
    assert interference_of(channel) == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("estimation", ["perfect", "lmmse"])
def test_what_arrives_is_gain_times_symbol_and_announced_noise(estimation: str) -> None:
    channel = ofdm(
        speed_mps=250,
        delay_spread_ns=400,
        pilots={"symbols": [0, 2], "spacing": 2},
        estimation=estimation,
    )
    n = channel.data_per_slot
    draw = channel.draw_batch(5, 60, n)
    x, used = symbols_of(60, n), torch.full((60,), n)
    arrival = draw.send(x, used, torch.full((60,), 0.01))
    error = (arrival.y - arrival.h * x).abs().square()
    assert float(error.mean() / arrival.no.mean()) == pytest.approx(1, abs=0.25)
    assert float(arrival.no.mean()) > 0.02  # more than the noise


def test_images_do_not_depend_on_their_batch_and_gradients_pass() -> None:
    channel = ofdm(speed_mps=100, delay_spread_ns=400)
    n = 2 * channel.data_per_slot
    x = symbols_of(3, n).requires_grad_()
    together, alone = channel.draw([1, 2, 3], n), channel.draw([2], n)
    snr_db = torch.full((3,), 5.0)
    received, _ = Link(channel).transmit(Frame.analog(x), snr_db=snr_db, realisation=together)
    by_itself, _ = Link(channel).transmit(
        Frame.analog(x[1:2]), snr_db=snr_db[:1], realisation=alone
    )
    assert torch.equal(received.symbols[1:2], by_itself.symbols)
    received.symbols.abs().square().sum().backward()
    assert x.grad is not None
    assert torch.isfinite(torch.view_as_real(x.grad)).all()
    short, in_rounds = (
        Link(channel).transmit(
            Frame(symbols=x[1:2, : rounds[-1]], used=torch.tensor(rounds[-1:]), rounds=rounds),
            snr_db=snr_db[:1],
            realisation=alone,
        )[0]
        for rounds in ((n // 2,), (n // 2, n))
    )
    assert torch.equal(short.gain, in_rounds.gain[:, : n // 2])
