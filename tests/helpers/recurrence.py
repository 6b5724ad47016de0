"""The scan of the paper, written out in float64, and inputs to try it on."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from linksim.selective_scan import ScanParameters, selective_scan


@dataclass(frozen=True, kw_only=True)
class Case:
    """Arguments of one scan."""

    u: Tensor
    scan: ScanParameters
    softplus: bool = True
    csi: Tensor | None = None
    interval: int | None = None
    reverse: bool = False
    csi_start: bool = True

    def tensors(self) -> list[Tensor]:
        return [self.u, *(t for t in self.scan if t is not None)]

    def run(self, backend: str) -> Tensor:
        """What linksim's scan makes of it."""
        return selective_scan(
            self.u,
            *self.scan,
            self.softplus,
            csi=self.csi,
            csi_interval=self.interval,
            csi_start=self.csi_start,
            reverse=self.reverse,
            backend=backend,
        )

    def cast(self, dtype: torch.dtype) -> "Case":
        """The same values as new leaves that require gradients."""

        def leaf(t: Tensor | None) -> Tensor | None:
            return None if t is None else t.detach().to(dtype).requires_grad_()

        u = leaf(self.u)
        assert u is not None
        return replace(self, u=u, scan=ScanParameters(*map(leaf, self.scan)))


def recurrence(case: Case) -> Tensor:
    """h_k = exp(d_k A) h_{k-1} + d_k u_k B_k; y_k = C_k h_k + D u_k; token by token."""
    delta, A, B, C, D, bias = case.scan
    u = case.u
    batch, length, channels = u.shape
    if bias is not None:
        delta = delta + bias
    if case.softplus:
        delta = torch.log1p(torch.exp(-delta.abs())) + delta.clamp(min=0)
    h = torch.zeros(batch, channels, A.shape[1], dtype=u.dtype)
    y: list[Tensor] = [torch.empty(0)] * length
    order = range(length)[::-1] if case.reverse else range(length)
    for step, k in enumerate(order):
        restart = step % case.interval == 0 if case.interval else step == 0
        if case.csi is not None and restart and (step > 0 or case.csi_start):
            first = case.csi.to(u.dtype)[:, None, None].expand(batch, channels, 1)
            h = torch.cat((first, h[:, :, 1:]), dim=2)
        driven = torch.einsum("bc,bn->bcn", delta[:, k] * u[:, k], B[:, k])
        h = torch.exp(torch.einsum("bc,cn->bcn", delta[:, k], A)) * h + driven
        y[k] = torch.einsum("bcn,bn->bc", h, C[:, k])
        if D is not None:
            y[k] = y[k] + D * u[:, k]
    return torch.stack(y, dim=1)


def random_case(
    batch: int,
    length: int,
    channels: int,
    states: int,
    *,
    seed: int = 0,
    csi: bool = True,
    interval: int | None = None,
    reverse: bool = False,
    csi_start: bool = True,
) -> Case:
    """Values as a trained network has them: A = -1..-N, softplus(delta) mostly in 0.01 to 1."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).float().double()

    scan = ScanParameters(
        delta=draw(batch, length, channels) - 2,
        A=-torch.arange(1.0, states + 1, dtype=torch.float64).repeat(channels, 1),
        B=draw(batch, length, states),
        C=draw(batch, length, states),
        D=draw(channels),
        delta_bias=draw(channels) / 2,
    )
    snr_db = 10 + draw(batch).abs() if csi else None
    return Case(
        u=draw(batch, length, channels),
        scan=scan,
        csi=snr_db,
        interval=interval,
        reverse=reverse,
        csi_start=csi_start,
    )


def decaying_case(decay: float, *, length: int) -> Case:
    """Constant steps with delta * A = decay in every state: errors have nowhere to cancel."""
    case = random_case(1, length, 4, 2, interval=None)
    delta = torch.full_like(case.scan.delta, 0.01)
    A = torch.full_like(case.scan.A, decay / 0.01)
    scan = case.scan._replace(delta=delta, A=A, delta_bias=None)
    return replace(case, scan=scan, softplus=False)


def relative_error(got: Tensor, wanted: Tensor) -> float:
    """Largest deviation, relative to the largest value."""
    error = (got.double() - wanted.double()).abs().max() / wanted.double().abs().max()
    return float(error.detach())
