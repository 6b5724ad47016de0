"""What every neural codec gave for a fixed seed and image: a change that alters numbers is seen.

After a change that is meant to: ``python tests/test_golden.py`` writes the file anew.
"""

import json
from pathlib import Path

import pytest
import torch

from linksim.codec_lookup import build_codec, neural_codec_names
from linksim.images.sets import open_images
from linksim.link.flat import Awgn
from linksim.link.link import Link
from linksim.link.transmission import encode, transmit, uniform_snr
from linksim.neural_codec import NeuralCodec

GOLDEN = Path(__file__).parent / "data" / "golden.json"
SIDE = 64


@torch.inference_mode()
def fingerprint(name: str) -> list[float]:
    """Twenty numbers of the ``small`` preset: ten symbols' energies, ten patches' means."""
    torch.manual_seed(0)
    codec = build_codec(name, preset="small")
    assert isinstance(codec, NeuralCodec)
    codec.eval()
    image = next(iter(open_images("kodak", crop=SIDE, limit=1))).image[None].float() / 255
    snr_db = uniform_snr(10, 1, "cpu")
    budget = SIDE * SIDE // 2
    frame = encode(codec, image, snr_db=snr_db, max_symbols=budget)
    link = Link(Awgn())
    realisation = link.draw([1], budget, torch.device("cpu"))
    sent = transmit(
        codec,
        frame,
        link,
        snr_db=snr_db,
        realisation=realisation,
        rx_snr_db=snr_db,
        image_size=(SIDE, SIDE),
    )
    energy = frame.symbols.abs().square()[0]
    energies = (energy[:: len(energy) // 10][:10] / energy.mean()).tolist()
    patches = sent.decoded.images[0].unfold(1, 16, 16).unfold(2, 16, 16).mean((3, 4)).flatten()
    return [round(float(value), 6) for value in [*energies, *patches[:10].tolist()]]


@pytest.mark.parametrize("name", neural_codec_names())
def test_output_is_what_it_was(name: str) -> None:
    found, stored = fingerprint(name), json.loads(GOLDEN.read_text())[name]
    assert found == pytest.approx(stored, rel=1e-3, abs=1e-3)


if __name__ == "__main__":
    fingerprints = {name: fingerprint(name) for name in neural_codec_names()}
    GOLDEN.write_text(json.dumps(fingerprints, indent=1) + "\n")
