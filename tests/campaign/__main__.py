"""``python -m tests.campaign``: prints figures, and faults; exit status 1 where there are any."""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: threads do not survive a fork

from tests.campaign.disks import fill_disks
from tests.campaign.inputs import KINDS, damage_inputs
from tests.campaign.kills import kill_often
from tests.campaign.work import SWEEP, TRAINING


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign")
    parser.add_argument("--kills", type=int, default=50, help="of a sweep, and of a training")
    parser.add_argument("--disks", type=int, default=10, help="sizes of disks that are too small")
    parser.add_argument("--inputs", type=int, default=200_000, help="damaged files in all")
    parser.add_argument("--kind", choices=KINDS, action="append", help="only these kinds of files")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="campaign-") as place:
        for work in (SWEEP, TRAINING):
            for what, count, disturb in (
                ("kills", options.kills, kill_often),
                ("disks", options.disks, fill_disks),
            ):
                if count:
                    begun = time.monotonic()
                    done, found = disturb(work, Path(place, what, work.name), count, options.seed)
                    faults += found
                    took = time.monotonic() - begun
                    _tell(f"{work.name}, {what}: {done} ({took:.0f} s)", found)
        kinds = options.kind or KINDS
        for kind in kinds if options.inputs else ():
            count = options.inputs // len(kinds)
            done, found = damage_inputs(kind, Path(place, kind), count, options.seed)
            faults += found
            _tell(f"{kind}: {done}", found)
    return 1 if faults else 0


def _tell(figures: str, faults: list[str]) -> None:
    print(f"{figures}; {len(faults)} faults", flush=True)
    for fault in faults:
        print(f"FAULT {fault}", flush=True)


sys.exit(main())
