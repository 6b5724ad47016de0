"""A manifest in plain words: what was run, with what."""

from collections.abc import Mapping, Sequence
from typing import Any

from linksim.plot.facets import ratio
from linksim.progress import counted_images

Manifest = Mapping[str, Any]


def told(manifest: Manifest) -> list[str]:
    """Sentences that say what was sent over what, at which SNRs and bandwidths."""
    scenario = manifest["scenario"]
    images = scenario["images"]
    count = len(manifest["images"])
    side = images.get("crop") or images.get("resize")
    size = f", {_side(side)} {'centre crops' if images.get('crop') else 'resized'}" if side else ""
    trials = scenario.get("trials", 1)
    until = scenario.get("until")
    repeats = (
        f"as many independent channel realisations an image as its interval needs (±"
        f"{until['halfwidth']:g} of {until['metric']}, {until['min_trials']} to "
        f"{until['max_trials']})"
        if until
        else f"{trials} independent channel realisation{'s' if trials > 1 else ''} an image"
    )
    channel = manifest["channel"]
    names = list(channel.values()) if isinstance(channel, Mapping) else [channel]
    return [
        f"{counted_images(count)} ({images['source']}{size}) crossed "
        f"{_listed(names)}, with {repeats}; seed {scenario.get('seed', 0)}.",
        f"SNR (Es/N0 per complex channel use) {_snrs(scenario['snr_db'])}; bandwidth (CBR, "
        f"channel uses per source value) {_listed([ratio(cbr) for cbr in scenario['cbr']])}.",
        "Every codec meets the same images, fades and noise, so that differences are paired; all "
        "channel uses count, pilots, parity and padding included.",
    ]


def codec_lines(manifest: Manifest) -> list[dict[str, str]]:
    """For each codec: label, class, weights and options."""
    settings = {entry["label"]: entry for entry in manifest["scenario"]["codecs"]}
    lines = []
    for label, identity in manifest["codecs"].items():
        options = ", ".join(f"{k}: {v}" for k, v in identity.get("options", {}).items())
        entry, known = settings.get(label, {}), identity.get("weights")
        weights = entry.get("weights") or ", ".join(entry.get("seeds") or ["none"])
        digests = ", ".join(
            str(each)[:12] for each in (known if isinstance(known, list) else [known])
        )
        lines.append(
            {
                "label": label,
                "class": str(identity.get("class", "")),
                "weights": f"{weights} ({digests})" if known else weights,
                "options": options or "as they are",
            }
        )
    return lines


def provenance(manifest: Manifest) -> str:
    """Versions and machine in one line."""
    machine = manifest.get("machine", {})
    versions = manifest.get("versions", {})
    where = [str(machine[key]) for key in ("processor", "gpu", "system") if machine.get(key)]
    return ", ".join([*(f"{name} {value}" for name, value in versions.items()), *where])


def _side(side: Any) -> str:
    height, width = side if isinstance(side, Sequence) else (side, side)
    return f"{height}x{width}"


def _snrs(values: Sequence[float]) -> str:
    """Without any, the channel has its own."""
    return f"{_span(values)} dB" if values else "as the link budget gives it at each position"


def _span(values: Sequence[float]) -> str:
    if len(values) < 4:
        return _listed([f"{value:g}" for value in values])
    return f"{min(values):g} to {max(values):g} ({len(values)} values)"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
