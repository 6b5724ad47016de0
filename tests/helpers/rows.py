"""Rows of a sweep, made up."""


def row(
    label: str, *, image: str, psnr: float, codec: str = "x", snr_db: float = 4.0
) -> dict[str, object]:
    """One transmission of an image over AWGN at CBR 1/12."""
    return {
        "label": label,
        "codec": codec,
        "is_bound": False,
        "channel": "awgn",
        "snr_db": snr_db,
        "cbr": 1 / 12,
        "image": image,
        "trial": 0,
        "failed": False,
        "cbr_realised": 1 / 12,
        "psnr": psnr,
    }
