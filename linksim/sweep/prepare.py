"""The codecs of a plan, built to be measured."""

import torch

from linksim.codec_lookup import codec_from_settings
from linksim.metrics.meter import Meter
from linksim.runtime.compiled import compile_parts
from linksim.runtime.seeding import derive_seed
from linksim.settings import CodecSettings
from linksim.sweep.plan import Plan
from linksim.sweep.prepared import PreparedCodec
from linksim.sweep.randomness import seeded


def prepare(
    plan: Plan, settings: CodecSettings, meter: Meter, device: torch.device, batch_size: int
) -> PreparedCodec:
    """One of the plan's codecs, built; raises InputError."""
    seed = derive_seed(plan.scenario.seed, "init")
    with seeded(seed, torch.device("cpu")):  # one without weights is the same every time
        codec = codec_from_settings(settings)
    if isinstance(codec, torch.nn.Module):
        codec.to(device)
    if plan.numerics.compiled:
        compile_parts(codec)
    return PreparedCodec(plan, codec, meter, device, batch_size)
