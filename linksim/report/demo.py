"""One picture through every codec of a scenario, at three SNRs, as a page: a first look."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from linksim.codec import Codec
from linksim.entrance import Sent, load_codec, send
from linksim.errors import InputError, printable
from linksim.images.sets import ImageItem, ImageSet, open_images
from linksim.images.sources import Source
from linksim.report.gallery import Pixels, Shown, write_gallery
from linksim.settings import CodecSettings
from linksim.sweep.scenario import Scenario, load_scenario
from linksim.sweep.shipped import scenario_path

SNRS_DB = (1.0, 7.0, 13.0)
SIDE = 256
_PICTURE = "kodim23"


def write_demo(
    out: Path,
    photo: Path | None = None,
    *,
    scenario: str | Path = "rayleigh_sweep",
    on_start: Callable[[str, int], None] = lambda label, codecs: None,
    on_done: Callable[[], None] = lambda: None,
) -> Path:
    """Write the page ``out``, and give its path.

    photo: a picture file, Kodak's parrots if None; its middle square is scaled to 256x256 pixels.
    scenario: a file or the name of a shipped one, of which codecs, first channel, first CBR,
    equaliser and seed are taken. on_start is told the label of each codec and how many there are,
    on_done when one is finished.

    Raises InputError for what is no picture, no scenario, or a place that takes no file.
    """
    if out.is_dir():
        raise InputError(f"{out}: a folder; wanted is the name of the page to write")
    its = load_scenario(scenario_path(scenario))
    item = _picture(photo)
    batch = item.image[None].float() / 255
    shown: list[Shown] = []
    for settings in its.codecs:
        on_start(settings.label, len(its.codecs))
        codec = _built(settings.repetitions()[0])
        shown += [
            _shown(settings.label, snr_db, _sent(codec, batch, its, snr_db)) for snr_db in SNRS_DB
        ]
        on_done()
    write_gallery(
        out, title=item.name, told=_told(item, its), original=_pixels(batch[0]), shown=shown
    )
    return out


def _picture(photo: Path | None) -> ImageItem:
    if photo is not None:
        source = Source(name=printable(photo.stem), place=photo)
        return ImageSet([source], resize=SIDE, crop=(SIDE, SIDE))[0]
    kodak = open_images("kodak", resize=SIDE, crop=SIDE)
    return kodak[kodak.names.index(_PICTURE)]


def _built(settings: CodecSettings) -> Codec:
    return load_codec(
        settings.codec,
        preset=settings.preset,
        options=settings.options,
        weights=settings.weights,
        precision=settings.precision if settings.precision != "fp32" else None,
    )


def _sent(codec: Codec, batch: Tensor, scenario: Scenario, snr_db: float) -> Sent:
    return send(
        codec,
        batch,
        channel=scenario.channel[0],
        snr_db=snr_db,
        cbr=scenario.cbr[0],
        seed=scenario.seed,
        equalizer=scenario.equalizer,
        metrics=("psnr", "lpips"),
    )


def _told(item: ImageItem, scenario: Scenario) -> list[str]:
    channel, cbr = scenario.channel[0], scenario.cbr[0]
    return [
        f"{item.name}, {SIDE}x{SIDE} pixels, over {channel.shown_name}: every codec meets the same "
        f"fades and the same noise, and may use {cbr:.4g} channel uses per source value.",
        "One picture shows what errors look like and is no comparison: python -m linksim run "
        f"{scenario.name} makes one, with intervals.",
    ]


def _shown(label: str, snr_db: float, sent: Sent) -> Shown:
    return Shown(
        label=label,
        snr_db=snr_db,
        image=_pixels(sent.images[0]),
        psnr=float(sent.metrics["psnr"][0]),
        lpips=float(sent.metrics["lpips"][0]),
        uses=int(sent.ledger.symbols[0]),
    )


def _pixels(image: Tensor) -> Pixels:
    """uint8 [H, W, 3] of [3, H, W] in [0, 1]."""
    pixels: Pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return pixels
