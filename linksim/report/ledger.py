"""What a transmission's channel uses went to, codec by codec."""

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Part:
    """One stretch of a bar. share: of the scenario's bandwidth; uses: mean channel uses."""

    name: str
    share: float
    uses: float


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One codec's transmission at one point, on average over images and trials.

    source_values: 3·H·W of the images, as far as uses and CBR tell. side_info_bits: outside the
    channel, so in no part; none of a bound, whose ideal code carries them.
    """

    label: str
    parts: tuple[Part, ...]
    uses: float
    source_values: float
    side_info_bits: float


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """The bars of one point, and the point in words."""

    where: str
    bars: tuple[Bar, ...]


_BITS = {"payload": "payload_bits", "CRC": "crc_bits", "parity": "parity_bits"}


def ledger(rows: pd.DataFrame) -> Ledger | None:
    """The ledger at the first channel and CBR and the middle SNR; None where none was counted."""
    if "symbols" not in rows or rows.empty:
        return None
    levels = sorted(rows["snr_db"].unique())
    channel, cbr, snr_db = rows["channel"].iloc[0], rows["cbr"].iloc[0], levels[len(levels) // 2]
    at = rows[(rows["channel"] == channel) & (rows["cbr"] == cbr) & (rows["snr_db"] == snr_db)]
    if "snr_knowledge" in at:
        at = at[at["snr_knowledge"] == at["snr_knowledge"].iloc[0]]
    most = max(float(at["symbols"].mean()), *at.groupby("label")["symbols"].mean())
    bars = tuple(_bar(str(label), group, most) for label, group in at.groupby("label", sort=False))
    return Ledger(where=f"{channel}, CBR {cbr:.4g}, SNR {snr_db:g} dB", bars=bars)


def _bar(label: str, group: pd.DataFrame, most: float) -> Bar:
    uses = float(group["symbols"].mean())
    pilots = _mean(group, "pilot_symbols")
    empty = _mean(group, "padding_symbols")
    data = uses - pilots - empty
    bits = {name: _mean(group, column) for name, column in _BITS.items()}
    bits["padding"] = _mean(group, "padding_bits")
    total = sum(bits.values())
    if total:
        stretches = {name: data * count / total for name, count in bits.items()}
    else:
        stretches = {"ideal code" if group["is_bound"].iloc[0] else "analogue symbols": data}
    stretches |= {"pilots": pilots, "empty resource elements": empty}
    parts = tuple(
        Part(name=name, share=spent / most, uses=spent)
        for name, spent in stretches.items()
        if spent > 0
    )
    values = float((group["symbols"] / group["cbr_realised"]).mean())
    return Bar(
        label=label,
        parts=parts,
        uses=uses,
        source_values=values,
        side_info_bits=0.0 if group["is_bound"].iloc[0] else _mean(group, "side_info_bits"),
    )


def _mean(group: pd.DataFrame, column: str) -> float:
    if column not in group or group[column].isna().all():
        return 0.0
    return float(group[column].mean())
