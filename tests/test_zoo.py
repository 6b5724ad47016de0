"""The shipped weights: they load, say where they come from, and get better with the SNR."""

import json
import re

import pytest
import torch

from linksim.codec_lookup import codec_from_settings
from linksim.errors import InputError
from linksim.files import file_digest
from linksim.images.sets import open_images
from linksim.link.link import Link
from linksim.link.transmission import Transmission, encode, transmit, uniform_snr
from linksim.neural_codec import NeuralCodec, read_weights_metadata
from linksim.settings import CodecSettings
from linksim.training.recipe import Recipe
from linksim.units import symbol_budget
from linksim.zoo import card_path, weights_path, zoo_names
from tests.helpers.places import ROOT

SIDE = 128


def recipe_of(name: str) -> Recipe:
    _, card = read_weights_metadata(weights_path(name))
    return Recipe.model_validate({**card["recipe"], "images": {"root": "."}})


def send(name: str, true_db: float, told_db: float, precision: str = "fp32") -> Transmission:
    """Four Kodak crops over the channel that the weights were trained for."""
    recipe = recipe_of(name)
    settings = CodecSettings.model_validate(
        {"codec": recipe.codec.codec, "weights": name, "precision": precision}
    )
    codec = codec_from_settings(settings)
    assert isinstance(codec, NeuralCodec)
    items = open_images("kodak", crop=SIDE, limit=4)
    images = torch.stack([item.image for item in items]).float() / 255
    link, told = Link(recipe.channel, recipe.equalizer), uniform_snr(told_db, 4, "cpu")
    budget = symbol_budget(1 / 12, SIDE, SIDE)
    with torch.inference_mode():
        frame = encode(codec, images, snr_db=told, max_symbols=budget)
        return transmit(
            codec,
            frame,
            link,
            snr_db=uniform_snr(true_db, 4, "cpu"),
            realisation=link.draw(range(4), budget, torch.device("cpu")),
            rx_snr_db=told,
            image_size=(SIDE, SIDE),
        )


def mean_psnr(sent: Transmission) -> float:
    items = open_images("kodak", crop=SIDE, limit=4)
    images = torch.stack([item.image for item in items]).float() / 255
    error = (sent.decoded.images.clamp(0, 1) - images).square().flatten(1).mean(1)
    return float(-10 * error.log10().mean())


def test_there_are_weights() -> None:
    assert "zoo:mambajscc-small-rayleigh" in zoo_names()


FOR_ONE_SNR = [name for name in zoo_names() if re.search(r"\d+db-", name)]
ESTIMATING = [name for name in zoo_names() if "mvsc" in name]
FOR_ALL_SNRS = [name for name in zoo_names() if name not in [*FOR_ONE_SNR, *ESTIMATING]]


@pytest.mark.parametrize("name", FOR_ALL_SNRS)
def test_psnr_rises_with_the_snr(name: str) -> None:
    psnrs = [mean_psnr(send(name, snr_db, snr_db)) for snr_db in (1, 4, 7, 10, 13, 16, 19)]
    assert psnrs == sorted(psnrs), psnrs
    assert psnrs[-1] > psnrs[0] + 0.5


@pytest.mark.parametrize("name", FOR_ONE_SNR)
def test_below_the_snr_of_training_psnr_falls(name: str) -> None:
    """And above it, it does not: the decoder is not told, but meets less noise."""
    (trained,) = recipe_of(name).snr_db
    at, below, above = (
        mean_psnr(send(name, snr_db, snr_db)) for snr_db in (trained, trained - 12, trained + 12)
    )
    assert at > below + 1
    assert above > at


@pytest.mark.parametrize("name", ESTIMATING)
def test_who_estimates_the_snr_sees_it_rise(name: str) -> None:
    """And the picture does not fall by it."""
    sent = [send(name, snr_db, snr_db) for snr_db in (1, 4, 7, 10, 13)]
    estimates = [float(one.decoded.report["snr_db_estimate"].mean()) for one in sent]
    assert estimates == sorted(estimates), estimates
    assert estimates[-1] > estimates[0] + 5
    psnrs = [mean_psnr(one) for one in sent]
    assert psnrs[-1] > max(psnrs) - 0.1, psnrs


TOLD = [name for name in FOR_ALL_SNRS if "-none-" not in name]


@pytest.mark.parametrize("name", TOLD)
def test_the_told_snr_matters(name: str) -> None:
    right, wrong = send(name, 10, 10), send(name, 10, 1)
    assert (right.frame.symbols - wrong.frame.symbols).abs().max() > 1e-3
    assert not torch.equal(right.decoded.images, wrong.decoded.images)


@pytest.mark.parametrize("name", zoo_names())
def test_bfloat16_costs_no_quality(name: str) -> None:
    exact, fast = (mean_psnr(send(name, 10, 10, precision)) for precision in ("fp32", "bf16"))
    assert abs(exact - fast) < (0.08 if "mambajscc" in name else 0.15)


@pytest.mark.parametrize("name", zoo_names())
def test_the_card_is_whole(name: str) -> None:
    path = weights_path(name)
    _, card = read_weights_metadata(path)
    beside = json.loads(path.with_suffix(".json").read_text())
    digest = file_digest(path)  # which the file itself cannot hold, and older cards do not
    assert beside.pop("sha256", digest) == digest
    assert beside == card
    assert card.keys() >= {
        "recipe", "steps", "images_seen", "training_seconds", "validation", "versions", "machine",
    }  # fmt: skip
    assert not any("kodim" in image for image in card["held_out_images"])
    assert "kodak" not in json.dumps(card["recipe"]).lower()
    assert path.stat().st_size <= 6e6


@pytest.mark.parametrize("name", ["zoo:/etc/passwd", "zoo:../zoo/mvsc4-cifar10", "zoo:", "zoo:*"])
def test_names_of_weights_are_no_paths(name: str) -> None:
    with pytest.raises(InputError, match=r"no weights 'zoo:.*'; allowed are zoo:adjscc-small-awgn"):
        weights_path(name)


def test_weights_that_shipped_files_name_are_there() -> None:
    named = {
        name
        for path in sorted((ROOT / "scenarios").rglob("*.yaml"))
        for name in re.findall(r"zoo:[\w-]+", path.read_text())
    }
    assert named
    assert not named - set(zoo_names())


def test_all_weights_together_are_small() -> None:
    assert sum(weights_path(name).stat().st_size for name in zoo_names()) <= 60e6


def test_cards_of_weights_that_were_replaced_stay() -> None:
    assert "zoo:swinjscc-small-rayleigh" not in zoo_names()
    card = json.loads(card_path("zoo:swinjscc-small-rayleigh").read_text())
    assert card["recipe"]["name"] == "swinjscc-small-rayleigh"
    with pytest.raises(InputError, match="no weights 'zoo:none'"):
        card_path("zoo:none")
