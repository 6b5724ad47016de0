"""Settings of the process, made once by a program and never by an import."""

import ctypes

_M_TRIM_THRESHOLD = -1  # names and numbers of glibc's malloc.h
_M_MMAP_MAX = -4
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell glibc's malloc to reuse freed memory instead of returning it to the system.

    By default a large tensor is mapped afresh each time, and every one of its pages costs a fault
    when it is first written: for tall, thin matrix products that is most of the time. The price is
    that the process holds on to its peak memory. Returns False, and does nothing, where the C
    library is not glibc.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _NEVER))
