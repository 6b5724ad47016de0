"""Seeds that depend on what is drawn and on nothing else."""

import hashlib


def derive_seed(*parts: str | int | float) -> int:
    """A 63-bit seed from a path of names, such as (scenario seed, image, trial, "noise").

    The same path gives the same seed on every machine and in every process; any change of any part
    gives an unrelated one (SHA-256).
    """
    path = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") >> 1
