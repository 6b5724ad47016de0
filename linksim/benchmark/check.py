"""A results file held against the protocols, against itself, and against the codec run again."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from random import Random

import pandas as pd

from linksim.benchmark.protocols import NAME, Protocol, protocols
from linksim.benchmark.result import (
    QUALITIES,
    WHERE,
    Over,
    Result,
    in_words,
    over_protocol,
    read_result,
    scores,
)
from linksim.errors import InputError
from linksim.metrics.meter import Meter
from linksim.runtime.devices import pick_device
from linksim.runtime.seeding import derive_seed
from linksim.settings import CodecSettings
from linksim.sweep.plan import plan_sweep
from linksim.sweep.prepare import prepare

TOLERANCE = {"psnr": 0.05, "ms_ssim": 1e-3, "lpips": 2e-3}
"""What the same transmission may differ by between machines, whose sums end in other bits."""

_IMAGES = 2


def check_result(path: Path, *, device: str = "auto") -> list[str]:
    """Lines that say what was checked; raises InputError for the first thing that is not right.

    Digests are compared with those of the protocols here; rows must be complete, and the scores
    those of the rows. Two images at an SNR of each protocol, drawn by what the file holds, are sent
    again and compared within :data:`TOLERANCE`; that needs the codec and its weights here.
    """
    result = read_result(path)
    known = {protocol.name: protocol for protocol in protocols()}
    if list(result.protocols) != list(known):
        raise InputError(f"{path}: holds {list(result.protocols)}; {NAME} has {list(known)}")
    lines = []
    for name, over in result.protocols.items():
        if over.digest != known[name].digest:
            raise InputError(
                f"{path}: {name}: another protocol than that of {NAME} (digest "
                f"{over.digest[:12]}, not {known[name].digest[:12]})"
            )
        _check_rows(path, known[name], over, result.entrant.over(name))
        far = _sent_again(path, result, known[name], device)
        told = ", ".join(f"{in_words(metric)} {gap:.2g}" for metric, gap in far.items())
        lines.append(f"{name}: digest, rows and scores agree; sent again, the largest gap: {told}")
    return lines


def _check_rows(path: Path, protocol: Protocol, over: Over, settings: CodecSettings) -> None:
    missing = [name for name in (*WHERE, *QUALITIES) if name not in over.rows]
    if missing or len(set(map(len, over.rows.values()))) != 1:
        what = f"no {missing[0]}" if missing else "columns of different lengths"
        raise InputError(f"{path}: {protocol.name}: rows have {what}")
    scenario, table = protocol.scenario([settings]), over.table()
    wanted = product(protocol.images, range(scenario.trials), scenario.snr_db, scenario.cbr)
    if sorted(wanted) != sorted(table[list(WHERE)].itertuples(index=False, name=None)):
        raise InputError(f"{path}: {protocol.name}: rows are not those of the protocol, each once")
    if scores(table) != over.scores:
        raise InputError(f"{path}: {protocol.name}: scores are not the means of the rows")


def _sent_again(path: Path, result: Result, protocol: Protocol, device: str) -> dict[str, float]:
    """The largest difference of each metric on a sample."""
    settings = result.entrant.over(protocol.name)
    plan = plan_sweep(protocol.scenario([settings]))
    over = result.protocols[protocol.name]
    weights = plan.codecs[settings.label]["weights"]
    if weights != over.weights:
        raise InputError(f"{path}: {protocol.name}: made with other weights than those here")
    draw = Random(derive_seed(over.digest, str(over.rows["psnr"])))
    items = sorted(draw.sample(range(len(plan.items)), _IMAGES))
    point = draw.choice(plan.points)
    few = replace(plan, items=[plan.items[i] for i in items])
    place = pick_device(device)
    prepared = prepare(few, settings, Meter(plan.scenario.metrics), place, 1)
    rows = prepared.rows(point, lambda name, image: None, lambda count: None)
    again = over_protocol(
        rows.assign(label=settings.label), settings.label, [], digest="", weights=None
    ).table()
    both = again.merge(over.table(), on=list(WHERE), suffixes=("", "_there"), validate="1:1")
    far = {name: float((both[name] - both[f"{name}_there"]).abs().max()) for name in QUALITIES}
    for name, gap in far.items():
        if not gap <= TOLERANCE[name]:
            where = _where(both, name)
            raise InputError(
                f"{path}: {protocol.name}: {in_words(name)} of {where} is {gap:.3g} from what "
                f"comes out here; at most {TOLERANCE[name]:g} is allowed"
            )
    return far


def _where(both: pd.DataFrame, name: str) -> str:
    gaps = (both[name] - both[f"{name}_there"]).abs().fillna(float("inf"))
    row = both.to_dict("records")[int(gaps.to_numpy().argmax())]
    return f"{row['image']} at {row['snr_db']:g} dB"
