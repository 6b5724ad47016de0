"""The link against closed forms: power, SNR, bit error rates, MMSE, and what must not leak."""

import math
from dataclasses import replace

import pytest
import torch
from scipy.special import exp1
from torch import Tensor

from linksim.codec import Frame, Received
from linksim.errors import InputError
from linksim.link.equalizer import equalize
from linksim.link.flat import Awgn, FlatChannel, Rayleigh, Rician
from linksim.link.link import Link, LinkProbe, unit_power
from linksim.link.ofdm import Ofdm
from linksim.units import snr_db_to_no

N = 200_000


def q(x: float) -> float:
    """Tail of the normal distribution."""
    return 0.5 * math.erfc(x / math.sqrt(2))


def q_over_rayleigh(a: float, mean_snr: float) -> float:
    """Mean of Q(sqrt(a*snr)) over an exponential snr (Proakis, Digital Communications, 14.3)."""
    return 0.5 * (1 - math.sqrt(a * mean_snr / (2 + a * mean_snr)))


# Gray-mapped bit error rate as sum of weight * Q(sqrt(a * SNR)), SNR = Es/N0.
BER_TERMS = {2: [(1.0, 1.0)], 4: [(0.75, 0.2), (0.5, 9 * 0.2), (-0.25, 25 * 0.2)]}


def send(
    channel: FlatChannel,
    symbols: Tensor,
    snr_db: float,
    equalizer: str | None = None,
    seed: int = 1,
) -> Received:
    link = Link(channel, equalizer)  # type: ignore[arg-type]
    snr = torch.full((len(symbols),), snr_db)
    realisation = link.draw(range(seed, seed + len(symbols)), symbols.shape[1], symbols.device)
    return link.transmit(Frame.analog(symbols), snr_db=snr, realisation=realisation)[0]


def gaussian_symbols(batch: int, n: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.view_as_complex(torch.randn(batch, n, 2, generator=generator))


@pytest.mark.parametrize("bits_per_symbol", [2, 4])
@pytest.mark.parametrize(("channel", "snr_db"), [(Awgn(), 7.0), (Rayleigh(), 12.0)])
@pytest.mark.parametrize("equalizer", ["mmse", "zf"])
def test_uncoded_bit_error_rate(
    bits_per_symbol: int, channel: FlatChannel, snr_db: float, equalizer: str
) -> None:
    from sionna.phy.mapping import Demapper, Mapper

    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(2, (1, N * bits_per_symbol), generator=generator).float()
    symbols = Mapper("qam", bits_per_symbol)(bits)
    received = send(channel, symbols, snr_db, equalizer)
    demapper = Demapper("app", "qam", bits_per_symbol, hard_out=True)
    decided = demapper(received.unbiased(), received.no_eff)
    ber = float((decided != bits).float().mean())

    snr = 10 ** (snr_db / 10)
    over = q_over_rayleigh if isinstance(channel, Rayleigh) else lambda a, s: q(math.sqrt(a * s))
    expected = sum(weight * over(a, snr) for weight, a in BER_TERMS[bits_per_symbol])
    deviation = math.sqrt(expected / (N * bits_per_symbol))
    assert ber == pytest.approx(expected, abs=5 * deviation)


@pytest.mark.parametrize("channel", [Awgn(), Rayleigh(), Rayleigh(coherence=16), Rician(k_db=6)])
@pytest.mark.parametrize("snr_db", [-5.0, 3.0, 20.0])
def test_measured_snr_is_the_configured_one(channel: FlatChannel, snr_db: float) -> None:
    link = Link(channel, "zf")
    realisation = link.draw([3], N, torch.device("cpu"))
    symbols = unit_power(gaussian_symbols(1, N), torch.tensor([N]))
    clean = realisation.apply(symbols, torch.zeros(1))
    noisy = realisation.apply(symbols, torch.tensor([snr_db_to_no(snr_db)]))
    measured = 10 * torch.log10(clean.abs().square().mean() / (noisy - clean).abs().square().mean())
    assert float(measured) == pytest.approx(snr_db, abs=0.1)


@pytest.mark.parametrize("snr_db", [0.0, 10.0])
def test_mmse_error_over_rayleigh(snr_db: float) -> None:
    """E[no/(|h|^2 + no)] over Rayleigh is no*exp(no)*E1(no); zero forcing is worse."""
    symbols = gaussian_symbols(1, N)
    x = unit_power(symbols, torch.tensor([N]))
    received = send(Rayleigh(), symbols, snr_db)
    no = snr_db_to_no(snr_db)
    error = float((received.symbols - x).abs().square().mean())
    assert error == pytest.approx(no * math.exp(no) * exp1(no), rel=0.02)
    assert float((1 - received.gain).mean()) == pytest.approx(error, rel=0.02)
    zero_forced = send(Rayleigh(), symbols, snr_db, "zf")
    assert float((zero_forced.symbols - x).abs().square().mean()) > 1.5 * error


def test_sinr_after_mmse_is_what_no_eff_says() -> None:
    """With frame coherence every symbol has one SINR, |h|^2/no: measured against no_eff."""
    symbols = gaussian_symbols(4, 50_000)
    x = unit_power(symbols, torch.full((4,), 50_000))
    received = send(Rayleigh(coherence="frame"), symbols, 8.0)
    noise = (received.unbiased() - x).abs().square().mean(1)
    torch.testing.assert_close(noise, received.no_eff[:, 0], rtol=0.03, atol=0)


def test_mmse_is_sionnas_with_its_bias_put_back() -> None:
    from sionna.phy.mimo import lmmse_equalizer

    h, y = gaussian_symbols(1, 100, 1), gaussian_symbols(1, 100, 2)
    no = torch.tensor([0.3])
    ours = equalize(y, h, no, kind="mmse", used=torch.tensor([100]), side_info=None)
    cov = (0.3 * torch.eye(1)).to(torch.complex64).expand(1, 100, 1, 1)
    x_hat, no_eff = lmmse_equalizer(y[..., None], h[..., None, None], cov)
    torch.testing.assert_close(ours.unbiased(), x_hat[..., 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.no_eff, no_eff[..., 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.gain, 1 / (1 + ours.no_eff))


def test_realisation_applies_like_sionnas_flat_fading() -> None:
    from sionna.phy.channel import ApplyFlatFadingChannel

    realisation = Rayleigh().draw([5], 64)
    x = gaussian_symbols(1, 64)
    theirs = ApplyFlatFadingChannel()(x[0, :, None], realisation.h[0, :, None, None])
    torch.testing.assert_close(realisation.apply(x, torch.zeros(1)), theirs.T)


def test_rayleigh_gains_are_complex_gaussian() -> None:
    h = Rayleigh().draw([7], N).h[0]
    power = h.abs().square()
    assert float(power.mean()) == pytest.approx(1, abs=0.01)
    assert float(power.square().mean()) == pytest.approx(2, abs=0.05)  # exponential
    assert abs(complex(h.mean())) < 0.01
    assert abs(complex(h.square().mean())) < 0.01  # circular: a phase, not a positive gain


@pytest.mark.parametrize(("coherence", "blocks"), [("symbol", 60), (7, 9), ("frame", 1)])
def test_coherence(coherence: str | int, blocks: int) -> None:
    h = Rayleigh(coherence=coherence).draw([1], 60).h[0]  # type: ignore[arg-type]
    assert len(torch.view_as_real(h).unique(dim=0)) == blocks


def test_rician_is_as_strong_as_its_k_factor_says() -> None:
    h = Rician(k_db=10).draw([1], N).h
    assert float(h.mean().abs().square() / h.var(correction=0)) == pytest.approx(10, rel=0.05)
    assert float(h.abs().square().mean()) == pytest.approx(1, abs=0.01)


def test_unit_power_is_per_image_over_used_symbols() -> None:
    symbols = gaussian_symbols(3, 50) * torch.tensor([[0.01], [1.0], [100.0]])
    used = torch.tensor([50, 20, 1])
    sent = unit_power(symbols, used)
    for row, n in zip(sent, used.tolist(), strict=True):
        assert float(row[:n].abs().square().mean()) == pytest.approx(1, abs=1e-5)
        assert not row[n:].any()
    assert not unit_power(torch.zeros(1, 4, dtype=torch.complex64), torch.tensor([4])).any()


def test_scaling_a_frame_changes_nothing() -> None:
    symbols = gaussian_symbols(2, 100)
    a, b = (send(Rayleigh(), scale * symbols, 5) for scale in (1, 1024))
    torch.testing.assert_close(a.symbols, b.symbols, rtol=1e-6, atol=1e-6)


def test_other_images_change_nothing() -> None:
    symbols = gaussian_symbols(2, 100)
    other = torch.cat([symbols[:1], 50 * gaussian_symbols(1, 100, 9)])
    assert torch.equal(
        send(Rayleigh(), symbols, 5).symbols[0], send(Rayleigh(), other, 5).symbols[0]
    )
    assert torch.equal(
        send(Rayleigh(), symbols, 5).symbols[:1], send(Rayleigh(), symbols[:1], 5).symbols
    )


def test_channel_depends_on_the_seed_alone() -> None:
    """A shorter frame meets the start of the same channel, and the SNR only scales the noise."""
    link = Link(Rayleigh())
    cpu = torch.device("cpu")
    together, alone = link.draw([1, 2, 3], 500, cpu), link.draw([2], 500, cpu)
    assert torch.equal(together.h[1:2], alone.h)
    assert torch.equal(together.noise[1:2], alone.noise)
    x = unit_power(gaussian_symbols(1, 100), torch.tensor([100]))
    strong, weak = (alone.apply(x, torch.tensor([no])) - alone.h[:, :100] * x for no in (1.0, 0.01))
    torch.testing.assert_close(weak, 0.1 * strong, rtol=1e-3, atol=1e-5)


def test_awgn_passes_as_it_is_unless_asked() -> None:
    symbols = gaussian_symbols(1, 100)
    realisation = Awgn().draw([1], 100)
    x = unit_power(symbols, torch.tensor([100]))
    y = realisation.apply(x, torch.tensor([0.1]))
    torch.testing.assert_close(send(Awgn(), symbols, 10).symbols, y)
    torch.testing.assert_close(send(Awgn(), symbols, 10, "mmse").symbols, y / 1.1)


def test_a_dead_channel_gives_zeros_and_no_nan() -> None:
    y, h = gaussian_symbols(1, 4), torch.zeros(1, 4, dtype=torch.complex64)
    for kind in ("mmse", "zf"):
        received = equalize(
            y, h, torch.tensor([0.1]), kind=kind, used=torch.tensor([4]), side_info=None
        )
        assert not received.symbols.any()
        assert not received.unbiased().any()
        assert torch.isinf(received.no_eff).all()


def test_gradients_reach_the_symbols() -> None:
    symbols = gaussian_symbols(2, 50).requires_grad_()
    send(Rayleigh(), symbols, 0).symbols.abs().square().sum().backward()
    assert symbols.grad is not None
    assert torch.isfinite(torch.view_as_real(symbols.grad)).all()
    assert symbols.grad.abs().sum() > 0


def test_probe_is_the_same_link() -> None:
    probe = LinkProbe(Link(Rayleigh()))
    received = probe(gaussian_symbols(8, 20_000), 10.0, seed=3)
    capacity = float(torch.log2(1 + 1 / received.no_eff).mean())
    assert capacity == pytest.approx(math.exp(0.1) * exp1(0.1) / math.log(2), rel=0.01)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (Frame.analog(torch.zeros(2, 4)), "complex64"),
        (Frame.analog(torch.zeros(1, 4, dtype=torch.complex64)), r"\[2, N\]"),
        (Frame.analog(torch.zeros(2, 9, dtype=torch.complex64)), "budget is 8"),
        (Frame.analog(torch.full((2, 4), torch.nan + 0j)), "not finite"),
        (
            Frame(symbols=torch.zeros(2, 4, dtype=torch.complex64), used=torch.tensor([5, 1])),
            "uses",
        ),
        (
            Frame(
                symbols=torch.zeros(2, 4, dtype=torch.complex64),
                used=torch.tensor([4, 4]),
                side_info=(b"abc", b""),
                side_info_bits=torch.tensor([3, 0]),
            ),
            "declares 3 bits for 3 bytes",
        ),
    ],
)
def test_broken_frames_are_refused(frame: Frame, message: str) -> None:
    link = Link(Awgn())
    realisation = link.draw([1, 2], 8, torch.device("cpu"))
    with pytest.raises(InputError, match=message):
        link.transmit(frame, snr_db=torch.zeros(2), realisation=realisation)


def test_each_round_has_unit_power_and_does_not_see_the_next() -> None:
    """What an image sends in its first round is the same whether another follows or not."""
    symbols = gaussian_symbols(2, 300) * torch.cat([torch.full((100,), 3.0), torch.ones(200)])
    both = unit_power(symbols, torch.tensor([300, 100]), (100, 300))
    first = unit_power(symbols, torch.tensor([100, 100]), (100, 300))
    power = both.abs().square()
    assert power[:, :100].mean(dim=1).tolist() == pytest.approx([1, 1], abs=1e-5)
    assert float(power[0, 100:].mean()) == pytest.approx(1, abs=1e-5)
    assert not both[1, 100:].any()
    assert torch.equal(both[:, :100], first[:, :100])


@pytest.mark.parametrize(
    ("rounds", "message"),
    [((10, 30), "rising ones up to 40"), ((40, 20), "rising"), ((0, 40), "rising")],
)
def test_broken_rounds_are_refused(rounds: tuple[int, ...], message: str) -> None:
    frame = replace(Frame.analog(gaussian_symbols(1, 40)), rounds=rounds)
    link = Link(Awgn())
    with pytest.raises(InputError, match=message):
        link.transmit(
            frame, snr_db=torch.tensor([9.0]), realisation=link.draw([1], 40, torch.device("cpu"))
        )


def test_a_round_ends_with_an_ofdm_slot() -> None:
    channel = Ofdm(model="TDL-A", delay_spread_ns=30, subcarriers=12)
    link, per_slot = Link(channel), channel.data_per_slot
    symbols = gaussian_symbols(1, 2 * per_slot)
    drawn = link.draw([1], 2 * per_slot, torch.device("cpu"))
    whole = replace(Frame.analog(symbols), rounds=(per_slot, 2 * per_slot))
    link.transmit(whole, snr_db=torch.tensor([9.0]), realisation=drawn)
    broken = replace(whole, rounds=(per_slot - 1, 2 * per_slot))
    with pytest.raises(InputError, match=f"within an OFDM slot of {per_slot} data symbols"):
        link.transmit(broken, snr_db=torch.tensor([9.0]), realisation=drawn)
