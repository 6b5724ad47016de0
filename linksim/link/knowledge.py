"""What each side believes of the SNR: the truth, nothing, something wrong, or an estimate.

The belief is what a codec is told (:class:`linksim.codec.TxInfo`, ``RxInfo``). The equaliser keeps
to the channel's own gains and noise variance, so that a wrong belief is the codec's burden alone.
"""

import random
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field, PositiveInt, ValidationError
from torch import Tensor

from linksim.link.flat import FlatRealisation
from linksim.runtime.seeding import derive_seed
from linksim.settings import Db, Settings, first_error
from linksim.units import linear_to_db, snr_db_to_no


class ErrorDb(Settings):
    """The SNR with a Gaussian error of standard deviation ``error_db`` dB, one an image and trial.

    All codecs meet the same errors, at every SNR; those of the two sides are independent.
    """

    error_db: float = Field(ge=0, le=100, allow_inf_nan=False)


class FixedDb(Settings):
    """Always ``fixed_db`` dB, whatever the SNR is."""

    fixed_db: Db


class OffsetDb(Settings):
    """The SNR plus ``offset_db`` dB."""

    offset_db: Db


class SnrPilots(Settings):
    """The receiver's estimate from that many known symbols at the end of the budget; they count.

    ``estimated`` stands for 32 of them.
    """

    pilots: PositiveInt


_KINDS: dict[str, type[Settings]] = {
    **{"error_db": ErrorDb, "fixed_db": FixedDb, "offset_db": OffsetDb},
    "pilots": SnrPilots,
}
_ESTIMATED = SnrPilots(pilots=32)


def _belief_of(value: Any, *, receiver: bool) -> Any:
    """A belief as a scenario writes it; whatever it is not is one line."""
    if value in ("perfect", "none") or isinstance(value, Settings):
        return value
    if receiver and value == "estimated":
        return _ESTIMATED
    kinds = [kind for kind in _KINDS if receiver or kind != "pilots"]
    if isinstance(value, dict) and len(value) == 1 and set(value) <= set(kinds):
        try:
            return _KINDS[next(iter(value))].model_validate(value)
        except ValidationError as error:
            raise ValueError(first_error(error)) from None
    words = ["perfect", "none", *(["estimated"] if receiver else [])]
    allowed = ", ".join([*words, *(f"{{{kind}: …}}" for kind in kinds)])
    raise ValueError(f"{value!r} is no knowledge of an SNR; allowed are {allowed}")


TxBelief = Annotated[
    Literal["perfect", "none"] | ErrorDb | FixedDb | OffsetDb,
    BeforeValidator(lambda value: _belief_of(value, receiver=False)),
]
RxBelief = Annotated[
    Literal["perfect", "none", "estimated"] | ErrorDb | FixedDb | OffsetDb | SnrPilots,
    BeforeValidator(lambda value: _belief_of(value, receiver=True)),
]


class SnrKnowledge(Settings):
    """What the transmitter and the receiver believe of the SNR.

    label: how tables and figures call it.
    """

    tx: TxBelief = "perfect"
    rx: RxBelief = "perfect"
    label: str | None = None

    @property
    def name(self) -> str:
        """The label, or both beliefs in words."""
        tx, rx = (_in_words(belief) for belief in (self.tx, self.rx))
        return self.label or (f"both {tx}" if tx == rx else f"tx {tx}, rx {rx}")

    @property
    def pilots(self) -> int:
        """Channel uses that the receiver's estimate costs an image."""
        return self.rx.pilots if isinstance(self.rx, SnrPilots) else 0

    def told_to_tx(self, snr_db: Tensor, draws: Sequence[tuple[str | int, ...]]) -> Tensor | None:
        """What the transmitter is told for true SNRs snr_db [B]; None if nothing.

        draws: what the error of each image depends on, such as (seed, image, trial).
        """
        return _told(self.tx, snr_db, [derive_seed(*parts, "csi tx") for parts in draws])

    def told_to_rx(
        self, snr_db: Tensor, draws: Sequence[tuple[str | int, ...]], pilots: FlatRealisation | None
    ) -> Tensor | None:
        """What the receiver is told; pilots: the channel that its pilot symbols meet, if any."""
        if isinstance(self.rx, SnrPilots):
            assert pilots is not None  # they are cut off the budget wherever self.pilots says so
            return estimate_snr_db(pilots, snr_db)
        return _told(self.rx, snr_db, [derive_seed(*parts, "csi rx") for parts in draws])


class EarlierFrames:
    """Acknowledgements of frames before those of a batch (:class:`linksim.codec.Feedback`).

    snr_db: float32 [B], the true ones. draws: what those of each image depend on, such as (seed,
    image, trial); codecs whose frames fail alike meet the same ones.
    """

    def __init__(self, snr_db: Tensor, draws: Sequence[tuple[str | int, ...]]) -> None:
        self._snr_db = snr_db.tolist()
        self._chances = [random.Random(derive_seed(*parts, "acknowledgements")) for parts in draws]
        self._drawn: list[list[float]] = [[] for _ in draws]

    def __call__(self, image: int, frame: int, bler: Callable[[float], float]) -> bool:
        """As :class:`linksim.codec.Feedback`."""
        drawn = self._drawn[image]
        while len(drawn) <= frame:
            drawn.append(self._chances[image].random())
        return drawn[frame] >= bler(self._snr_db[image])


def estimate_snr_db(pilots: FlatRealisation, snr_db: Tensor) -> Tensor:
    """The SNR that a receiver which knows the gains h reads from n pilots x = 1; float32 [B].

    The maximum-likelihood estimate of the noise variance, mean |y - h|^2, over unit signal power.
    2n times it over the true one is chi-squared with 2n degrees of freedom, so the error of the
    estimate is about 4.3/sqrt(n) dB.
    """
    no = snr_db_to_no(snr_db.double()).to(pilots.h.device, torch.float32)
    residual = pilots.apply(torch.ones_like(pilots.h), no) - pilots.h
    no_hat = torch.view_as_real(residual).double().square().sum(dim=2).mean(dim=1)
    return -linear_to_db(no_hat).float()


def _told(belief: RxBelief, snr_db: Tensor, seeds: Sequence[int]) -> Tensor | None:
    match belief:
        case "none":
            return None
        case ErrorDb(error_db=std):
            errors = [random.Random(seed).gauss(0, std) for seed in seeds]
            return snr_db + torch.tensor(errors, dtype=snr_db.dtype, device=snr_db.device)
        case FixedDb(fixed_db=value):
            return torch.full_like(snr_db, value)
        case OffsetDb(offset_db=value):
            return snr_db + value
    return snr_db


def _in_words(belief: RxBelief) -> str:
    if isinstance(belief, str):
        return belief
    return ", ".join(f"{key}={value:g}" for key, value in belief.model_dump().items())
