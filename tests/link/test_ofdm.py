"""The OFDM link against closed forms, TR 38.901's covariances and Sionna's own receiver."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import erfc
from scipy.stats import kstest
from torch import Tensor

from linksim.codec import Frame, Received
from linksim.errors import InputError
from linksim.link.link import Ledger, Link, LinkProbe, unit_power
from linksim.link.ofdm import Ofdm, OfdmRealisation
from linksim.link.profiles import sionna_model
from linksim.link.waveform import (
    OVERSAMPLING,
    clipping_distortion,
    papr_max_db,
    soft_clip,
    subcarriers_of,
    time_signal,
)
from linksim.sweep.scenario import load_scenario
from linksim.units import snr_db_to_no

CPU = torch.device("cpu")
PILOTS = {"symbols": [2, 11], "spacing": 4}


def ofdm(**changes: Any) -> Ofdm:
    settings = {"model": "TDL-A", "delay_spread_ns": 100, "subcarriers": 48, "speed_mps": 3}
    return Ofdm.model_validate({**settings, **changes})


def symbols_of(batch: int, n: int, seed: int = 0) -> Tensor:
    """Random QPSK, complex64 [batch, n]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.view_as_complex((torch.randint(2, (batch, n, 2), generator=generator) - 0.5) * 2)


def send(
    channel: Ofdm, symbols: Tensor, snr_db: float, *, realisation: OfdmRealisation | None = None
) -> tuple[Received, Ledger]:
    if realisation is None:
        realisation = channel.draw_batch(1, len(symbols), symbols.shape[1])
    snr = torch.full((len(symbols),), snr_db)
    return Link(channel).transmit(Frame.analog(symbols), snr_db=snr, realisation=realisation)


# --- the channel ---------------------------------------------------------------------------------


def test_without_delay_spread_it_is_flat_rayleigh_fading() -> None:
    """One gain a frame: |h|^2 exponential, bit errors as in Proakis, and one SINR a frame."""
    channel = ofdm(delay_spread_ns=0, speed_mps=0, subcarriers=4, symbols_per_slot=2)
    draw = channel.draw_batch(3, 8000, 8)
    h = draw.h.flatten(1)
    torch.testing.assert_close(h, h[:, :1].expand_as(h), rtol=1e-4, atol=1e-4)
    assert kstest(h[:, 0].abs().square().numpy(), "expon").pvalue > 0.01
    assert abs(complex(h[:, 0].square().mean())) < 0.03  # circular

    snr_db = 10.0
    x = symbols_of(len(h), 8)
    received, _ = send(channel, x, snr_db, realisation=draw)
    wrong = torch.view_as_real(received.symbols).sign() != torch.view_as_real(x).sign()
    ber = wrong.float().mean((1, 2))
    snr = 10 ** (snr_db / 10)
    expected = 0.5 * (1 - math.sqrt(snr / (2 + snr)))  # Proakis 14.3, QPSK
    assert float(ber.mean()) == pytest.approx(expected, abs=5 * float(ber.std()) / 8000**0.5)
    sinr = 1 / received.no_eff[:, 0]
    assert kstest((sinr / snr).numpy(), "expon").pvalue > 0.01


@pytest.mark.parametrize("model", [f"{kind}-{p}" for kind in ("TDL", "CDL") for p in "ABCDE"])
def test_every_model_has_unit_power_and_the_longest_path_that_is_checked(model: str) -> None:
    channel = ofdm(model=model, cyclic_prefix_us=4.7, subcarriers=12, symbols_per_slot=1)
    h = channel.draw_batch(1, 3000, 12).h.flatten(1)
    power = h.abs().square().mean(1)
    assert float(power.mean()) == pytest.approx(1, abs=5 * float(power.std()) / 3000**0.5)
    tau = sionna_model(model, 100.0, 3.5, 3.0, "cpu")(1, 1, 1.0)[1]
    longest_us = float(tau.max()) * 1e6
    ofdm(model=model, cyclic_prefix_us=1.001 * longest_us)
    if model.startswith("TDL"):
        with pytest.raises(ValueError, match="shorter than the longest path"):
            ofdm(model=model, cyclic_prefix_us=0.999 * longest_us)


def test_correlation_over_frequency_and_time_goes_on_from_slot_to_slot() -> None:
    from sionna.phy.ofdm import tdl_freq_cov_mat, tdl_time_cov_mat

    channel = ofdm(model="TDL-C", delay_spread_ns=250, speed_mps=50)
    h = channel.draw_batch(5, 2000, 2 * channel.data_per_slot).h.flatten(1, 2)
    duration = 1 / 30e3 + 2.34e-6
    over_frequency = torch.einsum("bsf,bs->f", h, h[..., 0].conj()) / h[..., 0].numel()
    over_time = torch.einsum("bsf,bf->s", h, h[:, 0].conj()) / h[:, 0].numel()
    in_frequency = tdl_freq_cov_mat("C", 30e3, 48, 250e-9, precision="single")[:, 0]
    in_time = tdl_time_cov_mat("C", 50.0, 3.5e9, duration, 28, precision="single")[:, 0]
    assert float(in_time.abs().min()) < 0.6  # it does change
    torch.testing.assert_close(over_frequency.cpu(), in_frequency.cpu(), rtol=0, atol=0.08)
    torch.testing.assert_close(over_time.cpu(), in_time.cpu(), rtol=0, atol=0.08)


def test_fading_and_noise_depend_on_the_seed_alone() -> None:
    """Not on batch, SNR, pilots or receiver; a short frame meets the first slots."""
    channel = ofdm()
    together, alone = channel.draw([1, 2, 3], 1000), channel.draw([2], 1000)
    assert torch.equal(together.h[1:2], alone.h)
    assert torch.equal(together.noise[1:2], alone.noise)
    other = ofdm(pilots=PILOTS, estimation="ls", clipping={"backoff_db": 6}, label="other")
    assert other.fading_name == channel.fading_name
    assert other.name != channel.name
    uses = 2 * channel.uses_per_slot
    first, second = (c.draw([2], c.data_symbols(uses)) for c in (channel, other))
    assert torch.equal(first.h, second.h)
    assert torch.equal(first.noise, second.noise)
    x = symbols_of(1, channel.data_per_slot)
    short, long = (send(channel, x, 5, realisation=d)[0] for d in (channel.draw([2], 600), first))
    assert torch.equal(long.gain, send(channel, x, 5, realisation=first)[0].gain)
    assert short.symbols.shape == long.symbols.shape


@pytest.mark.parametrize("clipping", [None, {"backoff_db": 3}])
def test_other_images_change_nothing(clipping: Any) -> None:
    channel = ofdm(pilots=PILOTS, estimation="ls", clipping=clipping)
    x = symbols_of(3, 1300) * torch.tensor([[0.1], [1], [7]])
    draw = channel.draw([1, 2, 3], 1300)
    received, ledger = send(channel, x, 5, realisation=draw)
    alone, alone_ledger = send(channel, x[1:2], 5, realisation=channel.draw([2], 1300))
    for name in ("symbols", "gain", "no_eff"):
        assert torch.equal(getattr(received, name)[1:2], getattr(alone, name))
    columns, alone_columns = ledger.columns(), alone_ledger.columns()
    for name in ("papr_db", "papr_max_db"):
        assert columns[name][1] == alone_columns[name][0]


# --- what it costs -------------------------------------------------------------------------------


def test_the_cbr_grows_by_exactly_the_pilots() -> None:
    bare, piloted = ofdm(), ofdm(pilots=PILOTS)
    assert piloted.pilots_per_slot == 2 * 48 // 4
    for slots in (1, 3):
        data = slots * piloted.data_per_slot
        _, ledger = send(piloted, symbols_of(2, data), 10)
        assert ledger.symbols.tolist() == [data + slots * 24] * 2
        assert ledger.pilot_symbols.tolist() == [slots * 24] * 2
        assert ledger.padding_symbols is not None
        assert not ledger.padding_symbols.any()
    uses = 2 * 48 * 14
    assert bare.data_symbols(uses) - piloted.data_symbols(uses) == 2 * 24
    assert piloted.data_symbols(uses + 100) == piloted.data_symbols(uses)  # whole slots


def test_padding_of_the_last_slot_is_counted() -> None:
    channel = ofdm(pilots=PILOTS)  # 672 resource elements a slot, 648 for data
    frame = Frame(symbols=symbols_of(3, 700), used=torch.tensor([700, 648, 1]))
    draw = channel.draw([1, 2, 3], 2000)
    _, ledger = Link(channel).transmit(frame, snr_db=torch.zeros(3), realisation=draw)
    assert ledger.symbols.tolist() == [1344, 672, 672]
    assert ledger.pilot_symbols.tolist() == [48, 24, 24]
    assert ledger.padding_symbols is not None
    assert ledger.padding_symbols.tolist() == [1296 - 700, 0, 647]


# --- what the receiver knows ---------------------------------------------------------------------


@pytest.mark.parametrize("estimation", ["perfect", "ls", "lmmse", "lmmse_robust"])
@pytest.mark.parametrize("clipping", [None, {"backoff_db": 2}])
def test_announced_variances_hold(estimation: str, clipping: Any) -> None:
    """y - h_hat*x has the variance that was announced, with estimation error and distortion."""
    channel = ofdm(pilots=PILOTS, estimation=estimation, clipping=clipping)
    n = channel.data_per_slot
    unit = unit_power(symbols_of(500, n), torch.full((500,), n))
    draw = channel.draw_batch(4, 500, n)
    for snr_db in (0.0, 25.0):
        no = torch.full((500,), snr_db_to_no(snr_db))
        arrival = draw.send(unit, torch.full((500,), n), no)
        error = (arrival.y - arrival.h * unit).abs().square()
        assert float(error.mean() / arrival.no.mean()) == pytest.approx(1, abs=0.04)


def mse(channel: Ofdm, snr_db: float) -> float:
    """Mean squared error of what a neural decoder gets, over the same fading and noise."""
    n = 600
    received, _ = send(
        channel, symbols_of(150, n), snr_db, realisation=channel.draw_batch(6, 150, n)
    )
    unit = unit_power(symbols_of(150, n), torch.full((150,), n))
    return float((received.symbols - unit).abs().square().mean())


def test_who_estimates_loses_less_with_snr_and_with_pilots() -> None:
    frequency_selective = {"model": "TDL-C", "delay_spread_ns": 250}

    def loss(snr_db: float, spacing: int) -> float:
        pilots = {"symbols": [2, 11], "spacing": spacing}
        knows, estimates = (
            ofdm(**frequency_selective, pilots=pilots, estimation=estimation)
            for estimation in ("perfect", "ls")
        )
        return mse(estimates, snr_db) - mse(knows, snr_db)

    over_snr = [loss(snr_db, 2) for snr_db in (0, 8, 16, 24)]
    over_pilots = [loss(20, spacing) for spacing in (16, 8, 4)]
    for losses in (over_snr, over_pilots):
        assert all(before > 1.5 * after for before, after in pairwise(losses)), losses
        assert losses[-1] > 0


# --- coded bits, against Sionna's chain ----------------------------------------------------------

FRAMES, K, BITS_PER_SYMBOL = 400, 288, 2


@pytest.mark.parametrize(("estimation", "snr_db"), [("perfect", 4.0), ("ls", 6.5)])
def test_coded_bits_over_tdl_as_in_sionnas_chain(estimation: str, snr_db: float) -> None:
    """Bit and block error rates of 38.212 LDPC over TDL-A, ours and Sionna's, independent draws."""
    from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder
    from sionna.phy.mapping import Demapper, Mapper

    channel = ofdm(
        delay_spread_ns=200, subcarriers=24, pilots={"symbols": [2, 11]}, estimation=estimation
    )
    n = channel.data_per_slot
    place = {"precision": "single", "device": "cpu"}
    encoder = LDPC5GEncoder(K, n * BITS_PER_SYMBOL, num_bits_per_symbol=BITS_PER_SYMBOL, **place)
    decoder = LDPC5GDecoder(encoder, num_iter=10, **place)
    bits = torch.randint(2, (FRAMES, K), generator=torch.Generator().manual_seed(0)).float()
    x = Mapper("qam", BITS_PER_SYMBOL, **place)(encoder(bits))
    demapper = Demapper("app", "qam", BITS_PER_SYMBOL, **place)

    received, _ = send(channel, x, snr_db)
    ours = decoder(demapper(received.unbiased(), received.no_eff)) != bits
    x_hat, no_eff = through_sionna(x, estimation, snr_db)
    theirs = decoder(demapper(x_hat, no_eff)) != bits

    def deviation(a: Tensor, b: Tensor) -> float:
        """Difference of the means, in standard errors over frames."""
        spread = math.sqrt((float(a.var()) + float(b.var())) / FRAMES)
        return abs(float(a.mean() - b.mean())) / spread

    assert 0.05 < float(ours.any(1).float().mean()) < 0.6
    assert deviation(ours.float().mean(1), theirs.float().mean(1)) < 4
    assert deviation(ours.any(1).float(), theirs.any(1).float()) < 4


def through_sionna(x: Tensor, estimation: str, snr_db: float) -> tuple[Tensor, Tensor]:
    """Sionna's example chain: equalised symbols and their noise variances, [B, N]."""
    from sionna.phy.channel import OFDMChannel
    from sionna.phy.channel.tr38901 import TDL
    from sionna.phy.mimo import StreamManagement
    from sionna.phy.ofdm import (
        LMMSEEqualizer,
        LSChannelEstimator,
        ResourceGrid,
        ResourceGridMapper,
    )

    place = {"precision": "single", "device": "cpu"}
    grid = ResourceGrid(
        14,
        24,
        30e3,
        cyclic_prefix_length=2,
        pilot_pattern="kronecker",
        pilot_ofdm_symbol_indices=[2, 11],
        **place,
    )
    model = TDL("A", 200e-9, 3.5e9, min_speed=3.0, **place)
    no = torch.tensor(snr_db_to_no(snr_db))
    sent = ResourceGridMapper(grid, **place)(x[:, None, None])
    y, h = OFDMChannel(model, grid, return_channel=True, **place)(sent, no)
    error = torch.zeros(())
    if estimation == "ls":
        h, error = LSChannelEstimator(grid, "lin", **place)(y, no)
    equalizer = LMMSEEqualizer(grid, StreamManagement(np.array([[1]]), 1), **place)
    x_hat, no_eff = equalizer(y, h, error, no)
    return x_hat[:, 0, 0], no_eff[:, 0, 0]


# --- the waveform --------------------------------------------------------------------------------


def test_papr_of_signals_that_are_known() -> None:
    tone = torch.zeros(3, 16, dtype=torch.complex64)
    tone[:, 5] = 1j
    assert float(papr_max_db(time_signal(tone))) == pytest.approx(0, abs=1e-4)
    tone[:, 11] = 1
    assert float(papr_max_db(time_signal(tone))) == pytest.approx(10 * math.log10(2), abs=1e-3)
    all_in_phase = torch.ones(1, 16, dtype=torch.complex64)
    assert float(papr_max_db(time_signal(all_in_phase))) == pytest.approx(
        10 * math.log10(16), abs=1e-3
    )
    silence = torch.cat([all_in_phase, torch.zeros(3, 16)])
    assert float(papr_max_db(time_signal(silence))) == pytest.approx(10 * math.log10(16), abs=1e-3)


def test_time_signal_has_the_power_and_the_frequencies_of_the_grid() -> None:
    grid = symbols_of(4, 15)
    signal = time_signal(grid)
    assert float(signal.abs().square().mean()) == pytest.approx(2, rel=1e-5)
    torch.testing.assert_close(subcarriers_of(signal), grid)
    tone = torch.zeros(1, 15, dtype=torch.complex64)
    tone[0, 7 + 2] = 1  # two above the middle
    turns = torch.arange(60) * 2 / 60
    expected = torch.exp(2j * math.pi * turns) / 15**0.5
    torch.testing.assert_close(time_signal(tone)[0], expected)


def ccdf(subcarriers: int, level: float) -> float:
    """P(PAPR > g) = 1 - exp(-N exp(-g) sqrt(pi g / 3)), N subcarriers with QPSK (H. Ochiai and
    H. Imai, On the Distribution of the Peak-to-Average Power Ratio in OFDM Signals, IEEE Trans.
    Commun., 2001)."""
    return 1 - math.exp(-subcarriers * math.exp(-level) * math.sqrt(math.pi * level / 3))


def test_highest_peaks_are_distributed_as_they_are_known_to_be() -> None:
    """Through the ledger, one OFDM symbol a frame."""
    subcarriers, frames = 256, 2000
    channel = ofdm(subcarriers=subcarriers, symbols_per_slot=1)
    _, ledger = send(channel, symbols_of(frames, subcarriers), 10)
    assert ledger.waveform is not None
    papr_max_db = ledger.waveform.papr_max_db()
    for level_db in (7.5, 8.5, 9.5):
        expected = ccdf(subcarriers, 10 ** (level_db / 10))
        measured = float((papr_max_db > level_db).float().mean())
        assert measured == pytest.approx(expected, abs=0.06)


def test_papr_is_what_one_ofdm_symbol_in_a_thousand_exceeds() -> None:
    from scipy.optimize import brentq

    channel = ofdm(subcarriers=256)
    _, ledger = send(channel, symbols_of(8, channel.data_per_slot), 10)
    level = brentq(lambda g: ccdf(256, g) - 1e-3, 5, 30)
    assert float(ledger.columns()["papr_db"].mean()) == pytest.approx(
        10 * math.log10(level), abs=0.3
    )


def test_peaks_do_not_depend_on_how_a_codec_orders_its_symbols() -> None:
    """A codec whose symbols are all in phase, or loud first and quiet then, has no higher peaks."""
    channel = ofdm(subcarriers=256)
    n = 3 * channel.data_per_slot
    loud_first = symbols_of(1, n) * torch.linspace(2, 0.1, n)
    frames = torch.cat([symbols_of(1, n), torch.ones(1, n), loud_first])
    papr_db = send(channel, frames, 10)[1].columns()["papr_db"]
    assert float(papr_db.max() - papr_db.min()) < 1


def test_symbols_are_spread_over_all_slots_of_a_frame() -> None:
    """Those of the first half of a frame meet as many gains of either slot: without noise, over a
    channel whose slots differ."""
    channel = ofdm(speed_mps=40)
    n = 2 * channel.data_per_slot
    received, _ = send(channel, symbols_of(1, n), 60)
    drawn = channel.draw([1], n).h.abs()[0].mean(dim=(1, 2))
    assert float((drawn[0] - drawn[1]).abs()) > 0.1
    halves = (received.no_eff[0] * 1e6).rsqrt().reshape(2, -1).mean(dim=1)
    assert float((halves[0] - halves[1]).abs()) < 0.02


def test_rounds_are_sent_one_after_the_other() -> None:
    """What a round meets rests neither on the rounds after it nor on how many images take part."""
    channel = ofdm(pilots=PILOTS, estimation="ls")
    slot, link = channel.data_per_slot, Link(channel)
    x, rounds = symbols_of(2, 3 * slot), (slot, 3 * slot)
    draw, snr_db = channel.draw([1, 2], 3 * slot), torch.full((2,), 5.0)
    both, first, mixed = (
        link.transmit(
            Frame(symbols=x, used=torch.tensor(used), rounds=rounds),
            snr_db=snr_db,
            realisation=draw,
        )[0]
        for used in ([3 * slot] * 2, [slot] * 2, [slot, 3 * slot])
    )
    assert torch.equal(both.symbols[:, :slot], first.symbols[:, :slot])
    assert torch.equal(mixed.symbols[0], first.symbols[0])
    assert torch.equal(mixed.symbols[1], both.symbols[1])
    alone, _ = send(channel, x[:, :slot], 5, realisation=draw)
    assert torch.equal(alone.symbols, first.symbols[:, :slot])


@pytest.mark.parametrize("backoff_db", [0.0, 3.0, 6.0])
def test_clipping_does_what_bussgangs_theorem_says(backoff_db: float) -> None:
    """gain = 1 - exp(-g^2) + sqrt(pi) g erfc(g) / 2, and all distortion, in the band and out of it,
    is 1 - exp(-g^2) - gain^2, with g^2 the back-off (Ochiai and Imai, 2002, section II)."""
    g = 10 ** (backoff_db / 20)
    gain = 1 - math.exp(-(g**2)) + math.sqrt(math.pi) * g * erfc(g) / 2
    total = 1 - math.exp(-(g**2)) - gain**2
    measured = clipping_distortion(288, backoff_db)
    assert measured.gain == pytest.approx(gain, rel=0.005)
    assert 0.5 * total < measured.variance < total
    signal = time_signal(symbols_of(500, 288) / 2**0.5)
    clipped = soft_clip(signal, backoff_db)
    assert float(clipped.abs().max()) == pytest.approx(g, rel=1e-4)
    remaining = clipped - gain * signal
    assert float(remaining.abs().square().mean()) == pytest.approx(total, rel=0.05)
    assert float((remaining * signal.conj()).mean().abs()) < 0.003
    assert len(signal[0]) == OVERSAMPLING * 288


def test_clipping_is_in_what_arrives_and_little_of_it_is_little() -> None:
    x = symbols_of(4, 600)
    clean, clipped, barely = (
        send(ofdm(clipping=clipping), x, 30)
        for clipping in (None, {"backoff_db": 1}, {"backoff_db": 20})
    )
    unit = unit_power(x, torch.full((4,), 600))
    errors = [float((r.symbols - unit).abs().square().mean()) for r, _ in (clean, clipped, barely)]
    assert errors[1] > 3 * errors[0]
    assert errors[2] == pytest.approx(errors[0], rel=1e-3)
    for (_, ledger), highest in ((clean, 15), (clipped, 3)):
        assert ledger.waveform is not None
        assert float(ledger.waveform.papr_max_db().max()) < highest


# --- as part of the whole ------------------------------------------------------------------------


def test_gradients_go_through_clipping_and_estimation() -> None:
    channel = ofdm(pilots=PILOTS, estimation="ls", clipping={"backoff_db": 3})
    x = symbols_of(2, 700).requires_grad_()
    received, _ = send(channel, x, 5)
    received.symbols.abs().square().sum().backward()
    assert x.grad is not None
    assert torch.isfinite(torch.view_as_real(x.grad)).all()
    assert (x.grad.abs() > 0).all()


def test_a_probe_of_it_is_the_same_link() -> None:
    """Ergodic capacity of a single resource element, as over flat Rayleigh fading."""
    from scipy.special import exp1

    probe = LinkProbe(Link(ofdm(subcarriers=8, symbols_per_slot=2, delay_spread_ns=20)))
    received = probe(torch.ones(5000, 4, dtype=torch.complex64), 10.0, 3)
    assert received.symbols.shape == (5000, 4)
    capacity = float(torch.log2(1 + 1 / received.no_eff).mean())
    assert capacity == pytest.approx(math.exp(0.1) * exp1(0.1) / math.log(2), rel=0.04)
    assert "ofdm(TDL-A, 20 ns" in probe.name


GOOD = """
channel:
  type: ofdm
  model: TDL-A
  delay_spread_ns: 100
  speed_mps: 3
  subcarriers: 48
  pilots: {symbols: [2, 11], spacing: 1}
  estimation: ls
snr_db: 5
cbr: 1/12
codecs: [mambajscc]
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("_ns: 100", "_ns: -100", r"delay_spread_ns: .*greater than or equal to 0 \(given: -100"),
        (
            "_ns: 100",
            "_ns: 900",
            "cyclic_prefix_us 2.34 is shorter than the longest path, 8.693 us",
        ),
        (
            "speed_mps: 3",
            "speed_mps: 900",
            "the carrier is shifted by 10.5 kHz, more than 0.02",
        ),
        ("subcarriers: 48", "subcarriers: 1", "subcarriers: .*greater than or equal to 2"),
        ("spacing: 1", "spacing: 49", "spacing 49: there are only 48 subcarriers"),
        ("[2, 11]", "[2, 14]", r"pilots.symbols \[2, 14\]: wanted .* 14 OFDM symbols"),
        ("[2, 11]", "[2, 2]", "different ones"),
        ("[2, 11]", str(list(range(14))), "pilots take all 672 resource elements of a slot"),
        ("  pilots: {symbols: [2, 11], spacing: 1}\n", "", "estimation: ls needs pilots"),
        (GOOD, GOOD.replace("TDL", "CDL").replace(": ls", ": lmmse"), "none that is known"),
        ("estimation: ls", "estimation: mmse", "'lmmse_robust'.*given: 'mmse'"),
        (
            "estimation: ls",
            "estimation: lmmse\n  ls_over_time: linear",
            "ls_over_time is for estimation: ls",
        ),
        ("model: TDL-A", "model: TDL-Z", "model: .*'TDL-A'"),
        ("channel:\n", "channel:\n  doppler: 3\n", "unknown key 'doppler'"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    path = tmp_path / "s.yaml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(InputError, match=message) as caught:
        load_scenario(path)
    assert "\n" not in str(caught.value)


def test_a_budget_below_one_slot_leaves_no_data() -> None:
    with pytest.raises(InputError, match=r"671 channel uses .* less than one slot of 48x14 = 672"):
        ofdm().data_symbols(671)
