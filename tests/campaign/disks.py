"""A sweep and a training on disks that are too small, and then on one that is not."""

import subprocess
from pathlib import Path

from tests.campaign.work import Work, import_what_it_needs, is_one_line, run_forked

_PAGE = 4096


def fill_disks(work: Work, place: Path, sizes: int, seed: int) -> tuple[str, list[str]]:
    """Run the work on tmpfs of so many sizes, from nearly nothing to what it needs.

    What does not fit must be told in one line; once the disk has grown, what it ends in must be
    what it ends in elsewhere. Mounting takes root: without it nothing is tried.
    """
    work.prepare(place)
    import_what_it_needs(work, place)
    status, said = run_forked(work, place, place / "undisturbed")
    if status:
        raise RuntimeError(f"{work.name} does not run: {said}")
    wanted = work.outcome(place / "undisturbed")
    needed = sum(
        -(-path.stat().st_size // _PAGE) * _PAGE
        for path in (place / "undisturbed").rglob("*")
        if path.is_file()
    )
    faults: list[str] = []
    told = 0
    for i in range(sizes):
        size = max(_PAGE * 2, round(needed * (i + 0.5) / sizes) // _PAGE * _PAGE)
        disk = place / f"disk{i}"
        disk.mkdir()
        if not _mount(disk, f"size={size}"):
            return "not tried, since mounting a tmpfs takes root", faults
        try:
            status, said = run_forked(work, place, disk / "out")
            name = f"{work.name} on a disk of {size} bytes"
            if status not in (0, 2) or (status == 2 and not is_one_line(said)):
                faults.append(f"{name}: {status}: {said[-300:]}")
            told += status == 2
            _mount(disk, "remount,size=1g")
            status, said = run_forked(work, place, disk / "out")
            if status:
                faults.append(f"{name}, begun again on a larger one: {status}: {said[-300:]}")
            elif work.outcome(disk / "out") != wanted:
                faults.append(f"{name}, begun again on a larger one: another outcome")
        finally:
            subprocess.run(["umount", str(disk)], check=True)
    return f"{sizes} sizes up to {needed} bytes, {told} too small and told in one line", faults


def _mount(disk: Path, options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
