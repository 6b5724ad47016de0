"""The digital codecs over the link: cliff, envelope, bound, budget and what a lost image shows."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.digital.codecs import BpgCapacity, BpgLdpc, SideInfo, to_pictures
from linksim.codec import Codec, Decoded, Frame, RxInfo, TxInfo
from linksim.codec_lookup import find_codec
from linksim.errors import InputError
from linksim.link.channel import ChannelSettings
from linksim.link.flat import Awgn, FlatChannel, Rayleigh
from linksim.link.link import Link, LinkProbe
from linksim.link.ofdm import Ofdm
from linksim.link.pilots import PilotPattern

SIZE = (48, 64)
BUDGET = 768  # CBR 1/12
QAM16 = {"modulation": "16qam", "rate": 0.5}
# 16-QAM at rate 1/2 in one short block: none passes at 4 dB, all do at 8.
BELOW_DB, ABOVE_DB = 4.0, 8.0


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Three smooth pictures with some detail, float32 [3, 3, 48, 64], on the 8-bit grid."""
    rows = torch.linspace(0, 1, SIZE[0])[:, None]
    columns = torch.linspace(0, 1, SIZE[1])[None]
    waves = [torch.sin(a * rows * 7 + b * columns * 9) for a, b in ((1, 2), (3, 1), (2, 5))]
    pictures = [torch.stack([w, w * rows, (w + columns) / 2]) for w in waves]
    return ((torch.stack(pictures) + 1) * 127.5).round() / 255


def snr_of(images: Tensor, snr_db: float) -> Tensor:
    return torch.full((len(images),), snr_db)


def encode(codec: Codec, images: Tensor, snr_db: float, budget: int = BUDGET) -> Frame:
    tx = TxInfo(snr_db=snr_of(images, snr_db), max_symbols=budget, image_size=SIZE)
    return codec.encode(images, tx)


def send(codec: Codec, frame: Frame, link: Link, snr_db: float, seeds: Sequence[int]) -> Decoded:
    budget = frame.symbols.shape[1]
    realisation = link.draw(seeds, budget, torch.device("cpu"))
    snr = torch.full((len(seeds),), snr_db)
    received, _ = link.transmit(frame, snr_db=snr, realisation=realisation)
    decoded = codec.decode(received, RxInfo(snr_db=snr, max_symbols=budget, image_size=SIZE))
    assert isinstance(decoded, Decoded)
    return decoded


def run(
    codec: Codec,
    images: Tensor,
    snr_db: float,
    *,
    channel: ChannelSettings | None = None,
    budget: int = BUDGET,
) -> Decoded:
    link = Link(channel or Awgn())
    codec.calibrate(LinkProbe(link))
    frame = encode(codec, images, snr_db, budget)
    return send(codec, frame, link, snr_db, range(len(images)))


def psnr_db(images: Tensor, others: Tensor) -> Tensor:
    return -10 * (images - others).square().mean(dim=(1, 2, 3)).log10()


def mean_colors(images: Tensor) -> Tensor:
    """Each image flat in its mean colour of 8 bits."""
    mean = (images.mean(dim=(2, 3), keepdim=True) * 255).round() / 255
    return mean.expand_as(images)


def test_the_codecs_are_found_by_name() -> None:
    assert find_codec("bpg_ldpc") is BpgLdpc
    assert find_codec("bpg_capacity") is BpgCapacity
    assert BpgCapacity.is_bound
    assert not BpgLdpc.is_bound


def test_a_fixed_scheme_shows_the_cliff(images: Tensor) -> None:
    codec = BpgLdpc(mcs=QAM16)
    assert not codec.encoder_uses_snr
    below = run(codec, images, BELOW_DB)
    above = run(codec, images, ABOVE_DB)
    far_above = run(codec, images, 25.0)
    assert below.report["failed"].all()
    assert not above.report["failed"].any()
    assert torch.equal(above.images, far_above.images)
    assert (psnr_db(images, above.images) > 25).all()
    torch.testing.assert_close(below.images, mean_colors(images))


def test_a_lost_image_can_be_black_and_cost_nothing(images: Tensor) -> None:
    codec = BpgLdpc(mcs=QAM16, failure="black")
    frame = encode(codec, images, BELOW_DB)
    assert frame.side_info is None
    assert frame.side_info_bits is None
    decoded = send(codec, frame, Link(Awgn()), BELOW_DB, range(3))
    assert decoded.report["failed"].all()
    assert not decoded.images.any()


@pytest.mark.parametrize("channel", [pytest.param(Awgn(), marks=pytest.mark.slow), Rayleigh()])
def test_the_envelope_never_falls_and_stays_below_the_bound(
    images: Tensor, channel: FlatChannel
) -> None:
    codec, bound = BpgLdpc(), BpgCapacity()
    assert codec.encoder_uses_snr
    means = []
    for snr_db in (3.0, 7.5, 12.0):
        decoded = run(codec, images, snr_db, channel=channel)
        ideal = run(bound, images, snr_db, channel=channel)
        reached = psnr_db(images, decoded.images)
        assert (reached <= psnr_db(images, ideal.images)).all()
        assert (decoded.report["mcs_index"] >= 0).all()
        means.append(float(reached.mean()))
    assert means == sorted(means)
    assert means[-1] > means[0] + 3


OFDM = Ofdm(
    model="TDL-A",
    delay_spread_ns=100,
    subcarriers=24,
    pilots=PilotPattern(symbols=(2, 11), spacing=4),
    estimation="ls",
)


def test_a_fixed_scheme_over_estimated_ofdm(images: Tensor) -> None:
    budget = OFDM.data_symbols(2 * 24 * 14)
    decoded = run(BpgLdpc(mcs=QAM16), images, 35.0, channel=OFDM, budget=budget)
    assert not decoded.report["failed"].any()
    assert (psnr_db(images, decoded.images) > 22).all()
    assert run(BpgLdpc(mcs=QAM16), images, -5.0, channel=OFDM, budget=budget).report["failed"].all()


@pytest.mark.slow
def test_it_adapts_over_estimated_ofdm(images: Tensor) -> None:
    """The scheme is chosen by what the probe says of the OFDM link, and the image arrives."""
    budget = OFDM.data_symbols(2 * 24 * 14)
    decoded = run(BpgLdpc(), images, 45.0, channel=OFDM, budget=budget)
    assert not decoded.report["failed"].any()
    assert (decoded.report["info_bits_per_symbol"] > 6).all()
    assert (psnr_db(images, decoded.images) > 30).all()
    ideal = run(BpgCapacity(), images, 45.0, channel=OFDM, budget=budget)
    assert (psnr_db(images, ideal.images) >= psnr_db(images, decoded.images)).all()


@pytest.mark.parametrize(("mcs", "budget"), [("best", BUDGET), (QAM16, BUDGET), (QAM16, 401)])
def test_the_ledger_adds_up_to_the_symbols_sent(images: Tensor, mcs: Any, budget: int) -> None:
    codec = BpgLdpc(mcs=mcs)
    codec.calibrate(LinkProbe(Link(Rayleigh())))
    frame = encode(codec, images, 9.0, budget)
    assert frame.symbols.shape == (3, budget)
    assert (frame.used == budget).all()
    assert frame.bits is not None
    assert frame.side_info_bits is not None
    total = frame.bits.payload + frame.bits.crc + frame.bits.parity + frame.bits.padding
    assert (total % budget == 0).all()
    assert set((total // budget).tolist()) <= {2, 4, 6, 8}
    assert (frame.bits.padding >= 0).all()
    assert (frame.bits.payload > 0).all()
    assert frame.side_info_bits.tolist() == [24 + 6 * (mcs == "best")] * 3


def test_images_do_not_depend_on_their_batch(images: Tensor) -> None:
    codec = BpgLdpc()
    link = Link(Rayleigh())
    codec.calibrate(LinkProbe(link))
    together = encode(codec, images, 9.0)
    decoded = send(codec, together, link, 9.0, [5, 6, 7])
    for i in range(3):
        alone = encode(codec, images[i : i + 1], 9.0)
        assert torch.equal(alone.symbols[0], together.symbols[i])
        assert alone.side_info is not None
        assert together.side_info is not None
        assert alone.side_info[0] == together.side_info[i]
        assert torch.equal(send(codec, alone, link, 9.0, [5 + i]).images[0], decoded.images[i])


def test_the_transmitter_acts_on_what_it_believes(images: Tensor) -> None:
    codec = BpgLdpc()
    link = Link(Rayleigh())
    codec.calibrate(LinkProbe(link))
    hopeful = encode(codec, images, 12.0)
    careful = encode(codec, images, 3.0)
    assert send(codec, hopeful, link, 3.0, range(3)).report["failed"].all()
    informed = send(codec, hopeful, link, 15.0, range(3))
    cautious = send(codec, careful, link, 15.0, range(3))
    assert not informed.report["failed"].any()
    assert not cautious.report["failed"].any()
    assert (psnr_db(images, cautious.images) < psnr_db(images, informed.images)).all()


def test_an_image_that_does_not_fit_is_lost_not_an_error(images: Tensor) -> None:
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(1))
    decoded = run(BpgLdpc(mcs={"modulation": "qpsk", "rate": 0.3}), noise, 20.0, budget=60)
    assert decoded.report["failed"].all()
    assert torch.equal(
        decoded.images[0, :, 0, 0], decoded.images[0, :, -1, -1]
    )  # flat, in its mean colour
    bound = run(BpgCapacity(), noise, -5.0, budget=60)
    assert bound.report["failed"].all()
    best = run(BpgLdpc(), noise, 5.0, budget=60)
    assert best.report["failed"].all()


def test_below_the_lowest_single_rate_a_small_picture_arrives(images: Tensor) -> None:
    """At -8 dB capacity is 0.21 bit a symbol: what fits 200 bytes is coded small."""
    decoded = run(BpgLdpc(scale="auto"), images, -8.0, budget=8000)
    assert not decoded.report["failed"].any()
    assert (decoded.report["info_bits_per_symbol"] < 0.21).all()
    assert (psnr_db(images, decoded.images) > 20).all()
    bound = run(BpgCapacity(scale="auto"), images, -8.0, budget=8000)
    assert (psnr_db(images, bound.images) >= psnr_db(images, decoded.images) - 0.1).all()


def test_a_stream_of_another_size_is_a_failure(images: Tensor) -> None:
    codec = BpgLdpc(mcs=QAM16)
    link = Link(Awgn())
    frame = encode(codec, images, 20.0)
    realisation = link.draw(range(3), BUDGET, torch.device("cpu"))
    received, _ = link.transmit(frame, snr_db=snr_of(images, 20.0), realisation=realisation)
    rx = RxInfo(snr_db=None, max_symbols=BUDGET, image_size=(40, 40))
    decoded = codec.decode(received, rx)
    assert decoded.report["failed"].all()
    assert decoded.images.shape == (3, 3, 40, 40)


@pytest.mark.parametrize("source", ["bpg", "jpeg", "jpeg2000", "webp", "avif", "jpegxl"])
def test_every_source_codec_gets_through(images: Tensor, source: str) -> None:
    budget = 3000
    decoded = run(BpgLdpc(mcs=QAM16, source=source), images, ABOVE_DB, budget=budget)
    assert not decoded.report["failed"].any()
    assert (psnr_db(images, decoded.images) > 20).all()
    bound = run(BpgCapacity(source=source), images, ABOVE_DB, budget=budget)
    assert (psnr_db(images, bound.images) >= psnr_db(images, decoded.images)).all()


def test_the_bound_declares_all_that_it_sends(images: Tensor) -> None:
    """C = log2(1 + 10^0.9) = 3.16 bits a symbol over AWGN at 9 dB: 303 bytes on 768 symbols."""
    codec = BpgCapacity()
    codec.calibrate(LinkProbe(Link(Awgn())))
    frame = encode(codec, images, 9.0)
    assert frame.side_info is not None
    assert frame.side_info_bits is not None
    assert [8 * len(data) for data in frame.side_info] == frame.side_info_bits.tolist()
    assert all(len(data) <= 303 for data in frame.side_info)
    assert max(len(data) for data in frame.side_info) > 250
    assert (frame.used == BUDGET).all()


def test_side_info_by_hand() -> None:
    both = SideInfo(mcs_index=True, color=True)
    assert both.bits == 30
    assert both.pack(19, (1, 2, 255)) == bytes([19, 1, 2, 255])
    assert both.unpack(bytes([19, 1, 2, 255])) == (19, (1, 2, 255))
    assert SideInfo(mcs_index=True, color=False).pack(31, (0, 0, 0)) == bytes([31])
    assert SideInfo(mcs_index=False, color=False).pack(0, (0, 0, 0)) == b""
    assert SideInfo(mcs_index=False, color=True).unpack(bytes([7, 8, 9])) == (-1, (7, 8, 9))


def test_pictures_round_as_the_metrics_do() -> None:
    images = torch.tensor([-0.1, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 1.2]).expand(1, 3, 1, 6)
    assert to_pictures(images)[0][0, :, 0].tolist() == [0, 0, 0, 1, 255, 255]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mcs": "worst"}, "mcs is 'worst'"),
        ({"mcs": {"modulation": "qpsk"}}, "mcs is "),
        ({"source": "gif"}, "source is 'gif'"),
        ({"failure": "noise"}, "failure is 'noise'"),
        ({"iterations": 0}, "iterations is 0"),
        ({"chroma": "411"}, "chroma is '411'"),
        ({"chroma": "444", "source": "jpeg"}, "options of source bpg; source is 'jpeg'"),
        ({"qp": "whole", "source": "webp"}, "options of source bpg; source is 'webp'"),
        ({"qp": "half"}, "qp is 'half'; allowed: fine, whole"),
        ({"scale": 2}, "scale is 2; allowed: 1, auto"),
        ({"harq": {"max_transmissions": 1}}, "harq is "),
        ({"outer_loop": {"target": 2}}, "outer_loop is "),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        BpgLdpc(**options)


def test_what_must_be_known_is_asked_for(images: Tensor) -> None:
    ignorant = TxInfo(snr_db=None, max_symbols=BUDGET, image_size=SIZE)
    codec = BpgLdpc()
    with pytest.raises(InputError, match="calibrate"):
        encode(codec, images, 9.0)
    codec.calibrate(LinkProbe(Link(Awgn())))
    with pytest.raises(InputError, match="needs the transmitter to know an SNR"):
        codec.encode(images, ignorant)
    assert BpgLdpc(mcs=QAM16).encode(images, ignorant).symbols.shape == (3, BUDGET)
    with pytest.raises(InputError, match="needs an SNR"):
        BpgCapacity().encode(images, ignorant)
    with pytest.raises(InputError, match=r"2 symbols .* cannot carry one byte"):
        encode(codec, images, 9.0, budget=2)
