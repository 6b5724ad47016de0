"""Damage: to bytes as disks, networks and strangers do it, to text as people do."""

import random
from collections.abc import Sequence

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
_WORDS = (
    *("0", "-1", "1e99999", "1e-7", ".nan", ".inf", "9" * 20, "1/0", "1e99999999/3", "0x1F"),
    *("1_000", "yes", "null", "~", "''", '"7"', "[]", "{}", "[[[[1]]]]", "&a [*a]", "*a", "<<: {}"),
    *("# ", "- ", "..", "/dev/zero", "zoo:../x", "./no.py:X", "kodak", "2020-01-01", "a: b: c"),
    *("\t", "\x1b[31m", "\ud7ff", "'\u202e'", "{from: 1, to: 2, step: 1e-9}"),
    "!!python/object:os.system",
    "&a [1,1,1,1,1,1,1,1,1], b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a], c: [*b,*b,*b,*b,*b,*b,*b,*b,*b]",
)


def damaged_bytes(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    """A file with one to eight places spoilt."""
    spoilt = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 8))):
        if not spoilt:
            break
        at = draw.randrange(len(spoilt))
        span = min(draw.choice((1, 2, 4, 16, 256)), len(spoilt) - at)
        match draw.randrange(9):
            case 0 | 1:
                spoilt[at] ^= 1 << draw.randrange(8)
            case 2:
                spoilt[at] = draw.randrange(256)
            case 3:
                width = draw.choice((1, 2, 4, 8))
                order = draw.choice(("big", "little"))
                number = draw.choice(_NUMBERS) & (1 << 8 * width) - 1
                spoilt[at : at + width] = number.to_bytes(width, order)
            case 4:
                del spoilt[at : at + span]
            case 5:
                spoilt[at:at] = draw.randbytes(span)
            case 6:
                spoilt[at:at] = spoilt[at : at + span] * draw.choice((1, 2, 64))
            case 7:
                del spoilt[at:]
            case 8:
                other = draw.choice(others)
                spoilt[at:] = other[draw.randrange(len(other)) :]
    return bytes(spoilt)


def damaged_text(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    """A YAML file in which lines and values are not what they were, or its bytes."""
    if draw.random() < 0.2:
        return damaged_bytes(data, draw, others)
    lines = data.decode().splitlines()
    for _ in range(draw.choice((1, 1, 2, 3))):
        at = draw.randrange(len(lines))
        key, colon, value = lines[at].partition(":")
        match draw.randrange(6):
            case 0 | 1:
                lines[at] = f"{key}{colon} {draw.choice(_WORDS)}"
            case 2:
                digits = [i for i, c in enumerate(value) if c.isdigit()]
                place = draw.choice(digits) if digits else len(value)
                word = draw.choice(_WORDS)
                lines[at] = f"{key}{colon}{value[:place]}{word}{value[place + 1 :]}"
            case 3:
                lines.insert(draw.randrange(len(lines)), lines[at])
            case 4:
                del lines[at]
                lines = lines or [""]
            case 5:
                line = draw.choice(draw.choice(others).decode().splitlines() or [""])
                lines.insert(at, line)
    return "\n".join(lines).encode()
