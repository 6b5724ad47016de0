"""Bounds where one frame meets one fade: outage against its closed form, and what bounds what."""

import math

import pytest
import torch
from scipy.special import exp1
from torch import Tensor

from baselines.digital.bounds import BpgOutage
from baselines.digital.codecs import BpgCapacity, BpgLdpc, ergodic_capacity
from linksim.codec import Codec
from linksim.errors import InputError
from linksim.link.flat import Awgn, FlatChannel, Rayleigh
from linksim.link.link import Link, LinkProbe
from linksim.link.ofdm import Ofdm
from linksim.link.pilots import PilotPattern
from linksim.link.transmission import Transmission, encode, transmit, uniform_snr
from linksim.metrics.quality import psnr

SYMBOLS = 1024


def picture() -> Tensor:
    """A smooth random picture, float32 [1, 3, 64, 64]."""
    coarse = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, size=64, mode="bicubic").clamp(0, 1)


def send(
    codec: Codec, channel: FlatChannel | Ofdm, snr_db: float, frames: int, symbols: int = SYMBOLS
) -> Transmission:
    """The same picture over so many frames, encoded once."""
    link = Link(channel)
    codec.calibrate(LinkProbe(link))
    snr = uniform_snr(snr_db, frames, "cpu")
    frame = encode(codec, picture(), snr_db=snr[:1], max_symbols=symbols)
    assert frame.side_info is not None
    assert frame.side_info_bits is not None
    repeated = frame.__class__(
        symbols=frame.symbols.expand(frames, -1),
        used=frame.used.expand(frames),
        side_info=frame.side_info * frames,
        side_info_bits=frame.side_info_bits.expand(frames),
    )
    return transmit(
        codec,
        repeated,
        link,
        snr_db=snr,
        realisation=channel.draw_batch(9, frames, symbols),
        rx_snr_db=snr,
        image_size=(64, 64),
    )


def test_a_frame_is_lost_as_often_as_its_capacity_is_below_the_rate() -> None:
    """1 - exp(-(2^R - 1)/snr) over Rayleigh fading (Ozarow, Shamai and Wyner, 1994)."""
    frames, snr_db = 800, 8.0
    sent = send(BpgOutage(fade="unknown"), Rayleigh(coherence="frame"), snr_db, frames)
    assert sent.frame.side_info_bits is not None
    rate = (int(sent.frame.side_info_bits[0]) - 24) / SYMBOLS
    expected = 1 - math.exp(-(2**rate - 1) / 10 ** (snr_db / 10))
    failed = float(sent.decoded.report["failed"].float().mean())
    assert failed == pytest.approx(expected, abs=4 * math.sqrt(expected / frames))
    assert 0.02 < expected < 0.5


def test_knowledge_of_the_fade_helps_and_both_are_below_the_ergodic_bound() -> None:
    channel, frames = Rayleigh(coherence="frame"), 100
    codecs = [BpgOutage(fade="unknown"), BpgOutage(fade="known"), BpgCapacity()]
    unknown, known, ergodic = (
        float(
            psnr(
                send(codec, channel, 8.0, frames).decoded.images,
                picture().expand(frames, -1, -1, -1),
            ).mean()
        )
        for codec in codecs
    )
    assert unknown + 0.5 < known < ergodic - 0.2


def test_without_fading_all_bounds_are_one() -> None:
    codecs = [BpgOutage(fade="unknown"), BpgOutage(fade="known"), BpgCapacity()]
    images = [send(codec, Awgn(), 5.0, 1).decoded.images for codec in codecs]
    assert torch.equal(images[0], images[1])
    assert torch.equal(images[0], images[2])


def test_a_real_code_stays_below_the_bound_that_knows_as_little() -> None:
    channel, frames = Rayleigh(coherence="frame"), 40
    bounded = send(BpgOutage(fade="unknown"), channel, 8.0, frames)
    fixed = BpgLdpc(mcs={"modulation": "qpsk", "rate": 0.5})
    coded = send_coded(fixed, channel, 8.0, frames)
    reference = picture().expand(frames, -1, -1, -1)
    bound_db, coded_db = (psnr(s.decoded.images, reference).mean() for s in (bounded, coded))
    assert coded_db < bound_db


def send_coded(codec: Codec, channel: FlatChannel, snr_db: float, frames: int) -> Transmission:
    snr = uniform_snr(snr_db, frames, "cpu")
    images = picture().expand(frames, -1, -1, -1)
    return transmit(
        codec,
        encode(codec, images, snr_db=snr, max_symbols=SYMBOLS),
        Link(channel),
        snr_db=snr,
        realisation=channel.draw_batch(9, frames, SYMBOLS),
        rx_snr_db=snr,
        image_size=(64, 64),
    )


def test_ergodic_capacity_is_that_of_whole_slots() -> None:
    """E[log2(1 + snr |h|^2)] = exp(1/snr) E1(1/snr) / ln 2 where the channel is known, an element
    being Rayleigh; and the mean over all elements of a slot where it is estimated."""
    channel = Ofdm(
        model="TDL-C",
        delay_spread_ns=250,
        speed_mps=50,
        subcarriers=48,
        pilots=PilotPattern(symbols=(2, 11), spacing=4),
    )
    capacity = ergodic_capacity(LinkProbe(Link(channel)), 12.0)
    no = 10**-1.2
    assert capacity == pytest.approx(math.exp(no) * exp1(no) / math.log(2), rel=0.02)
    estimated = LinkProbe(Link(channel.model_copy(update={"estimation": "ls"})))
    assert estimated.block == channel.data_per_slot
    symbols = torch.ones(1024, channel.data_per_slot, dtype=torch.complex64)
    whole = torch.log2(1 + 1 / estimated(symbols, 12.0, 5).no_eff.double()).mean()
    assert ergodic_capacity(estimated, 12.0) == pytest.approx(float(whole), rel=0.02)


def test_estimation_lowers_the_bound() -> None:
    channel = Ofdm(
        model="TDL-C",
        delay_spread_ns=250,
        subcarriers=48,
        pilots=PilotPattern(symbols=(2, 11), spacing=4),
    )
    estimated = channel.model_copy(update={"estimation": "ls"})
    bits = [
        float(
            send(BpgOutage(fade="known"), c, 8.0, 20, c.data_symbols(2 * 48 * 14))
            .decoded.report["info_bits_per_symbol"]
            .mean()
        )
        for c in (channel, estimated)
    ]
    assert bits[1] < 0.97 * bits[0]


def test_mistakes_are_told_in_one_line() -> None:
    with pytest.raises(InputError, match="fade is 'guessed'; allowed: known, unknown"):
        BpgOutage(fade="guessed")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="needs an SNR at the transmitter"):
        encode(BpgOutage(), picture(), snr_db=None, max_symbols=SYMBOLS)
