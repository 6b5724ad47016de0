"""Small sites made by hand."""

from collections.abc import Sequence

import numpy as np

from linksim.link.site_file import Site


def site_of(
    gains: Sequence[Sequence[complex]],
    delays: Sequence[Sequence[float]],
    *,
    array: tuple[int, int] = (1, 1),
    turns: Sequence[float] | None = None,
) -> Site:
    """A site whose positions, 10 m apart, have these paths; turns: of each, at both ends."""
    count, paths = len(gains), sum(map(len, gains))
    turned = np.zeros(paths) if turns is None else np.array(turns)
    return Site(
        settings={"carrier_ghz": 3.5, "arrays": {"tx": array[0], "rx": array[1]}},
        scene_digest="0" * 64,
        transmitter=np.array([0, 0, 10], np.float32),
        positions=np.array([[10 * i, 5, 1.5] for i in range(count)], np.float32),
        velocities=np.zeros((count, 3), np.float32),
        line_of_sight=np.array([len(one) == 1 for one in gains]),
        counts=np.array([len(one) for one in gains], np.int32),
        gains=np.array([g for one in gains for g in one], np.complex64),
        delays=np.array([d for one in delays for d in one], np.float32),
        dopplers=np.zeros(paths, np.float32),
        tx_turns=turned.astype(np.float32),
        rx_turns=-turned.astype(np.float32),
        heights=np.zeros((20, 40), np.uint8),
        corner=np.array([-20, -20], np.float32),
        pixel_m=2.0,
    )
