"""How a sweep is run: where and how widely, and never what comes out."""

from dataclasses import dataclass

from linksim.errors import InputError


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What serial and distributed runs share.

    device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``. batch_size: images that go through together.
    workers: processes to start here, or scheduler: the address of a Dask scheduler; by default the
    points are done in this process, one after the other.
    """

    device: str = "auto"
    batch_size: int = 1
    workers: int | None = None
    scheduler: str | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; it must be at least 1")
        if self.workers is not None and self.scheduler is not None:
            raise InputError("give --workers or --scheduler, not both: a scheduler has its workers")

    @property
    def distributed(self) -> bool:
        """Whether Dask shares out the points."""
        return self.workers is not None or self.scheduler is not None
