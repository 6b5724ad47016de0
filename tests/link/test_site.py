import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp, kstest

from linksim.codec import Frame
from linksim.errors import InputError
from linksim.link.channel import seed_sionna
from linksim.link.link import Link
from linksim.link.ofdm import Ofdm
from linksim.link.site import LinkBudget, SiteChannel
from linksim.link.site_file import load_site, site_names, write_site
from linksim.settings import load_settings
from linksim.sweep.scenario import Scenario
from tests.helpers.sites import site_of

GRID = {"subcarriers": 24, "symbols_per_slot": 14}


def channel_over(tmp_path, site, **settings):
    path = tmp_path / "own.npz"
    write_site(path, site)
    return SiteChannel(site=path, **GRID, **settings)


def sent(channel, seeds, snr_db, length=336):
    realisation = channel.draw(seeds, length)
    frame = Frame.analog(torch.ones(len(seeds), realisation.length, dtype=torch.complex64))
    snr = torch.full((len(seeds),), float(snr_db))
    return *Link(channel).transmit(frame, snr_db=snr, realisation=realisation), realisation


def test_one_path_is_awgn(tmp_path):
    channel = channel_over(tmp_path, site_of([[3e-5 * np.exp(0.7j)]], [[0.0]]))
    received, _, _ = sent(channel, range(40), 7)
    no = 10**-0.7
    assert torch.allclose(received.no_eff, torch.tensor(no), rtol=1e-5)
    noise = torch.view_as_real(received.unbiased() - 1).flatten().numpy() / math.sqrt(no / 2)
    assert kstest(noise, "norm").pvalue > 0.01


def test_independent_taps_are_the_tdl_of_that_profile(tmp_path):
    from sionna.phy.channel.tr38901 import TDL

    model = TDL("A", 100e-9, 3.5e9, precision="single", device="cpu")
    seed_sionna(1, "cpu")
    a, tau = model(600, 1, 1.0)
    gains, delays = a[:, 0, 0, 0, 0, :, 0].numpy(), tau[:, 0, 0].numpy()
    site = site_of(list(1e-4 * gains), list(delays))
    budget = LinkBudget(tx_power_dbm=0, noise_figure_db=0)
    street = channel_over(tmp_path, site, link_budget=budget)
    drawn = street.draw(range(600), 336)
    power = 10 ** (drawn.own_snr_db.double() / 10)
    mean_snr = 10 ** (budget.snr_db(np.array([1e-8]), street.bandwidth_hz)[0] / 10)
    h = drawn.h[:, 0, 0] * (power / mean_snr).sqrt()[:, None]
    profile = Ofdm(model="TDL-A", delay_spread_ns=100, **GRID)
    other = profile.draw(range(600), 336).h[:, 0, 0]
    for subcarrier in (0, 23):
        ours, theirs = (x[:, subcarrier].abs().square().numpy() for x in (h, other))
        assert ks_2samp(ours, theirs).pvalue > 0.01
        assert kstest(ours, "expon").pvalue > 0.01
    ours, theirs = ((x[:, 0] * x[:, 20].conj()).mean() for x in (h, other))
    frequency = profile.covariance().frequency  # Sionna's closed form
    assert abs(ours - frequency[0, 20]) < 0.13
    assert abs(theirs - frequency[0, 20]) < 0.13


def test_the_snr_is_that_of_the_budget(tmp_path):
    """0 dBm over 60 dB of loss and kTB of 24 x 30 kHz with a noise figure of 7 dB, by hand."""
    site = site_of([[1e-3], [1e-4], []], [[0.0], [0.0], []])
    channel = channel_over(tmp_path, site, link_budget={"tx_power_dbm": 0, "noise_figure_db": 7})
    noise_dbm = -173.975 + 10 * math.log10(24 * 30e3) + 7
    drawn = channel.draw([0, 1, 2], 336)
    assert drawn.positions.tolist() == [0, 1, 2]
    assert drawn.own_snr_db.tolist() == pytest.approx(
        [-60 - noise_dbm, -80 - noise_dbm, -100], abs=0.01
    )
    assert channel.own_snr_db == pytest.approx(-70 - noise_dbm, abs=0.02)


def test_every_position_has_unit_mean_power_over_subcarriers_and_antennas(tmp_path):
    rng = np.random.default_rng(3)
    gains = [list(rng.normal(size=5) + 1j * rng.normal(size=5)) for _ in range(4)]
    delays = [list(np.arange(5) * 2e-7) for _ in range(4)]
    site = site_of(gains, delays, array=(4, 2), turns=rng.uniform(-3, 3, 20))
    channel = channel_over(tmp_path, site, antennas={"tx": 4, "rx": 2})
    h = channel.draw(range(4), 336).h
    assert h.shape == (4, 1, 14, 24, 2, 4)
    power = h[:, 0, 0].abs().square().mean(dim=(1, 2, 3))
    assert torch.allclose(power, torch.ones(4), atol=1e-4)


def test_antennas_turn_by_what_was_traced(tmp_path):
    site = site_of([[1.0]], [[0.0]], array=(2, 2), turns=[0.5])
    h = channel_over(tmp_path, site, antennas={"tx": 2, "rx": 2}).draw([0], 336).h[0, 0, 0, 0]
    wanted = torch.exp(1j * torch.tensor([[0.0, 0.5], [-0.5, 0.0]]))  # receive turns are -0.5
    assert torch.allclose(h / h[0, 0], wanted, atol=1e-5)


def test_more_antennas_take_no_more_channel_uses_and_no_more_power(tmp_path):
    rng = np.random.default_rng(3)
    site = site_of([list(rng.normal(size=5) + 0j)], [list(np.arange(5) * 2e-7)], array=(4, 4),
                   turns=rng.uniform(-3, 3, 5))  # fmt: skip
    for count in (1, 2, 4):
        antennas = {"antennas": {"tx": count, "rx": count}} if count > 1 else {}
        channel = channel_over(tmp_path, site, **antennas)
        symbols = channel.data_symbols(2 * 336)
        assert symbols == 2 * 336 * count
        _, ledger, drawn = sent(channel, [0], 10, symbols)
        assert ledger.symbols.tolist() == [2 * 336]
        assert ledger.padding_symbols.tolist() == [0]
        power = drawn.h.abs().square().mean()
        assert float(power) == pytest.approx(1, abs=1e-4)  # of unit total power at each antenna


def test_a_trial_is_a_position(tmp_path):
    channel = channel_over(tmp_path, site_of([[1.0]] * 5, [[0.0]] * 5))
    for trial in range(12):
        seeds = [channel.seed_of(10**12 + image, trial) for image in range(3)]
        assert channel.draw(seeds, 336).positions.tolist() == [trial % 5] * 3


def test_a_site_is_read_as_it_was_written_and_damage_is_seen(tmp_path):
    site, path = site_of([[1.0, 0.5j], []], [[0, 1e-7], []]), tmp_path / "own.npz"
    write_site(path, site)
    again = load_site(path)
    assert again.digest == site.digest
    assert again.paths_of(0) == slice(0, 2)
    arrays = dict(np.load(path))
    arrays["gains"] = arrays["gains"] * 2
    np.savez(path, **arrays)
    with pytest.raises(InputError, match="SHA-256"):
        load_site(path)


def scenario(tmp_path, channel, more=""):
    path = tmp_path / "s.yaml"
    path.write_text(f"channel: {channel}\ncbr: 1/12\ncodecs: [bpg_ldpc]\n{more}")
    with pytest.raises(InputError) as error:
        load_settings(path, Scenario)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_bad_input_is_one_line(tmp_path):
    own, dark, text = tmp_path / "own.npz", tmp_path / "dark.npz", tmp_path / "text.npz"
    write_site(own, site_of([[1.0]], [[0.0]], array=(2, 2)))
    write_site(dark, site_of([[], []], [[], []]))
    text.write_text("no site")
    snr = "snr_db: 5\n"
    assert "no site that linksim trace wrote" in scenario(
        tmp_path, f"{{type: site, site: {text}}}", snr
    )
    assert "no site of that name" in scenario(tmp_path, "{type: site, site: atlantis}", snr)
    assert "No such file" in scenario(tmp_path, f"{{type: site, site: {tmp_path}/no.npz}}", snr)
    assert "no position has a path" in scenario(tmp_path, f"{{type: site, site: {dark}}}", snr)
    four = f"{{type: site, site: {own}, antennas: {{tx: 4, rx: 2}}}}"
    assert "the site was traced for 2" in scenario(tmp_path, four, snr)
    layers = f"{{type: site, site: {own}, antennas: {{tx: 2, rx: 2, layers: 3}}}}"
    assert "more than the antennas" in scenario(tmp_path, layers, snr)
    budget = f"{{type: site, site: {own}, link_budget: {{tx_power_dbm: 30}}}}"
    assert "only one of them" in scenario(tmp_path, budget, snr)
    assert "snr_db" in scenario(tmp_path, f"{{type: site, site: {own}}}")


def test_munich_is_shipped():
    assert "munich" in site_names()
    site = load_site("munich")
    assert (site.counts > 0).sum() >= 200
    assert (Path(__file__).parents[2] / "linksim/data/sites/munich.npz").stat().st_size < 1e5
    grid = {"subcarrier_spacing_khz": 15, "cyclic_prefix_us": 4.69}
    channel = SiteChannel(site="munich", link_budget={"tx_power_dbm": 30}, **grid)
    assert channel.draw([0], 10).h.isfinite().all()
