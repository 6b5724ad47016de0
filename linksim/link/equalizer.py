"""Scalar equalisers: what arrived and what is known of the channel, to what the decoder gets.

With y = h*x + n, E|x|^2 = 1 and E|n|^2 = no:

- ZF:   x_hat = y / h; unbiased, noise variance no/|h|^2.
- MMSE: x_hat = h* y / (|h|^2 + no); gain |h|^2/(|h|^2 + no), smallest E|x_hat - x|^2, which is
  no/(|h|^2 + no) (S. M. Kay, Estimation Theory, section 12.5, for one antenna).

Divided by its gain, MMSE is ZF: both carry the same ``no_eff`` = no/|h|^2.
"""

from typing import Literal

import torch
from torch import Tensor

from linksim.codec import Received
from linksim.runtime import batch_exact

Equalizer = Literal["mmse", "zf"]


def equalize(
    y: Tensor,
    h: Tensor,
    no: Tensor,
    *,
    kind: Equalizer,
    used: Tensor,
    side_info: tuple[bytes, ...] | None,
) -> Received:
    """Equalise y [B, N] with gains h [B, N] and noise variances no [B] or, per symbol, [B, N].

    Where the channel is zero nothing is known of the symbol: it comes out as 0 with an infinite
    ``no_eff``. Symbols beyond ``used`` [B] come out as 0 likewise.

    >>> y, h = torch.tensor([[2 + 0j]]), torch.tensor([[2 + 0j]])
    >>> kept = dict(used=torch.ones(1), side_info=None)
    >>> equalize(y, h, torch.ones(1), kind="mmse", **kept).gain  # 4 / (4 + 1)
    tensor([[0.8000]])
    >>> equalize(y, h, torch.ones(1), kind="zf", **kept).no_eff  # 1 / 4
    tensor([[0.2500]])
    """
    no = no[:, None] if no.ndim == 1 else no
    power = h.real.square() + h.imag.square()
    no_eff = no / power
    weight = power + (no if kind == "mmse" else 0)
    known = (power > 0) & (torch.arange(y.shape[1], device=y.device) < used[:, None])
    safe_weight = torch.where(known, weight, 1)
    matched = batch_exact.multiply(h.conj(), y)
    return Received(
        symbols=torch.where(known, batch_exact.divide(matched, safe_weight), 0),
        gain=torch.where(known, power / safe_weight, 0),
        no_eff=torch.where(known, no_eff, torch.inf),
        used=used,
        side_info=side_info,
    )
