"""The Python entrance: what the command line does, as functions. All are names of ``linksim``.

Each imports what it needs when it is called, so that ``import linksim`` stays quick.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from linksim.codec import Codec
from linksim.errors import InputError, one_line
from linksim.settings import CodecSettings, Precision, first_error

if TYPE_CHECKING:
    import pandas as pd

    from linksim.link.channel import ChannelSettings
    from linksim.link.link import Ledger
    from linksim.sweep.options import Draws, Numerics, RunOptions
    from linksim.sweep.plan import Plan, Point
    from linksim.sweep.scenario import Scenario

_SAME_MEASUREMENT = ("seed", "images", "channel", "equalizer")
_log = logging.getLogger(__name__)


def run(
    scenario: "str | Path | Mapping[str, Any] | Scenario",
    out: str | Path = "results",
    *,
    limit: int | None = None,
    device: str = "auto",
    batch_size: int = 1,
    workers: int | None = None,
    scheduler: str | None = None,
    compiled: bool = False,
    draws: "Draws" = "cpu",
    overwrite: bool = False,
) -> "pd.DataFrame":
    """Work off a scenario into ``out/<its name>``; returns the summary, one line a point.

    scenario: a file, the name of one that comes with linksim, a mapping of its keys or a Scenario.
    limit: only the first so many images. device, batch_size, workers, scheduler, compiled, draws:
    as in :class:`linksim.sweep.options.RunOptions`. overwrite: compute finished points again, and
    replace what another scenario left in the folder.

    Finished points are kept: a finished scenario costs nothing. Raises InputError, and
    PointsFailedError where points failed for another reason.

    >>> import tempfile
    >>> table = run(
    ...     {
    ...         "images": {"source": "kodak", "crop": 64, "limit": 2},
    ...         "channel": "awgn",
    ...         "snr_db": [0, 10],
    ...         "cbr": "1/12",
    ...         "metrics": ["psnr"],
    ...         "codecs": ["bpg_capacity"],
    ...     },
    ...     out=tempfile.mkdtemp(),
    ... )
    >>> table["snr_db"].tolist(), table["images"].tolist()
    ([0.0, 10.0], [2, 2])
    """
    from linksim.sweep.options import RunOptions

    options = RunOptions(
        device=device,
        batch_size=batch_size,
        workers=workers,
        scheduler=scheduler,
        compiled=compiled,
        draws=draws,
    )
    prepared = prepare_run(scenario, out, limit=limit, numerics=options.numerics)
    return prepared.finish(options, overwrite=overwrite)


def plot(folder: str | Path) -> list[Path]:
    """Draw the figures of a result folder, or of all below a folder, from their tables alone.

    Returns the paths of the figures. Raises InputError where there are no results.
    """
    from linksim.plot.draw import plot_results

    return plot_results(Path(folder))


def load_codec(
    codec: str,
    *,
    preset: str | None = None,
    options: Mapping[str, Any] | None = None,
    weights: str | Path | None = None,
    precision: Precision | None = None,
    device: str = "cpu",
) -> Codec:
    """A codec as a scenario would name it, in evaluation mode; raises InputError.

    codec: a name that ``linksim codecs`` lists, ``package.module:Class`` or ``./file.py:Class``.
    preset, options, weights, precision: as in a scenario. A neural codec without weights starts
    from the same random ones every time.

    >>> codec = load_codec("deepjscc", preset="paper")
    >>> type(codec).__name__, codec.training
    ('DeepJSCC', False)
    """
    from linksim.codec_lookup import codec_from_settings
    from linksim.runtime.devices import pick_device
    from linksim.sweep.randomness import seeded

    given: dict[str, Any] = {
        "codec": codec,
        "preset": preset,
        "options": dict(options or {}),
        "weights": None if weights is None else str(weights),
        "precision": precision,
    }
    try:
        settings = CodecSettings.model_validate(
            {key: value for key, value in given.items() if value is not None}
        )
    except ValidationError as error:
        raise InputError(f"codec: {first_error(error)}") from None
    with seeded(0, torch.device("cpu")):
        built = codec_from_settings(settings)
    if isinstance(built, torch.nn.Module):
        built.to(pick_device(device))
    return built


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What came of one transmission of B images.

    images: float32 [B, 3, H, W], what the decoder made of what arrived.
    metrics: quality by name, each [B]. ledger: what each image cost. report: what the codec says
    beside its images, each [B].
    """

    images: Tensor
    metrics: dict[str, Tensor]
    ledger: "Ledger"
    report: dict[str, Tensor]


def send(
    codec: Codec | str,
    images: Tensor,
    *,
    channel: "ChannelSettings | Mapping[str, Any] | str" = "awgn",
    snr_db: float,
    cbr: float,
    seed: int = 0,
    equalizer: str | None = None,
    metrics: Sequence[str] = ("psnr",),
) -> Sent:
    """Send images once over a channel, as a sweep would.

    codec: from :func:`load_codec`, or a name. images: float32 [B, 3, H, W] in [0, 1]. channel: a
    name, or settings such as ``{"type": "rayleigh", "coherence": "frame"}``. snr_db: Es/N0 in dB.
    cbr: complex channel uses over 3*H*W. seed: of fading, noise and the codec's own draws.

    Raises InputError for what does not fit, and for a codec that breaks the contract.

    >>> import torch, linksim
    >>> images = torch.full((1, 3, 64, 64), 0.5)  # grey
    >>> sent = linksim.send("bpg_capacity", images, channel="rayleigh", snr_db=10, cbr=1 / 12)
    >>> sent.ledger.symbols  # of 3 * 64 * 64 / 12
    tensor([1024])
    >>> bool(sent.metrics["psnr"] > 40)
    True
    """
    from linksim.link.link import Link, LinkProbe
    from linksim.link.lookup import Channel
    from linksim.link.transmission import encode, transmit, uniform_snr
    from linksim.metrics.meter import measure
    from linksim.runtime.seeding import derive_seed
    from linksim.sweep.held import HeldCodec
    from linksim.units import symbol_budget

    _check_images(images)
    if equalizer not in (None, "mmse", "zf"):
        raise InputError(f"equalizer is {equalizer!r}; allowed are mmse and zf")
    built = load_codec(codec) if isinstance(codec, str) else codec
    try:
        settings: ChannelSettings = TypeAdapter(Channel).validate_python(channel)
    except ValidationError as error:
        raise InputError(f"channel: {first_error(error)}") from None
    link = Link(settings, equalizer)  # type: ignore[arg-type]
    height, width = images.shape[-2:]
    budget = link.data_symbols(symbol_budget(cbr, height, width))
    if budget < 1:
        raise InputError(f"cbr {cbr:g} leaves no symbol for a {height}x{width} image")
    held = HeldCodec(built, metrics=metrics, device=images.device).seeded(seed)
    snr = uniform_snr(snr_db, len(images), images.device)
    draws = [derive_seed(seed, i, 0, settings.fading_name) for i in range(len(images))]
    with torch.no_grad():
        held.calibrate(LinkProbe(link))
        sent = transmit(
            held,
            encode(held, images, snr_db=snr, max_symbols=budget),
            link,
            snr_db=snr,
            realisation=link.draw(draws, budget, images.device),
            rx_snr_db=snr,
            image_size=(height, width),
        )
    return Sent(
        images=sent.decoded.images,
        metrics=measure(metrics, sent.decoded.images, images),
        ledger=sent.ledger,
        report=dict(sent.decoded.report),
    )


@dataclass(frozen=True, kw_only=True)
class PreparedRun:
    """A scenario that is planned, its folder, and the points that are still to be computed."""

    plan: "Plan"
    folder: Path
    path: Path | None
    missing: tuple["Point", ...]

    @property
    def file(self) -> str | None:
        """The name of the scenario's file."""
        return None if self.path is None else self.path.name

    def finish(
        self,
        options: "RunOptions",
        *,
        overwrite: bool = False,
        on_start: "Callable[[Point], None]" = lambda point: None,
        on_image: Callable[[int], None] = lambda count: None,
    ) -> "pd.DataFrame":
        """Compute what is missing and write the tables; returns the summary, one line a point.

        Ctrl-C raises KeyboardInterrupt with a message that says what is kept.
        """
        from linksim.results.collect import collect
        from linksim.sweep.run import run_points
        from linksim.sweep.store import Store

        store = Store(self.folder)
        if not overwrite:
            self._check_folder(store.scenario)
        store.sweep_away_leftovers()
        if overwrite:
            store.forget(point.key for point in self.plan.points)
        try:
            run_points(self.plan, store, options, on_start=on_start, on_image=on_image)
            summary = collect(self.plan, store, self.folder, file=self.file)
            store.note_scenario(self.path)
            return summary
        except KeyboardInterrupt:
            kept = sum(point.key in Store(self.folder) for point in self.plan.points)
            raise KeyboardInterrupt(
                f"{kept} of {len(self.plan.points)} points are kept in {self.folder}; the same "
                "command goes on there"
            ) from None

    def _check_folder(self, before: str) -> None:
        """Notice what another scenario of the same name left, and refuse to mix it up.

        before: the path of the scenario that left it, empty where that is not known.
        """
        from linksim.results.folder import read_manifest

        try:
            ours = json.loads(self.plan.scenario.model_dump_json(by_alias=True))
            manifest = read_manifest(self.folder)
            file, held = manifest.get("file"), manifest["scenario"]
            other = [key for key in _SAME_MEASUREMENT if held.get(key) != ours[key]]
        except (InputError, KeyError, TypeError, AttributeError):
            return  # nothing there, or nothing that can be read: it is written anew
        if file is None:
            return
        if file == self.file:  # of the same place too?
            if not before or self.path is None or before == str(self.path.resolve()):
                return
            file = before
        if other:
            differs = "images differ" if other[0] == "images" else f"{other[0]} differs"
            raise InputError(
                f"{self.folder} holds results of {file}, another scenario of the same name (its "
                f"{differs}); give another --out, or --overwrite to replace its tables"
            )
        if held != ours:
            _log.warning("%s held the tables of %s; they are replaced", self.folder, file)


def prepare_run(
    scenario: "str | Path | Mapping[str, Any] | Scenario",
    out: str | Path = "results",
    *,
    limit: int | None = None,
    numerics: "Numerics | None" = None,
) -> PreparedRun:
    """Plan a scenario and look up what ``out/<its name>`` already holds; raises InputError."""
    from linksim.sweep.options import Numerics
    from linksim.sweep.plan import plan_sweep
    from linksim.sweep.scenario import Scenario
    from linksim.sweep.shipped import scenario_path
    from linksim.sweep.store import Store

    path = None
    if isinstance(scenario, str | Path):
        from linksim.sweep.scenario import load_scenario

        path = scenario_path(scenario)
        read = load_scenario(path)
    elif isinstance(scenario, Scenario):
        read = scenario
    else:
        try:
            read = Scenario.model_validate({"name": "scenario", **scenario})
        except ValidationError as error:
            raise InputError(f"scenario: {first_error(error)}") from None
    if limit is not None:
        if limit < 1:
            raise InputError(f"limit is {limit}; it must be at least 1")
        images = read.images.model_copy(update={"limit": limit})
        read = read.model_copy(update={"images": images})
    plan = plan_sweep(read, numerics or Numerics())
    folder = Path(out) / read.name
    try:
        missing = Store(folder).unfinished(plan.points)
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({one_line(error)})") from None
    return PreparedRun(plan=plan, folder=folder, path=path, missing=tuple(missing))


def _check_images(images: object) -> None:
    wanted = "wanted is a float32 tensor [B, 3, H, W] in [0, 1]"
    if not isinstance(images, Tensor):
        raise InputError(f"images are a {type(images).__name__}; {wanted}")
    if images.dtype != torch.float32 or images.ndim != 4 or images.shape[1] != 3 or not len(images):
        raise InputError(f"images are {images.dtype} {list(images.shape)}; {wanted}")
    if not bool(((images >= 0) & (images <= 1)).all()):
        low, high = float(images.min()), float(images.max())
        raise InputError(f"images have values from {low:g} to {high:g}; {wanted}")
