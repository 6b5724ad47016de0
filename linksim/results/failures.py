"""What has no finite quality, in words."""


def failed_in_words(failed: int, of: int) -> str:
    """``3/8 failed``, or ``all failed``."""
    return "all failed" if failed >= of else f"{failed}/{of} failed"
