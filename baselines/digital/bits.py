"""Bit fields as HEVC and BPG write them: most significant bit first, Exp-Golomb, ue7."""

from linksim.errors import InputError


class BitWriter:
    """Collects bit fields into bytes."""

    def __init__(self) -> None:
        self._bits: list[str] = []

    def u(self, value: int, width: int) -> None:
        """An unsigned number in ``width`` bits, u(n)."""
        self._bits.append(format(value, f"0{width}b"))

    def ue(self, value: int) -> None:
        """An unsigned Exp-Golomb number, ue(v): H.265, 9.2."""
        digits = format(value + 1, "b")
        self._bits.append("0" * (len(digits) - 1) + digits)

    def optional(self, bits: str) -> None:
        """A flag that says whether anything follows, and the bits that do, as 0 and 1."""
        self._bits.append("1" + bits if bits else "0")

    def to_bytes(self) -> bytes:
        """The bits, filled up with zero bits to a whole byte."""
        bits = "".join(self._bits)
        bits += "0" * (-len(bits) % 8)
        return int(bits, 2).to_bytes(len(bits) // 8, "big") if bits else b""


class BitReader:
    """Takes bit fields from bytes; InputError past the end."""

    def __init__(self, data: bytes, what: str) -> None:
        self._bits = "".join(format(byte, "08b") for byte in data)
        self._what = what
        self.position = 0

    def u(self, width: int) -> int:
        """An unsigned number of ``width`` bits, u(n)."""
        field = self._bits[self.position : self.position + width]
        if len(field) < width:
            raise InputError(f"{self._what} ends in the middle of a field")
        self.position += width
        return int(field, 2) if field else 0

    def ue(self) -> int:
        """An unsigned Exp-Golomb number, ue(v): H.265, 9.2."""
        zeros = 0
        while self.u(1) == 0:
            zeros += 1
            if zeros > 32:  # H.265, 9.2: no number is longer
                raise InputError(f"{self._what} holds a number of more than 32 bits")
        return (1 << zeros) - 1 + self.u(zeros)

    def since(self, start: int) -> str:
        """The bits read since position ``start``, as a string of 0 and 1."""
        return self._bits[start : self.position]


def write_ue7(value: int) -> bytes:
    """Base 128, most significant first, the high bit set on all bytes but the last."""
    out = [value & 0x7F]
    while value := value >> 7:
        out.append(0x80 | (value & 0x7F))
    return bytes(reversed(out))


def read_ue7(data: bytes, offset: int, what: str) -> tuple[int, int]:
    """A number written by :func:`write_ue7` and the offset behind it; at most 32 bits."""
    value = 0
    for i in range(offset, min(offset + 5, len(data))):
        value = value << 7 | data[i] & 0x7F
        if data[i] < 0x80:
            return value, i + 1
    raise InputError(f"{what} is cut off or is not a number")
