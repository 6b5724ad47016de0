"""linksim-bench: protocols that never change, each known by a digest, and what enters them.

A protocol is a scenario without codecs. A change of one, however small, is a new version beside the
old one: results of different protocols are never compared.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from linksim.errors import InputError
from linksim.files.strict_yaml import read_mapping
from linksim.images.sets import open_images
from linksim.link.site_file import load_site
from linksim.settings import CodecSettings, first_error, load_settings
from linksim.sweep.scenario import Scenario
from linksim.sweep.shipped import scenario_folder

VERSION = "v1"
NAME = f"linksim-bench {VERSION}"

REFERENCES = ("bpg_ldpc", "mambajscc")
"""What every codec is compared with: files in ``scenarios/benchmark/codecs``."""


class Entrant(CodecSettings):
    """A codec that enters the benchmark, as a scenario names it, and what a reader should know.

    by: whose result it is. repeat: where to find what repeats it: a repository, a command.
    protocols: settings that differ over one of the protocols, by its name, such as other weights.
    """

    by: str = ""
    repeat: str = ""
    protocols: dict[str, dict[str, Any]] = Field(default_factory=dict)

    def over(self, protocol: str) -> CodecSettings:
        """The codec over one of the protocols; raises InputError."""
        own = self.model_dump(exclude={"by", "repeat", "protocols"}, exclude_unset=True)
        try:
            return CodecSettings.model_validate(own | self.protocols.get(protocol, {}))
        except ValidationError as error:
            raise InputError(f"protocols.{protocol}: {first_error(error)}") from None


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One of the benchmark's scenarios, its codecs left open.

    images: their names. digest: of what it says, of the pixels of its images and of the site that
    it is over, 64 hex digits.
    """

    name: str
    about: str
    keys: Mapping[str, Any]
    images: tuple[str, ...]
    digest: str

    def scenario(self, codecs: list[CodecSettings]) -> Scenario:
        """With its codecs; raises InputError."""
        entries = [codec.model_dump(exclude_unset=True) for codec in codecs]
        try:
            return Scenario.model_validate({"name": self.name, **self.keys, "codecs": entries})
        except ValidationError as error:
            raise InputError(f"{NAME} {self.name}: {first_error(error)}") from None


def protocols() -> list[Protocol]:
    """Those of this version, sorted by name."""
    return [_protocol(path) for path in sorted((_folder() / VERSION).glob("*.yaml"))]


def load_entrant(path: Path) -> Entrant:
    """Read a codec's file; raises InputError."""
    entrant = load_settings(path, Entrant)
    known = [protocol.stem for protocol in (_folder() / VERSION).glob("*.yaml")]
    for name in entrant.protocols:
        if name not in known:
            raise InputError(f"{path}: protocols: {name!r} is none; there are {sorted(known)}")
    return entrant


def references() -> list[Entrant]:
    """The codecs that all others are compared with."""
    return [load_entrant(_folder() / "codecs" / f"{name}.yaml") for name in REFERENCES]


def _folder() -> Path:
    return scenario_folder() / "benchmark"


def _protocol(path: Path) -> Protocol:
    keys = read_mapping(path)
    text = json.dumps(keys, sort_keys=True)
    digest = hashlib.sha256(text.encode())
    images = open_images(**keys["images"])
    for item in images:
        digest.update(item.name.encode() + item.image.numpy().tobytes())
    if keys["channel"]["type"] == "site":
        digest.update(load_site(keys["channel"]["site"]).digest.encode())
    about = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
    return Protocol(
        name=path.stem, about=about, keys=keys, images=images.names, digest=digest.hexdigest()
    )
