"""How a sweep is run: where and how widely; and what of it changes what comes out."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from linksim.errors import InputError
from linksim.runtime.devices import pick_device

Draws = Literal["cpu", "device"]


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """What of the way to compute enters the points' keys, because rows depend on it.

    compiled: whether torch.compile makes the neural codecs faster; rows differ by rounding.
    draws: the type of the device whose generator fading and noise come from.
    """

    compiled: bool = False
    draws: str = "cpu"

    @property
    def identity(self) -> dict[str, Any]:
        """What a key covers: nothing where all is as by default."""
        compiled = {"compiled": True} if self.compiled else {}
        return compiled if self.draws == "cpu" else {**compiled, "draws": self.draws}


AS_USUAL = Numerics()


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What serial and distributed runs share.

    device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``. batch_size: images that go through together.
    workers: processes to start here, or scheduler: the address of a Dask scheduler; by default the
    points are done in this process, one after the other.
    compiled: torch.compile neural codecs. draws: fading and noise from the ``cpu``, alike for all
    machines, or from the ``device``.
    """

    device: str = "auto"
    batch_size: int = 1
    workers: int | None = None
    scheduler: str | None = None
    compiled: bool = False
    draws: Draws = "cpu"

    def __post_init__(self) -> None:
        for name in ("batch_size", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; it must be at least 1")
        if self.draws not in get_args(Draws):
            raise InputError(f"draws is {self.draws!r}; allowed are cpu and device")
        if self.workers is not None and self.scheduler is not None:
            raise InputError("give --workers or --scheduler, not both: a scheduler has its workers")

    @property
    def numerics(self) -> Numerics:
        """What of this enters the points' keys; raises InputError for a device not there."""
        where = pick_device(self.device).type if self.draws == "device" else "cpu"
        return Numerics(compiled=self.compiled, draws=where)

    @property
    def distributed(self) -> bool:
        """Whether Dask shares out the points."""
        return self.workers is not None or self.scheduler is not None
