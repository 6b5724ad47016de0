"""The 3GPP channel profiles of TR 38.901, section 7.7, from Sionna."""

from functools import lru_cache
from typing import Any, Literal

import torch

from linksim.link.estimation import Covariance

Profile = Literal[
    "TDL-A", "TDL-B", "TDL-C", "TDL-D", "TDL-E", "CDL-A", "CDL-B", "CDL-C", "CDL-D", "CDL-E"
]  # fmt: skip

SPEED_OF_LIGHT = 299_792_458.0

# Longest delay over the delay spread: TR 38.901 tables 7.7.2-1 to -5 (7.7.1: not longer)
_LONGEST_DELAY = {"A": 9.6586, "B": 4.7834, "C": 8.6523, "D": 12.525, "E": 20.6519}


def longest_path_us(profile: str, delay_spread_ns: float) -> float:
    """The delay of the last path in microseconds."""
    return _LONGEST_DELAY[profile[-1]] * delay_spread_ns / 1e3


@lru_cache
def sionna_model(
    profile: str,
    delay_spread_ns: float,
    carrier_ghz: float,
    speed_mps: float,
    device: str,
    tx: int = 1,
    rx: int = 1,
) -> Any:
    """Sionna's generator of a profile's paths between tx and rx antennas.

    Those of TDL are independent; those of CDL stand in a row, half a wavelength apart.
    """
    from sionna.phy.channel.tr38901 import CDL, TDL, AntennaArray

    kind, letter = profile.split("-")
    settings = {"precision": "single", "device": device}
    carrier, spread = carrier_ghz * 1e9, delay_spread_ns * 1e-9
    if kind == "TDL":
        return TDL(
            letter,
            spread,
            carrier,
            num_rx_ant=rx,
            num_tx_ant=tx,
            min_speed=speed_mps,
            **settings,
        )
    receiver, transmitter = (
        AntennaArray(
            num_rows=1,
            num_cols=count,
            polarization="single",
            polarization_type="V",
            antenna_pattern="omni",
            carrier_frequency=carrier,
            **settings,
        )
        for count in (rx, tx)
    )
    return CDL(
        letter,
        spread,
        carrier,
        ut_array=receiver,
        bs_array=transmitter,
        direction="downlink",
        min_speed=speed_mps,
        max_speed=speed_mps,
        **settings,
    )


def tdl_covariance(
    profile: str,
    *,
    delay_spread_ns: float,
    carrier_ghz: float,
    speed_mps: float,
    symbols: int,
    symbol_s: float,
    subcarriers: int,
    spacing_hz: float,
) -> Covariance:
    """Covariance of a slot over a tapped delay line; there is none of a clustered one.

    symbol_s: duration of an OFDM symbol with its prefix, in seconds.
    """
    from sionna.phy.ofdm import tdl_freq_cov_mat, tdl_time_cov_mat

    letter, place = profile[-1], {"precision": "double", "device": "cpu"}
    time: torch.Tensor = tdl_time_cov_mat(
        letter, speed_mps, carrier_ghz * 1e9, symbol_s, symbols, **place
    )
    frequency: torch.Tensor = tdl_freq_cov_mat(
        letter, spacing_hz, subcarriers, delay_spread_ns * 1e-9, **place
    )
    return Covariance(time=time, frequency=frequency)
