"""Several antennas against Telatar's capacity, Alamouti's error rate and singular values."""

import math
from collections.abc import Callable
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import dblquad, quad
from scipy.special import comb, digamma, eval_genlaguerre, exp1, factorial
from torch import Tensor

from linksim.codec import Frame, Received
from linksim.errors import InputError
from linksim.link.channel import Realisation
from linksim.link.flat import Rayleigh
from linksim.link.link import Ledger, Link
from linksim.link.mimo import Antennas, eigenmodes, waterfilling
from linksim.link.ofdm import Ofdm
from linksim.sweep.scenario import load_scenario

CPU = torch.device("cpu")
USES = 40_000


def rayleigh(**antennas: Any) -> Rayleigh:
    return Rayleigh(antennas=Antennas.model_validate(antennas))


def ofdm(antennas: dict[str, Any] | None, **changes: Any) -> Ofdm:
    settings = {"model": "TDL-A", "delay_spread_ns": 100, "subcarriers": 48, "speed_mps": 3}
    return Ofdm.model_validate({**settings, "antennas": antennas, **changes})


def qpsk(batch: int, n: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(2, (batch, n, 2), generator=generator) * 2 - 1
    return torch.view_as_complex(signs * 0.5**0.5)


def send(
    channel: Rayleigh | Ofdm, x: Tensor, snr_db: float, draw: Realisation | None = None
) -> tuple[Received, Ledger]:
    draw = draw or channel.draw_batch(1, len(x), x.shape[1])
    snr = torch.full((len(x),), snr_db)
    return Link(channel).transmit(Frame.analog(x), snr_db=snr, realisation=draw)


def rate(channel: Rayleigh, snr_db: float) -> float:
    """Bits a channel use that the layers carry, each on its own."""
    assert channel.antennas is not None
    received, ledger = send(channel, qpsk(1, USES * channel.antennas.rank), snr_db)
    assert ledger.symbols.tolist() == [USES]
    return float(torch.log2(1 + 1 / received.no_eff.double()).sum() / USES)


def telatar(tx: int, rx: int, snr: float) -> float:
    """Ergodic capacity with equal power: theorem 2 of E. Telatar, Capacity of Multi-antenna
    Gaussian Channels, 1999."""
    m, n = min(tx, rx), max(tx, rx)

    def density(eigenvalue: float) -> float:
        terms = (
            factorial(k) / factorial(k + n - m) * eval_genlaguerre(k, n - m, eigenvalue) ** 2
            for k in range(m)
        )
        return float(sum(terms)) * eigenvalue ** (n - m) * math.exp(-eigenvalue)

    return float(quad(lambda x: math.log2(1 + snr * x / tx) * density(x), 0, 60, limit=200)[0])


def flooded(snr: float) -> float:
    """Capacity of 2x2 with water filling in each channel use, over the joint density of the two
    eigenvalues, (a - b)^2 exp(-a - b) for a > b."""

    def bits(a: float, b: float) -> float:
        if 1 / (snr * b) - 1 / (snr * a) >= 1:  # one layer takes all
            return math.log2(1 + snr * a)
        level = (1 + 1 / (snr * a) + 1 / (snr * b)) / 2
        return math.log2(level * snr * a) + math.log2(level * snr * b)

    def weighted(b: float, a: float) -> float:
        return bits(a, b) * (a - b) ** 2 * math.exp(-a - b)

    return float(dblquad(weighted, 0, 40, 1e-9, lambda a: a, epsabs=1e-4, epsrel=1e-4)[0])


def over_the_eigenvalues_of_four(bits: Callable[[np.ndarray], np.ndarray], nodes: int) -> float:
    """Mean of a function of the eigenvalues [n, 4] of a 4x4 Wishart matrix, over their joint
    density, prod_{i<j} (a_i - a_j)^2 exp(-sum a) (Telatar, theorem 2), by Gauss and Laguerre."""
    points, weights = np.polynomial.laguerre.laggauss(nodes)
    # Unordered ones that differ: where two are the same the density is 0.
    places = np.array(list(combinations(range(nodes), 4)))
    a, weight = points[places], weights[places].prod(axis=1)
    for i, j in combinations(range(4), 2):
        weight = weight * (a[:, i] - a[:, j]) ** 2
    return float((weight * bits(a)).sum() / weight.sum())


def flooded_four(snr: float, nodes: int = 40) -> float:
    """As :func:`flooded`, of 4x4: of 1 to 4 layers the most that all have a positive power."""

    def bits(a: np.ndarray) -> np.ndarray:
        strongest = np.sort(a, axis=1)[:, ::-1]
        carried = np.zeros(len(a))
        for count in range(1, 5):
            noise = 1 / (snr * strongest[:, :count])
            level = (1 + noise.sum(axis=1)) / count
            fits = level > noise[:, -1]
            carried = np.where(fits, np.log2(level[:, None] / noise).sum(axis=1), carried)
        return carried

    return over_the_eigenvalues_of_four(bits, nodes)


def test_the_quadrature_of_this_file() -> None:
    """It gives Telatar's single integral for equal power; more nodes hardly change it."""
    for snr in (1.0, 10.0):
        equal = over_the_eigenvalues_of_four(
            lambda a, snr=snr: np.log2(1 + snr * a / 4).sum(axis=1), 40
        )
        assert equal == pytest.approx(telatar(4, 4, snr), rel=1e-3)
        assert flooded_four(snr, 30) == pytest.approx(flooded_four(snr), rel=2e-3)


def test_the_formula_of_this_file() -> None:
    """One antenna: exp(1/snr) E1(1/snr); many at high SNR: E log det of a Wishart matrix, which is
    the sum of digamma(n - j), over what an antenna's power gives (Telatar, section 4.2)."""
    assert telatar(1, 1, 10) == pytest.approx(math.exp(0.1) * exp1(0.1) / math.log(2), rel=1e-6)
    for count in (2, 4):
        determinant = sum(digamma(count - j) for j in range(count)) / math.log(2)
        high = count * math.log2(1e6 / count) + determinant
        assert telatar(count, count, 1e6) == pytest.approx(high, rel=1e-3)


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0])
def test_closed_loop_with_equal_power_has_telatars_capacity(count: int, snr_db: float) -> None:
    channel = rayleigh(tx=count, rx=count, power="equal")
    expected = telatar(count, count, 10 ** (snr_db / 10))
    assert rate(channel, snr_db) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("snr_db", [0.0, 10.0])
def test_open_loop_has_the_rate_of_lmmse(count: int, snr_db: float) -> None:
    """Layer by layer I_k = log det(I + H H^H snr/t) - the same without antenna k, whose means are
    Telatar's (M. R. McKay, I. B. Collings and A. M. Tulino, Achievable Sum Rate of MIMO MMSE
    Receivers, IEEE Trans. Inf. Theory, 2010). With a receiver that decodes and cancels layer by
    layer the sum would be the capacity."""
    snr = 10 ** (snr_db / 10)
    others = telatar(count - 1, count, snr * (count - 1) / count)
    expected = count * (telatar(count, count, snr) - others)
    channel = rayleigh(tx=count, rx=count, scheme="spatial")
    assert rate(channel, snr_db) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("snr_db", [0.0, 10.0])
def test_closed_loop_with_water_filling(snr_db: float) -> None:
    expected = flooded(10 ** (snr_db / 10))
    assert rate(rayleigh(tx=2, rx=2), snr_db) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 10.0])
def test_closed_loop_of_four_layers_with_water_filling(snr_db: float) -> None:
    expected = flooded_four(10 ** (snr_db / 10))
    assert rate(rayleigh(tx=4, rx=4), snr_db) == pytest.approx(expected, rel=0.01)


def test_water_filling_of_four_layers_is_no_worse_than_equal_power_and_telatars_limit() -> None:
    """At high SNR both are one; at low SNR all goes to the strongest."""
    equal, filled = (
        [rate(rayleigh(tx=4, rx=4, power=power), snr_db) for snr_db in (-10.0, 0.0, 25.0)]
        for power in ("equal", "waterfilling")
    )
    gains = [after / before for after, before in zip(filled, equal, strict=True)]
    assert all(before > after for before, after in pairwise(gains))
    assert gains[0] > 1.5
    assert gains[2] == pytest.approx(1, abs=0.01)


def test_water_filling_by_hand() -> None:
    powers = waterfilling(torch.tensor([[0.1, 0.3], [0.1, 1.2], [0.5, torch.inf], [1.0, 1.0]]))
    torch.testing.assert_close(
        powers, torch.tensor([[0.6, 0.4], [1.0, 0.0], [1.0, 0.0], [0.5, 0.5]])
    )


@pytest.mark.parametrize("rx", [1, 2])
@pytest.mark.parametrize("snr_db", [4.0, 8.0])
def test_bit_error_rate_of_alamouti(rx: int, snr_db: float) -> None:
    """As of maximum ratio combining of 2 * rx branches with half the power (Alamouti, 1998): p^L
    sum_k C(L - 1 + k, k) (1 - p)^k (J. G. Proakis, Digital Communications, section 14.4)."""
    channel = Rayleigh(
        coherence=2, antennas=Antennas.model_validate({"tx": 2, "rx": rx, "scheme": "alamouti"})
    )
    n = 400_000
    x = qpsk(1, n)
    received, ledger = send(channel, x, snr_db)
    assert ledger.symbols.tolist() == [n]
    wrong = torch.view_as_real(received.symbols).sign() != torch.view_as_real(x).sign()
    branches, each = 2 * rx, 10 ** (snr_db / 10) / 4
    p = (1 - math.sqrt(each / (1 + each))) / 2
    expected = p**branches * sum(comb(branches - 1 + k, k) * (1 - p) ** k for k in range(branches))
    # Two symbols share their fade, and either part of a symbol does.
    deviation = math.sqrt(expected * 4 / (2 * n))
    assert float(wrong.float().mean()) == pytest.approx(expected, abs=5 * deviation)


def test_snr_of_the_layers_is_that_of_the_singular_values() -> None:
    channel, no = rayleigh(tx=4, rx=2, power="equal"), 0.1
    draw = channel.draw_batch(7, 1, 200)
    received, _ = send(channel, qpsk(1, 200), 10, draw)
    values = np.linalg.svd(draw.h.numpy()[0], compute_uv=False)
    expected = np.sort(values**2 / 2 / no, axis=1)
    found = np.sort(1 / received.no_eff.numpy().reshape(100, 2), axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize(
    "antennas",
    [
        {"tx": 2, "rx": 2},
        {"tx": 4, "rx": 4, "power": "equal"},
        {"tx": 4, "rx": 2, "layers": 1},
        {"tx": 2, "rx": 2, "scheme": "spatial"},
        {"tx": 4, "rx": 4, "scheme": "spatial", "layers": 2},
        {"tx": 2, "rx": 1, "scheme": "alamouti"},
    ],
    ids=lambda antennas: Antennas.model_validate(antennas).name,
)
@pytest.mark.parametrize("kind", ["rayleigh", "ofdm", "ofdm estimated"])
def test_what_is_announced_arrives(antennas: dict[str, Any], kind: str) -> None:
    """symbol = gain * x + noise of variance gain^2 * no_eff, layer by layer."""
    channel: Rayleigh | Ofdm = rayleigh(**antennas)
    if kind == "ofdm":
        channel = ofdm(antennas)
    elif kind == "ofdm estimated":
        channel = ofdm(antennas, pilots={"symbols": [2, 11], "spacing": 2}, estimation="lmmse")
    n = channel.data_symbols(2 * 48 * 14)
    x = qpsk(20, n)
    received, _ = send(channel, x, 12, channel.draw_batch(2, 20, n))
    known = torch.isfinite(received.no_eff)
    error = (received.symbols - received.gain * x).abs().square()[known]
    announced = (received.gain.square() * received.no_eff)[known]
    assert float(error.mean() / announced.mean()) == pytest.approx(1, abs=0.06)
    assert float(known.float().mean()) > 0.7


@pytest.mark.parametrize("kind", ["rayleigh", "ofdm"])
def test_antennas_change_neither_power_nor_channel_uses(kind: str) -> None:
    """What is received on average is rx times what is sent, whose power is 1 a channel use; and the
    same number of channel uses is charged for the same budget."""
    charged = set()
    for antennas in (
        {"tx": 1, "rx": 1},
        {"tx": 2, "rx": 2, "scheme": "spatial"},
        {"tx": 4, "rx": 4, "scheme": "spatial"},
        {"tx": 2, "rx": 2},
        {"tx": 2, "rx": 2, "scheme": "alamouti"},
    ):
        channel = rayleigh(**antennas) if kind == "rayleigh" else ofdm(antennas)
        budget = 2 * 48 * 14
        n = channel.data_symbols(budget)
        _, ledger = send(channel, qpsk(2, n), 10)
        charged.add(tuple(ledger.symbols.tolist()))
        assert ledger.padding_symbols is not None
        assert not ledger.padding_symbols.any()
        assert n == budget * Antennas.model_validate(antennas).rank
    assert charged == {(2 * 48 * 14,) * 2}


@pytest.mark.parametrize(
    "antennas",
    [
        {"tx": 2, "rx": 2},
        {"tx": 4, "rx": 4, "power": "equal", "layers": 3},
        {"tx": 4, "rx": 2, "scheme": "spatial"},
        {"tx": 2, "rx": 2, "scheme": "alamouti"},
    ],
    ids=lambda antennas: Antennas.model_validate(antennas).name,
)
def test_power_is_total_over_the_antennas(antennas: dict[str, Any]) -> None:
    from linksim.link.mimo import Layers

    settings = Antennas.model_validate(antennas)
    h = rayleigh(**antennas).draw_batch(3, 2, 4000 * settings.rank).h
    layers = Layers(
        antennas=settings, h=h, no=torch.full((2, 1), 0.1), modes=eigenmodes(h, settings)
    )
    sent = layers.precode(qpsk(2, 4000 * settings.rank))
    assert sent.shape == (2, 4000, settings.tx)
    torch.testing.assert_close(
        sent.abs().square().sum(-1).mean(1), torch.ones(2), rtol=0.02, atol=0
    )


def test_one_antenna_at_either_end_is_the_channel_without_antennas() -> None:
    plain, one = Rayleigh(), rayleigh(tx=1, rx=1)
    x = qpsk(1, 20_000)
    errors = [
        float((send(channel, x, 8)[0].symbols - x).abs().square().mean())
        for channel in (plain, one)
    ]
    assert errors[0] == pytest.approx(errors[1], rel=0.03)


@pytest.mark.parametrize("kind", ["rayleigh", "ofdm"])
@pytest.mark.parametrize("scheme", ["svd", "spatial"])
def test_images_do_not_depend_on_their_batch_and_short_frames_meet_the_start(
    kind: str, scheme: str
) -> None:
    antennas = {"tx": 2, "rx": 2, "scheme": scheme}
    channel = rayleigh(**antennas) if kind == "rayleigh" else ofdm(antennas)
    n = channel.data_symbols(2 * 48 * 14)
    x = qpsk(3, n)
    together, alone = channel.draw([1, 2, 3], n), channel.draw([2], n)
    received, _ = send(channel, x, 5, together)
    by_itself, _ = send(channel, x[1:2], 5, alone)
    for name in ("symbols", "gain", "no_eff"):
        assert torch.equal(getattr(received, name)[1:2], getattr(by_itself, name))
    frame = Frame(symbols=x[:2], used=torch.tensor([n, n // 2 - 1]))
    link, snr_db = Link(channel), torch.full((2,), 5.0)
    short, ledger = link.transmit(frame, snr_db=snr_db, realisation=channel.draw([1, 2], n))
    assert ledger.symbols.tolist() == [2 * 48 * 14, 48 * 14]
    start, _ = send(channel, x[1:2, : n // 2 - 1], 5, alone)
    assert torch.equal(short.gain[1, : n // 2 - 1], start.gain[0])
    assert torch.equal(short.symbols[1, : n // 2 - 1], start.symbols[0])
    assert not short.symbols[1, n // 2 - 1 :].any()


def test_gradients_reach_the_symbols() -> None:
    for antennas in ({"tx": 2, "rx": 2}, {"tx": 2, "rx": 2, "scheme": "spatial"}):
        x = qpsk(2, 64).requires_grad_()
        power = send(rayleigh(**antennas), x, 5)[0].symbols.abs().square().sum()
        gradient = torch.autograd.grad(power, x)[0]
        assert torch.isfinite(torch.view_as_real(gradient)).all()


def test_schemes_meet_the_same_fading() -> None:
    closed, opened = (rayleigh(tx=2, rx=2, scheme=scheme) for scheme in ("svd", "spatial"))
    assert closed.fading_name == opened.fading_name != Rayleigh().fading_name
    assert closed.name != opened.name
    assert torch.equal(closed.draw([1], 40).h, opened.draw([1], 40).h)


@pytest.mark.parametrize(
    ("channel", "message"),
    [
        ("antennas: {tx: 2, rx: 2, layers: 3}", "layers 3 are more than the antennas, 2 at the"),
        ("antennas: {tx: 2, rx: 1, layers: 2}", "layers 2 are more than the antennas"),
        ("antennas: {tx: 3, rx: 1, scheme: alamouti}", "alamouti needs two transmit antennas"),
        ("antennas: {tx: 2, rx: 1, scheme: alamouti, layers: 2}", "alamouti has one"),
        ("antennas: {tx: 0, rx: 1}", "tx: .*greater than 0"),
        ("antennas: {tx: 2, rx: 2, scheme: spatial, power: equal}", "power is for scheme: svd"),
        ("antennas: {tx: 2, rx: 2}, clipping: {backoff_db: 3}", "clipping is for one antenna"),
        ("antennas: {tx: 2, rx: 2}, domain: time", "domain: time is for one antenna"),
        (
            "antennas: {tx: 8, rx: 8}, pilots: {symbols: [2], spacing: 48}, estimation: ls",
            "1 subcarriers with pilots are too few for 8 transmit antennas",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path: Path, channel: str, message: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        f"channel: {{type: ofdm, model: TDL-A, delay_spread_ns: 100, subcarriers: 48, {channel}}}\n"
        "snr_db: 5\ncbr: 1/12\ncodecs: [mambajscc]\n"
    )
    with pytest.raises(InputError, match=message) as caught:
        load_scenario(path)
    assert "\n" not in str(caught.value)


def test_the_snr_is_not_estimated_over_several_antennas(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "channel: {type: rayleigh, antennas: {tx: 2, rx: 2}}\nsnr_knowledge: {rx: estimated}\n"
        "snr_db: 5\ncbr: 1/12\ncodecs: [mambajscc]\n"
    )
    with pytest.raises(InputError, match="from pilots over flat channels of one antenna only"):
        load_scenario(path)
