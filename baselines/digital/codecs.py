"""The separate design: a picture codec, 5G LDPC and QAM; and its bound, an ideal channel code.

image --> source codec --> transport block (baselines.ldpc) --> QAM --> link
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.digital.bler import BlerTables, frame_capacities
from baselines.digital.bpg import Chroma
from baselines.digital.harq import max_transmissions, outer_loop_of
from baselines.digital.ldpc import ITERATIONS, TransportChain, TransportPlan, transport_chain
from baselines.digital.mcs import (
    MCS_INDEX_BITS,
    MCS_TABLE,
    Mcs,
    best_mcs,
    fixed_mcs,
    plans_by_payload,
)
from baselines.digital.source_codecs import (
    SOURCE_CODECS,
    Bpg,
    Memoised,
    SourceCodec,
    enlarged,
    fit,
    fit_scaled,
)
from linksim.codec import ChannelProbe, Codec, CodedBits, Decoded, Frame, Received, RxInfo, TxInfo
from linksim.errors import InputError
from linksim.units import linear_to_db

FailurePolicy = Literal["mean_color", "black"]
QpSteps = Literal["fine", "whole"]
Scale = Literal[1, "auto"]
Picture = NDArray[np.uint8]
Color = tuple[int, int, int]
K = TypeVar("K")

NO_MCS_INDEX = -1
BLACK: Color = (0, 0, 0)

_COLOR_BITS = 24


@dataclass(frozen=True)
class SideInfo:
    """What the receiver is told outside the channel: the MCS index, the mean colour, or both."""

    mcs_index: bool
    color: bool

    @property
    def bits(self) -> int:
        """How many bits count, of the whole bytes that :meth:`pack` gives."""
        return MCS_INDEX_BITS * self.mcs_index + _COLOR_BITS * self.color

    def pack(self, mcs_index: int, color: Color) -> bytes:
        """The bytes of one image; what is not told is left out."""
        value = mcs_index if self.mcs_index else 0
        if self.color:
            value = value << _COLOR_BITS | int.from_bytes(bytes(color), "big")
        return value.to_bytes(-(-self.bits // 8), "big")

    def unpack(self, data: bytes) -> tuple[int, Color]:
        """MCS index, or -1, and colour, or black."""
        value = int.from_bytes(data, "big")
        color = BLACK
        if self.color:
            red, green, blue = (value & (2**_COLOR_BITS - 1)).to_bytes(3, "big")
            value, color = value >> _COLOR_BITS, (red, green, blue)
        return (value if self.mcs_index else NO_MCS_INDEX), color


@dataclass(frozen=True)
class _Source:
    """A source codec, and whether it may code a smaller picture."""

    codec: SourceCodec
    scaled: bool

    def fit(self, picture: Picture, max_bytes: int) -> bytes | None:
        """The best stream of at most so many bytes; None if there is none."""
        return (fit_scaled if self.scaled else fit)(self.codec, picture, max_bytes)

    def open(self, stream: bytes, size: tuple[int, int]) -> Picture | None:
        """The picture of a transport block's bytes; None if there is none of that size in it."""
        try:
            picture = self.codec.decode(stream)
        except InputError:
            return None
        if self.scaled:
            return enlarged(picture, size)
        return picture if picture.shape == (*size, 3) else None

    def quality_db(self, stream: bytes | None, picture: Picture, without_db: float) -> float:
        """PSNR of what a stream shows of a picture; ``without_db`` if there is no stream."""
        shown = None if stream is None else self.open(stream, (picture.shape[0], picture.shape[1]))
        return without_db if shown is None else psnr_db(picture, shown)


class BpgLdpc(Codec):
    """BPG at the best quality that fits one transport block, LDPC and QAM.

    mcs: ``best`` chooses for each image the scheme with the best expected PSNR at the SNR that the
        transmitter believes in, from the channel's block error rates; the index, 6 bits, is side
        information. ``{modulation: qpsk|16qam|64qam|256qam, rate: float}`` fixes the scheme.
    harq: ``{max_transmissions: n}`` cuts the budget into n equal transmissions of one block, with
        incremental redundancy: the receiver asks for the next one only where its CRC fails, and
        only what was sent counts. ``best`` then counts an image as lost after the last one.
    outer_loop: corrects the SNR that ``best`` goes by, by the acknowledgements of earlier frames:
        ``{target: 0.02}`` lets so many of them fail. See :class:`baselines.digital.harq.OuterLoop`.
    source: bpg, jpeg, jpeg2000, webp, avif or jpegxl. chroma: 420, 422 or 444, of BPG. qp: of BPG,
        ``fine`` fills the block by finer steps than the ``whole`` QPs of the reference encoder.
    scale: ``auto`` codes a smaller picture, and enlarges it, where that is better; or 1.
    failure: what a lost image shows: its ``mean_color`` (24 bits of side information) or ``black``.
    iterations: of the LDPC decoder, at most; ``best`` chooses by what 50 of them need.

    An image is lost if a CRC fails, or if not even the worst quality fits the transport block.
    """

    summary = "BPG, 5G LDPC and QAM, with link adaptation"
    paper = "BPG (bellard.org/bpg) over 3GPP TS 38.212 and 38.214"
    adapts_to_snr = "told (mcs: best)"

    def __init__(
        self,
        *,
        mcs: Literal["best"] | Mapping[str, Any] = "best",
        source: str = "bpg",
        chroma: Chroma = "420",
        qp: QpSteps | None = None,
        scale: Scale = 1,
        failure: FailurePolicy = "mean_color",
        iterations: int = ITERATIONS,
        harq: Mapping[str, Any] | None = None,
        outer_loop: Mapping[str, Any] | None = None,
    ) -> None:
        if isinstance(mcs, str) and mcs != "best":
            raise InputError(f"mcs is {mcs!r}; allowed: best, or {{modulation: …, rate: …}}")
        if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 1:
            raise InputError(f"iterations is {iterations!r}; allowed: a whole number from 1")
        self._fixed: Mcs | None = None if isinstance(mcs, str) else fixed_mcs(mcs)
        self._source = _source_of(source, chroma, qp, scale)
        self._side_info = SideInfo(
            mcs_index=self._fixed is None, color=_check_failure(failure) == "mean_color"
        )
        self._iterations = iterations
        self._transmissions = max_transmissions(harq)
        self._outer_loop = outer_loop_of(outer_loop)
        if self._outer_loop is not None and self._fixed is not None:
            raise InputError("outer_loop adapts the scheme; it needs mcs: best")
        self._tables: BlerTables | None = None
        self.encoder_uses_snr = self._fixed is None
        self.encoder_uses_feedback = self._outer_loop is not None

    def calibrate(self, probe: ChannelProbe) -> None:
        """Remember the channel; its block error rates are worked out when they are first needed."""
        self._tables = BlerTables(probe, iterations=self._iterations)

    def encode(self, images: Tensor, tx: TxInfo) -> Frame:
        """Frame of images float32 [B, 3, H, W], using the whole budget in one round or several.

        Raises InputError if ``mcs`` is ``best`` and the SNR or the channel is not known, and for a
        budget that carries no byte.
        """
        pictures = to_pictures(images)
        choices = self._choose(pictures, tx)
        plans = [self._plan(choice, tx.max_symbols) for choice in choices]
        streams = [self._fit(*each) or b"" for each in zip(pictures, plans, strict=True)]
        length = plans[0].num_symbols * self._transmissions
        symbols = torch.empty(len(images), length, dtype=torch.complex64, device=images.device)
        for plan, rows in _rows_by(plans):
            payload = torch.stack([_to_bits(streams[row], plan.payload_bits) for row in rows])
            symbols[rows] = self._chain(plan, images.device).encode(payload.to(images.device))
        side_info = [
            self._side_info.pack(choice, self._failure_color(picture))
            for choice, picture in zip(choices, pictures, strict=True)
        ]
        side_info_bits = torch.full((len(images),), self._side_info.bits, device=images.device)
        rounds = range(plans[0].num_symbols, length + 1, plans[0].num_symbols)
        return Frame(
            symbols=symbols,
            used=torch.full_like(side_info_bits, length),
            side_info=tuple(side_info) if self._side_info.bits else None,
            side_info_bits=side_info_bits if self._side_info.bits else None,
            bits=_coded_bits(plans, streams, images.device),
            rounds=tuple(rounds) if self._transmissions > 1 else (),
        )

    def decode(self, received: Received, rx: RxInfo) -> Decoded:
        """Images float32 [B, 3, H, W]; reports ``failed``, ``mcs_index`` (-1 if the scheme is
        fixed), ``info_bits_per_symbol`` of what was sent and, with ``harq``, ``transmissions``."""
        batch = len(received.symbols)
        if received.side_info is None and self._side_info.bits:
            raise InputError("bpg_ldpc was given no side_info: its encoder always sends some")
        told = [self._side_info.unpack(data) for data in received.side_info or [b""] * batch]
        choices = [choice for choice, _ in told]
        plans = [self._plan(choice, rx.max_symbols) for choice in choices]
        size, sent = rx.image_size, (received.used // plans[0].num_symbols).tolist()
        pictures: list[Picture | None] = [None] * batch
        done = torch.zeros(batch, dtype=torch.bool)
        symbols = received.unbiased()
        for (plan, transmissions), rows in _rows_by(zip(plans, sent, strict=True)):
            end = plan.num_symbols * transmissions
            chain = self._chain(plan, symbols.device)
            payload, passed = chain.decode(symbols[rows, :end], received.no_eff[rows, :end])
            for row, bits, ok in zip(rows, payload.cpu(), passed.tolist(), strict=True):
                pictures[row] = self._source.open(_to_bytes(bits), size) if ok else None
                done[row] = ok
        efficiencies = [
            plan.info_bits_per_symbol / count for plan, count in zip(plans, sent, strict=True)
        ]
        report = {
            "failed": torch.tensor([picture is None for picture in pictures]),
            "mcs_index": torch.tensor(choices),
            "info_bits_per_symbol": torch.tensor(efficiencies),
        }
        if self._transmissions > 1:
            report["transmissions"] = torch.tensor(sent)
        shown = [
            flat_picture(color, rx.image_size) if picture is None else picture
            for picture, (_, color) in zip(pictures, told, strict=True)
        ]
        return Decoded(
            images=to_images(shown, received.symbols.device),
            report=report,
            done=done if self._transmissions > 1 else None,
        )

    def _choose(self, pictures: Sequence[Picture], tx: TxInfo) -> list[int]:
        """MCS index of each picture."""
        if self._fixed is not None:
            return [NO_MCS_INDEX] * len(pictures)
        if tx.snr_db is None:
            raise InputError(
                "bpg_ldpc with mcs: best needs the transmitter to know an SNR; "
                "give it one or fix mcs: {modulation: …, rate: …}"
            )
        if self._tables is None:
            raise InputError("bpg_ldpc with mcs: best needs calibrate(probe) before encode")
        plans, snrs_db = self._plans(tx.max_symbols), tx.snr_db.tolist()
        if self._outer_loop is not None:
            if tx.feedback is None:
                raise InputError("bpg_ldpc with outer_loop needs the link's feedback")
            bler, candidates = self._tables.bler, [plan for _, plan in plans]
            snrs_db = [
                self._outer_loop.snr_db(snr_db, candidates, bler, partial(tx.feedback, image))
                for image, snr_db in enumerate(snrs_db)
            ]
        return [
            self._choose_one(picture, snr_db, plans, self._tables)
            for picture, snr_db in zip(pictures, snrs_db, strict=True)
        ]

    def _choose_one(
        self,
        picture: Picture,
        snr_db: float,
        plans: Sequence[tuple[int, TransportPlan]],
        tables: BlerTables,
    ) -> int:
        lost = flat_picture(self._failure_color(picture), (picture.shape[0], picture.shape[1]))
        failure_quality = psnr_db(picture, lost)

        def quality(plan: TransportPlan) -> float:
            return self._source.quality_db(self._fit(picture, plan), picture, failure_quality)

        return best_mcs(
            plans,
            bler=lambda plan: tables.bler(plan, snr_db),
            quality=quality,
            failure_quality=failure_quality,
        )

    def _plans(self, max_symbols: int) -> list[tuple[int, TransportPlan]]:
        """(MCS index, plan) of all schemes that the budget can carry."""
        times = self._transmissions
        try:
            return plans_by_payload(max_symbols // times, times)
        except InputError as error:
            if times == 1:
                raise
            raise InputError(
                f"harq: {max_symbols} symbols in {times} transmissions: {error}"
            ) from None

    def _plan(self, choice: int, max_symbols: int) -> TransportPlan:
        scheme = self._fixed or MCS_TABLE[choice]
        return scheme.plan(max_symbols // self._transmissions, self._transmissions)

    def _chain(self, plan: TransportPlan, device: torch.device) -> TransportChain:
        return transport_chain(plan, iterations=self._iterations, device=str(device))

    def _fit(self, picture: Picture, plan: TransportPlan) -> bytes | None:
        return self._source.fit(picture, plan.payload_bits // 8)

    def _failure_color(self, picture: Picture) -> Color:
        return mean_color(picture) if self._side_info.color else BLACK


class BpgCapacity(Codec):
    """BPG with an ideal channel code: every payload up to the ergodic capacity arrives.

    The bound of the separate design with this source codec, for a code that averages over all
    fades; where one frame meets one fade it is out of reach, and the bounds are those of
    :class:`baselines.digital.bounds.BpgOutage`. The capacity, E[log2(1 + 1/no_eff)]
    with Gaussian symbols, is measured over the channel. The stream travels as side information,
    counted in full; the symbols stand for it and carry nothing.

    source, chroma, qp, scale, failure: as for :class:`BpgLdpc`.
    """

    summary = "BPG with an ideal code at the channel's ergodic capacity (a bound)"
    paper = "D. Tse and P. Viswanath, Fundamentals of Wireless Communication, section 5.4"
    adapts_to_snr = "told"
    is_bound = True

    def __init__(
        self,
        *,
        source: str = "bpg",
        chroma: Chroma = "420",
        qp: QpSteps | None = None,
        scale: Scale = 1,
        failure: FailurePolicy = "mean_color",
    ) -> None:
        self._source = _source_of(source, chroma, qp, scale)
        self._mean_color = _check_failure(failure) == "mean_color"
        self._capacity: Callable[[float], float] | None = None

    def calibrate(self, probe: ChannelProbe) -> None:
        """Remember the channel, to measure its capacity at each SNR that comes."""
        self._capacity = lru_cache(lambda snr_db: ergodic_capacity(probe, snr_db))

    def encode(self, images: Tensor, tx: TxInfo) -> Frame:
        """Frame of images float32 [B, 3, H, W]; InputError if SNR or channel is not known."""
        if tx.snr_db is None or self._capacity is None:
            raise InputError("bpg_capacity needs an SNR at the transmitter and calibrate(probe)")
        side_info = []
        for picture, snr_db in zip(to_pictures(images), tx.snr_db.tolist(), strict=True):
            max_bytes = int(self._capacity(snr_db) * tx.max_symbols) // 8
            stream = self._source.fit(picture, max_bytes)
            color = mean_color(picture) if self._mean_color else BLACK
            side_info.append(bytes(color) if stream is None else stream)
        symbols = torch.ones(
            len(images), tx.max_symbols, dtype=torch.complex64, device=images.device
        )
        sizes = [8 * len(data) for data in side_info]
        return Frame(
            symbols=symbols,
            used=torch.full((len(images),), tx.max_symbols, device=images.device),
            side_info=tuple(side_info),
            side_info_bits=torch.tensor(sizes, device=images.device),
        )

    def decode(self, received: Received, rx: RxInfo) -> Decoded:
        """Images float32 [B, 3, H, W]; reports ``failed``, where nothing fitted."""
        if received.side_info is None:
            raise InputError("bpg_capacity was given no side_info: its stream travels there")
        # Three bytes are the colour of an image of which nothing fitted.
        failed = [len(data) == len(BLACK) for data in received.side_info]
        shown = []
        for data, lost in zip(received.side_info, failed, strict=True):
            picture = None if lost else self._source.open(data, rx.image_size)
            if picture is None:
                picture = flat_picture((data[0], data[1], data[2]), rx.image_size)
            shown.append(picture)
        images = to_images(shown, received.symbols.device)
        return Decoded(images=images, report={"failed": torch.tensor(failed)})


def ergodic_capacity(probe: ChannelProbe, snr_db: float) -> float:
    """E[log2(1 + 1/no_eff)] in bits a symbol, over 1024 channels of 256 symbols, or of whole slots.

    Where the channel is estimated, that is the capacity of this estimator: its errors count as
    noise.
    """
    symbols = -(-256 // probe.block) * probe.block
    return float(frame_capacities(probe, symbols, snr_db, frames=1024).mean())


def to_pictures(images: Tensor) -> list[Picture]:
    """uint8 [H, W, 3] arrays of images float32 [B, 3, H, W] in [0, 1]."""
    rounded = (images.clamp(0, 1) * 255).round().to(torch.uint8)
    return list(rounded.permute(0, 2, 3, 1).contiguous().cpu().numpy())


def to_images(pictures: Sequence[Picture], device: torch.device) -> Tensor:
    """Images float32 [B, 3, H, W] in [0, 1] of uint8 [H, W, 3] arrays."""
    stacked = torch.from_numpy(np.stack(pictures)).to(device)
    return stacked.permute(0, 3, 1, 2).float() / 255


def flat_picture(color: Color, size: tuple[int, int]) -> Picture:
    """A picture uint8 [H, W, 3] of one colour."""
    return np.full((*size, 3), color, dtype=np.uint8)


def mean_color(picture: Picture) -> Color:
    """Mean of each channel, rounded to 8 bits."""
    red, green, blue = (round(float(mean)) for mean in picture.mean(axis=(0, 1)))
    return red, green, blue


def psnr_db(picture: Picture, other: Picture) -> float:
    """PSNR over the three channels, in dB; infinite if the pictures are equal."""
    error = float(np.mean((picture.astype(np.float64) - other) ** 2))
    return linear_to_db(255**2 / error) if error else float("inf")


def _rows_by(plans: Iterable[K]) -> Iterable[tuple[K, list[int]]]:
    rows: defaultdict[K, list[int]] = defaultdict(list)
    for row, plan in enumerate(plans):
        rows[plan].append(row)
    return rows.items()


def _to_bits(stream: bytes, length: int) -> Tensor:
    """The bits of a stream, uint8 [length], filled up with zeros."""
    bits = torch.zeros(length, dtype=torch.uint8)
    bits[: 8 * len(stream)] = torch.from_numpy(np.unpackbits(np.frombuffer(stream, np.uint8)))
    return bits


def _to_bytes(bits: Tensor) -> bytes:
    return np.packbits(bits.numpy()).tobytes()


def _coded_bits(
    plans: Sequence[TransportPlan], streams: Sequence[bytes], device: torch.device
) -> CodedBits:
    payload = torch.tensor([8 * len(stream) for stream in streams], device=device)
    return CodedBits(
        payload=payload,
        crc=torch.tensor([plan.crc_bits for plan in plans], device=device),
        parity=torch.tensor(
            [plan.parity_bits + (plan.transmissions - 1) * plan.coded_bits for plan in plans],
            device=device,
        ),
        padding=torch.tensor([plan.payload_bits for plan in plans], device=device) - payload,
    )


def _source_of(name: str, chroma: Chroma, qp: QpSteps | None, scale: Scale) -> _Source:
    """What the options of a codec say of its source codec; raises InputError."""
    if name not in SOURCE_CODECS:
        raise InputError(f"source is {name!r}; allowed: {', '.join(SOURCE_CODECS)}")
    if chroma not in get_args(Chroma):
        raise InputError(f"chroma is {chroma!r}; allowed: {', '.join(get_args(Chroma))}")
    if qp is not None and qp not in get_args(QpSteps):
        raise InputError(f"qp is {qp!r}; allowed: {', '.join(get_args(QpSteps))}")
    if scale not in get_args(Scale):
        raise InputError(f"scale is {scale!r}; allowed: 1, auto")
    codec = SOURCE_CODECS[name]
    if name == "bpg":
        codec = Bpg(chroma=chroma, qp=qp or "fine")
    elif chroma != "420" or qp is not None:
        raise InputError(f"chroma and qp are options of source bpg; source is {name!r}")
    return _Source(Memoised(codec), scaled=scale == "auto")


def _check_failure(policy: str) -> str:
    if policy not in get_args(FailurePolicy):
        raise InputError(f"failure is {policy!r}; allowed: {', '.join(get_args(FailurePolicy))}")
    return policy
