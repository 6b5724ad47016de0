"""Hybrid ARQ and the outer loop, against loops built of Sionna's own blocks."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.digital.codecs import BpgLdpc
from baselines.digital.harq import OuterLoop, max_transmissions, outer_loop_of
from baselines.digital.ldpc import TransportPlan, plan_transport
from linksim.codec import TxInfo
from linksim.errors import InputError
from linksim.link.flat import Awgn, Rayleigh
from linksim.link.knowledge import EarlierFrames
from linksim.link.link import Link, LinkProbe
from linksim.link.transmission import Transmission, encode, transmit

SIZE = (32, 48)
QPSK = {"modulation": "qpsk", "rate": 0.7}
SEEDS = range(20)


def pictures(count: int) -> Tensor:
    """Smooth pictures float32 [count, 3, 32, 48], on the 8-bit grid."""
    rows, columns = torch.linspace(0, 1, SIZE[0])[:, None], torch.linspace(0, 1, SIZE[1])[None]
    waves = [torch.sin(rows * (3 + i) + columns * (7 - i % 4)) for i in range(count)]
    return (
        (torch.stack([torch.stack([w, w * rows, -w]) for w in waves]) + 1) * 127.5
    ).round() / 255


def send(codec: BpgLdpc, images: Tensor, link: Link, snr_db: float, budget: int) -> Transmission:
    codec.calibrate(LinkProbe(link))
    snr = torch.full((len(images),), snr_db)
    frame = encode(codec, images, snr_db=snr, max_symbols=budget)
    realisation = link.draw(range(len(images)), budget, torch.device("cpu"))
    return transmit(
        codec, frame, link, snr_db=snr, realisation=realisation, rx_snr_db=snr, image_size=SIZE
    )


def sionna_rounds(sent: Transmission, plan: TransportPlan, link: Link, snr_db: float) -> Tensor:
    """Transmissions that Sionna's own decoder in ``harq_mode`` needs for the same symbols over the
    same channel, [B]; one more than there are where the last fails too."""
    from sionna.phy.fec.crc import CRCDecoder, CRCEncoder
    from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder
    from sionna.phy.mapping import Demapper
    from sionna.phy.nr.utils import generate_prng_seq

    m, n, most, images = plan.bits_per_symbol, plan.num_symbols, plan.transmissions, len(SEEDS)
    check = CRCDecoder(CRCEncoder("CRC16", device="cpu"), device="cpu")
    encoder = LDPC5GEncoder(plan.payload_bits + 16, n * m, num_bits_per_symbol=m, device="cpu")
    decoder = LDPC5GDecoder(encoder, num_iter=50, harq_mode=True, device="cpu")
    drawn = link.draw(SEEDS, n * most, torch.device("cpu"))
    no = torch.full((images,), 10 ** (-snr_db / 10))
    arrived = drawn.send(sent.frame.symbols, torch.full((images,), n * most), no)
    no_eff = no[:, None] / arrived.h.abs().square()
    llr = Demapper("app", "qam", m, device="cpu")(arrived.y / arrived.h, no_eff)
    scrambling = torch.as_tensor(generate_prng_seq(n * m, 2**15 + 1)).float()
    llr = llr.reshape(images, most, n * m) * (1 - 2 * scrambling)
    needed, versions = torch.full((images,), most + 1), [0, 2, 3, 1][:most]
    for rounds in range(most, 0, -1):
        # one version has no axis of its own
        part = llr[:, 0] if rounds == 1 else llr[:, :rounds]
        ok = check(decoder(part, rv=versions[:rounds]))[1][:, 0]
        needed = torch.where(ok, rounds, needed)
    return needed


@pytest.mark.parametrize(("coherence", "snr_db"), [(100, 3.0), ("symbol", 0.0)])
def test_throughput_is_that_of_sionnas_own_loop(coherence: Any, snr_db: float) -> None:
    """Payload bits that arrive per channel use, and how many transmissions each block takes."""
    most, budget = 4, 400
    link = Link(Rayleigh(coherence=coherence))
    codec = BpgLdpc(mcs=QPSK, harq={"max_transmissions": most})
    sent = send(codec, pictures(len(SEEDS)), link, snr_db, budget)
    plan = plan_transport(budget // most, 2, 0.7, transmissions=most)
    needed = sionna_rounds(sent, plan, link, snr_db)
    assert len(set(needed.tolist())) > 1
    assert torch.equal(sent.decoded.report["transmissions"], needed.clamp(max=most))
    assert sent.decoded.done is not None
    throughput = sent.decoded.done.sum() * plan.payload_bits / sent.ledger.symbols.sum()
    theirs = (needed <= most).sum() * plan.payload_bits / (needed.clamp(max=most).sum() * 100)
    assert float(throughput) == pytest.approx(float(theirs))


def test_each_transmission_is_counted() -> None:
    """Channel uses, and the parity that they carry, are those of the transmissions made."""
    images, budget = pictures(12), 402
    codec = BpgLdpc(mcs=QPSK, harq={"max_transmissions": 4})
    sent = send(codec, images, Link(Rayleigh(coherence=100)), 3.0, budget)
    times = sent.decoded.report["transmissions"]
    assert torch.equal(sent.ledger.symbols, times * 100)  # 402 // 4, two symbols stay unused
    assert torch.equal(sent.received.used, sent.ledger.symbols)
    bits = sent.ledger
    total = bits.payload_bits + bits.crc_bits + bits.parity_bits + bits.padding_bits
    assert torch.equal(total, 2 * bits.symbols)
    assert (bits.parity_bits > 0).all()
    beyond = torch.arange(sent.received.symbols.shape[1]) >= sent.received.used[:, None]
    assert not sent.received.symbols[beyond].any()
    assert len(set(times.tolist())) > 1


def test_a_good_channel_takes_one_transmission_and_a_hopeless_one_all() -> None:
    images = pictures(3)
    codec = BpgLdpc(mcs=QPSK, harq={"max_transmissions": 3})
    good = send(codec, images, Link(Awgn()), 20.0, 600)
    assert good.decoded.report["transmissions"].tolist() == [1, 1, 1]
    assert good.decoded.done is not None
    assert good.decoded.done.all()
    bad = send(codec, images, Link(Awgn()), -20.0, 600)
    assert bad.decoded.report["transmissions"].tolist() == [3, 3, 3]
    assert bad.decoded.report["failed"].all()
    assert bad.ledger.symbols.tolist() == [600] * 3


def test_best_counts_on_all_transmissions() -> None:
    """A payload that one transmission could not carry at this SNR: two of four bring it."""
    codec = BpgLdpc(harq={"max_transmissions": 4})
    sent = send(codec, pictures(1), Link(Awgn()), 6.0, 800)
    assert not sent.decoded.report["failed"].any()
    assert (sent.decoded.report["transmissions"] > 1).all()


def test_the_outer_loop_moves_as_sionnas() -> None:
    """The offset after the same acknowledgements, from sionna.sys.OuterLoopLinkAdaptation."""
    from sionna.sys import OuterLoopLinkAdaptation

    class Rates:
        """As much of a PHYAbstraction as the loop asks for: two schemes that never fail."""

        bler_table_interp = torch.zeros(1, 1, 2, 1, 1)

        def __call__(self, mcs: Tensor, **_: Any) -> tuple[Tensor, ...]:
            rates = torch.zeros(mcs.shape)
            return rates, rates, rates, rates

    theirs = OuterLoopLinkAdaptation(Rates(), num_ut=1, bler_target=0.1, delta_up=0.7, device="cpu")
    ours, offset = OuterLoop(target=0.1, up_db=0.7), 0.0
    heard = torch.randint(0, 2, (80,), generator=torch.manual_seed(2))
    heard[40:] = 0  # to the limit
    for acknowledged in heard.tolist():
        theirs(torch.tensor([100]), torch.tensor([acknowledged]), torch.tensor([1.0]))
        offset = ours.offset_db(offset, bool(acknowledged))
        assert offset == pytest.approx(float(theirs.offset), abs=1e-4)
    assert offset == 20


@pytest.mark.parametrize("error_db", [-6.0, 0.0, 6.0])
def test_the_outer_loop_finds_the_true_snr(error_db: float) -> None:
    """Schemes 1 dB apart with a waterfall of 1 dB each: it ends where the target is met."""
    plans = [plan_transport(500, 2, rate) for rate in torch.linspace(0.9, 0.1, 33).tolist()]

    def bler(plan: TransportPlan, snr_db: float) -> float:
        return min(max(0.5 - (snr_db - plan.payload_bits / 25), 1e-3), 1.0)

    true_db, loop = 15.0, OuterLoop(target=0.05, frames=2000)
    feedback = EarlierFrames(torch.tensor([true_db]), [(1, "image", 0)])
    asked: list[float] = []

    def acknowledged(frame: int, rate: Callable[[float], float]) -> bool:
        asked.append(rate(true_db))
        return feedback(0, frame, rate)

    corrected = loop.snr_db(true_db + error_db, plans, bler, acknowledged)
    assert corrected == pytest.approx(true_db, abs=1.5)
    assert sum(asked[1000:]) / 1000 == pytest.approx(0.05, abs=0.02)


def test_the_outer_loop_saves_what_a_wrong_snr_costs() -> None:
    """Told 6 dB too much, the naive choice loses every image; the loop loses few."""
    images, link = pictures(6), Link(Rayleigh())
    true, told = torch.full((6,), 6.0), torch.full((6,), 12.0)
    failed = []
    for codec in (BpgLdpc(), BpgLdpc(outer_loop={"target": 0.02})):
        codec.calibrate(LinkProbe(link))
        draws = [(7, f"image {i}", 0) for i in range(6)]
        frame = encode(
            codec, images, snr_db=told, max_symbols=800, feedback=EarlierFrames(true, draws)
        )
        realisation = link.draw(range(6), 800, torch.device("cpu"))
        sent = transmit(
            codec,
            frame,
            link,
            snr_db=true,
            realisation=realisation,
            rx_snr_db=told,
            image_size=SIZE,
        )
        failed.append(int(sent.decoded.report["failed"].sum()))
    assert failed[0] == 6
    assert failed[1] <= 1


def test_acknowledgements_are_drawn_once() -> None:
    """The same frame of the same image gets the same chance, whatever was asked before."""
    one = EarlierFrames(torch.tensor([3.0, 9.0]), [(1, "a", 0), (1, "b", 0)])
    other = EarlierFrames(torch.tensor([9.0]), [(1, "b", 0)])
    heard = [one(1, i, lambda snr_db: 0.5 if snr_db == 9 else 1.0) for i in range(200)]
    assert [other(0, i, lambda _: 0.5) for i in reversed(range(200))] == heard[::-1]
    assert 70 < sum(heard) < 130
    assert not any(one(0, i, lambda _: 1.0) for i in range(50))


@pytest.mark.parametrize(
    "options",
    [{}, 4, {"rounds": 4}, *({"max_transmissions": count} for count in (1, 2.0, 99))],
)
def test_bad_harq_is_refused_in_one_line(options: Any) -> None:
    with pytest.raises(InputError, match=r"harq is .*; allowed: \{max_transmissions: 2 to 16\}"):
        max_transmissions(options)


@pytest.mark.parametrize("options", [{"target": 0}, {"up_db": -1}, {"frames": 0.5}, {"step": 1}, 3])
def test_a_bad_outer_loop_is_refused_in_one_line(options: Any) -> None:
    with pytest.raises(InputError, match=r"outer_loop is .*; allowed: ") as refusal:
        outer_loop_of(options)
    assert "\n" not in str(refusal.value)


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(InputError, match="outer_loop adapts the scheme; it needs mcs: best"):
        BpgLdpc(mcs=QPSK, outer_loop={})
    codec = BpgLdpc(harq={"max_transmissions": 4})
    with pytest.raises(InputError, match=r"harq: 8 symbols in 4 transmissions: .* one byte"):
        send(codec, pictures(1), Link(Awgn()), 5.0, 8)
    codec = BpgLdpc(outer_loop={})
    codec.calibrate(LinkProbe(Link(Awgn())))
    tx = TxInfo(snr_db=torch.tensor([5.0]), max_symbols=500, image_size=SIZE)
    with pytest.raises(InputError, match="needs the link's feedback"):
        codec.encode(pictures(1), tx)
