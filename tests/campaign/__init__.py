"""What no suite has the time for: kills, full disks and damaged files, by the thousand.

    python -m tests.campaign                    all of it: hours
    python -m tests.campaign --kills 5 --disks 2 --inputs 2000

A sweep and a training are killed at random file operations and run on disks that are too small;
what they end in must be what an undisturbed one ends in. Files of every kind that linksim reads are
damaged; each must be read or be refused with an InputError, within a second of processor time and a
gigabyte.
"""
