"""Rows of a sweep, made up."""


def row(
    label: str,
    *,
    image: str,
    psnr: float,
    codec: str = "x",
    snr_db: float = 4.0,
    cbr: float = 1 / 12,
) -> dict[str, object]:
    """One transmission of an image over AWGN."""
    return {
        "label": label,
        "codec": codec,
        "is_bound": False,
        "channel": "awgn",
        "snr_db": snr_db,
        "cbr": cbr,
        "image": image,
        "trial": 0,
        "failed": False,
        "cbr_realised": cbr,
        "psnr": psnr,
    }
