"""Points of a QAM for analogue symbols: which are sent, what it costs, and what training sees."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from linksim.codec import CodedBits, Frame
from linksim.errors import InputError
from linksim.link.constellation import Constellation
from linksim.link.flat import Awgn, FlatRealisation, Rayleigh
from linksim.link.link import Link, LinkProbe
from linksim.sweep.scenario import load_scenario

POINTS = Constellation(points=16)


def gaussian(batch: int, n: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.view_as_complex(torch.randn(batch, n, 2, generator=generator) * 0.5**0.5)


def sent_over(link: Link, frame: Frame) -> Tensor:
    """What leaves the transmitter: received over a channel without noise."""
    length = frame.symbols.shape[1]
    quiet = FlatRealisation(
        h=torch.ones(len(frame.used), length, dtype=torch.complex64),
        noise=torch.zeros(len(frame.used), length, dtype=torch.complex64),
    )
    snr_db = torch.zeros(len(frame.used))
    return link.transmit(frame, snr_db=snr_db, realisation=quiet)[0].symbols


@pytest.mark.parametrize("points", [4, 16, 64, 256, 1024, 4096])
def test_the_nearest_of_sionnas_points_is_taken(points: int) -> None:
    from sionna.phy.mapping import Constellation as Sionnas

    theirs = Sionnas("qam", int(math.log2(points)), precision="single", device="cpu").points
    x = gaussian(1, 300)
    nearest = theirs[(x[0, :, None] - theirs).abs().argmin(dim=1)]
    torch.testing.assert_close(Constellation(points=points)(x)[0], nearest, rtol=0, atol=1e-5)


@pytest.mark.parametrize("points", [16, 256])
def test_power_is_counted_after_the_points_are_taken(points: int) -> None:
    channel = Awgn(constellation=Constellation(points=points))
    sent = sent_over(Link(channel), Frame.analog(7 * gaussian(2, 4000)))
    torch.testing.assert_close(sent.abs().square().mean(1), torch.ones(2))
    levels = torch.view_as_real(sent[0]).unique().round(decimals=4).unique()
    assert len(levels) == math.isqrt(points)


def test_coded_symbols_are_points_of_their_own() -> None:
    qpsk = torch.tensor([[1 + 1j, 1 - 1j, -1 - 1j, -1 + 1j]], dtype=torch.complex64) * 0.5**0.5
    none = torch.zeros(1, dtype=torch.int64)
    bits = CodedBits(payload=none + 8, crc=none, parity=none, padding=none)
    frame = Frame(symbols=qpsk, used=torch.tensor([4]), bits=bits)
    sent = sent_over(Link(Awgn(constellation=Constellation(points=16))), frame)
    torch.testing.assert_close(sent, qpsk)


def test_link_adaptation_meets_no_points_but_its_own() -> None:
    plain, with_points = (Link(Rayleigh(constellation=points)) for points in (None, POINTS))
    probes = [LinkProbe(link) for link in (plain, with_points)]
    assert probes[0].name == probes[1].name
    x = gaussian(2, 50)
    assert torch.equal(*(probe(x, 5.0, 1).symbols for probe in probes))


def test_error_of_many_points_is_that_of_even_steps() -> None:
    """step^2 / 12 in either part, where the points reach far enough."""
    constellation = Constellation(points=4096)
    x = 0.3 * gaussian(1, 50_000)
    error = float((constellation(x) - x).abs().square().mean())
    step = 2 / math.sqrt(2 * 4095 / 3)
    assert error == pytest.approx(2 * step**2 / 12, rel=0.02)


def test_gradients_pass_straight_through_or_by_the_soft_assignment() -> None:
    x = gaussian(1, 50).requires_grad_()
    weights = torch.randn(1, 50, 2)

    def gradient(constellation: Constellation) -> Tensor:
        out = torch.view_as_real(constellation(x))
        return torch.autograd.grad((out * weights).sum(), x)[0]

    straight = gradient(Constellation(points=16))
    torch.testing.assert_close(torch.view_as_real(straight), weights)
    soft = Constellation(points=16, assignment="soft", sharpness=8)
    hard = Constellation(points=16)
    assert torch.equal(soft(x), hard(x))
    points = torch.tensor([-3.0, -1, 1, 3]) / math.sqrt(10)

    def by_hand(parts: Tensor) -> Tensor:
        share = torch.exp(-8 * (parts[..., None] - points) ** 2)
        return (share * points).sum(-1) / share.sum(-1)

    parts = torch.view_as_real(x.detach()).requires_grad_()
    expected = torch.autograd.grad((by_hand(parts) * weights).sum(), parts)[0]
    torch.testing.assert_close(torch.view_as_real(gradient(soft)), expected)


def test_fading_and_noise_are_those_without_points() -> None:
    plain, with_points = Rayleigh(), Rayleigh(constellation=Constellation(points=64))
    assert plain.name == "rayleigh(coherence=symbol)"
    assert with_points.name == "rayleigh(coherence=symbol), 64-QAM points"
    assert with_points.fading_name == plain.fading_name == plain.name


@pytest.mark.parametrize(
    ("constellation", "message"),
    [
        ("{points: 32}", "32 points are no square QAM; allowed are 4, 16, 64, 256, 1024, 4096"),
        ("{points: 16, assignment: hard}", "assignment: .*'straight_through' or 'soft'"),
        ("{}", "points: Field required"),
        ("16", "constellation: "),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path: Path, constellation: str, message: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        f"channel: {{type: awgn, constellation: {constellation}}}\n"
        "snr_db: 5\ncbr: 1/12\ncodecs: [mambajscc]\n"
    )
    with pytest.raises(InputError, match=message) as caught:
        load_scenario(path)
    assert "\n" not in str(caught.value)
