"""Several antennas at either end: one stream of symbols over the layers of a matrix channel.

    closed loop   s ─► V P^1/2 ─► H ─► U^H ─► layers of gain sigma_k sqrt(p_k)      H = U Sigma V^H
    open loop     s ─► one layer an antenna ─► H ─► LMMSE ─► layers with what is left of the others
    Alamouti      two symbols over two antennas and two channel uses ─► H ─► LMMSE

A codec sees what it always sees: symbols, each with its gain and noise variance. Power is the total
over the antennas, 1 a channel use; a channel use is one moment of one frequency, however many
antennas take part. In closed loop the transmitter knows H as the receiver does.
"""

from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Literal, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor

from linksim.link.channel import Arrival, Realisation
from linksim.link.mixing import Mixing
from linksim.runtime import batch_exact
from linksim.settings import Settings

_MOST = 16


class Antennas(Settings):
    """Antennas at either end, and what is made of them.

    tx, rx: how many. scheme: ``svd``, closed loop over the eigenmodes of the channel (E. Telatar,
        Capacity of Multi-antenna Gaussian Channels, Europ. Trans. Telecommun., 1999); ``spatial``,
        open loop with one layer an antenna and an LMMSE receiver; ``alamouti``, one symbol a
        channel use over two transmit antennas (S. M. Alamouti, A Simple Transmit Diversity
        Technique for Wireless Communications, IEEE JSAC, 1998).
    layers: how many symbols a channel use carries; as many as the channel's rank if left out.
    power: of the eigenmodes, by ``waterfilling`` in each channel use, or ``equal``.
    """

    tx: PositiveInt = Field(le=_MOST)
    rx: PositiveInt = Field(le=_MOST)
    scheme: Literal["svd", "spatial", "alamouti"] = "svd"
    layers: PositiveInt | None = None
    power: Literal["waterfilling", "equal"] = "waterfilling"

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.scheme == "alamouti":
            if self.tx != 2:
                raise ValueError(f"scheme: alamouti needs two transmit antennas, not {self.tx}")
            if self.layers not in (None, 1):
                raise ValueError(f"layers {self.layers}: scheme: alamouti has one")
        elif self.layers is not None and self.layers > min(self.tx, self.rx):
            raise ValueError(
                f"layers {self.layers} are more than the antennas, {self.tx} at the transmitter "
                f"and {self.rx} at the receiver"
            )
        if self.scheme != "svd" and "power" in self.model_fields_set:
            raise ValueError(f"power is for scheme: svd; {self.scheme} shares it equally")
        return self

    @property
    def name(self) -> str:
        """In words."""
        detail = {"svd": f"{self.rank} layers, {self.power}", "spatial": f"{self.rank} layers"}
        inside = f", {detail[self.scheme]}" if self.scheme in detail else ""
        return f"{self.tx}x{self.rx} {self.scheme}{inside}"

    @property
    def rank(self) -> int:
        """Symbols a channel use."""
        return 1 if self.scheme == "alamouti" else self.layers or min(self.tx, self.rx)

    @property
    def uses_per_block(self) -> int:
        """Channel uses over which symbols are sent together."""
        return 2 if self.scheme == "alamouti" else 1

    @property
    def symbols_per_block(self) -> int:
        """Symbols that are."""
        return self.rank * self.uses_per_block


@dataclass(frozen=True)
class Modes:
    """H = U Sigma V^H of n channel uses.

    u: complex64 [B, n, rx, k]. sigma: float32 [B, n, k], falling. v: complex64 [B, n, tx, k].
    """

    u: Tensor
    sigma: Tensor
    v: Tensor

    def first(self, uses: int) -> "Modes":
        """Those of the first channel uses."""
        return Modes(self.u[:, :uses], self.sigma[:, :uses], self.v[:, :uses])


def eigenmodes(h: Tensor, antennas: Antennas) -> Modes | None:
    """Of gains h [B, n, rx, tx], for the scheme that rests on them; None for others."""
    if antennas.scheme != "svd":
        return None
    u, sigma, vh = torch.linalg.svd(h, full_matrices=False)
    return Modes(u, sigma, vh.mH)


@dataclass(frozen=True, kw_only=True)
class Layers:
    """A matrix channel as the layers of a scheme, as far as its gains are known.

    h: complex64 [B, n, rx, tx], known gains of n channel uses, a multiple of the scheme's block.
    no: float32 [B, 1] or [B, n], variance of all in y that is not h*x, at each receive antenna.
    modes: of h for ``svd``, as :func:`eigenmodes` gives them.
    """

    antennas: Antennas
    h: Tensor
    no: Tensor
    modes: Modes | None

    def precode(self, symbols: Tensor) -> Tensor:
        """What the antennas send, complex64 [B, n, tx], of symbols [B, n * rank]."""
        antennas = self.antennas
        blocks = symbols.reshape(len(symbols), -1, antennas.symbols_per_block)
        match antennas.scheme:
            case "svd":
                powered = batch_exact.scale(blocks, self._powers.sqrt())
                return times(self._modes.v[..., : antennas.rank], powered)
            case "spatial":
                sent = blocks / antennas.rank**0.5
                return torch.nn.functional.pad(sent, (0, antennas.tx - antennas.rank))
            case "alamouti":
                first, second = (blocks / 2**0.5).unbind(dim=2)
                now, then = (first, second), (-second.conj(), first.conj())
                uses = torch.stack([torch.stack(now, dim=2), torch.stack(then, dim=2)], dim=2)
                return uses.flatten(1, 2)

    def separate(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(z, gains, noise variances), each [B, n * rank], of what is received, [B, n, rx].

        z = gain * symbol + noise, symbol by symbol, in the order in which they were sent.
        """
        if self.antennas.scheme == "svd":
            modes, rank = self._modes, self.antennas.rank
            z = times(modes.u[..., :rank].mH, y)
            gains = (modes.sigma[..., :rank] * self._powers.sqrt()).to(torch.complex64)
            no = self.no.expand(y.shape[:2])[..., None].expand(gains.shape)
            return z.flatten(1), gains.flatten(1), no.flatten(1)
        return self._lmmse(y)

    def _lmmse(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        from sionna.phy.mimo import lmmse_equalizer

        mixed, y = self._mixed(y)
        no = self.no.expand(self.h.shape[:2])[:, :: self.antennas.uses_per_block]
        noise = no[..., None, None] * torch.eye(y.shape[-1], device=y.device)
        # Image by image, since a product's last bit depends on how many are computed at once.
        separated = [
            lmmse_equalizer(*image, precision="single")
            for image in zip(y, mixed, noise.to(torch.complex64), strict=True)
        ]
        z, variance = (torch.stack(parts).flatten(1) for parts in zip(*separated, strict=True))
        return z, torch.ones_like(z), variance

    def _mixed(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """(G, y) with y = G s + noise for the symbols s of each block."""
        antennas, h = self.antennas, self.h
        if antennas.scheme == "spatial":
            return h[..., : antennas.rank] / antennas.rank**0.5, y
        now, then = h[:, ::2], h[:, 1::2].conj()
        swapped = torch.stack([then[..., 1], -then[..., 0]], dim=-1)
        received = torch.cat([y[:, ::2], y[:, 1::2].conj()], dim=-1)
        return torch.cat([now, swapped], dim=-2) / 2**0.5, received

    @property
    def _modes(self) -> Modes:
        assert self.modes is not None  # they are given for this scheme
        return self.modes

    @cached_property
    def _powers(self) -> Tensor:
        """Of the layers, float32 [B, n, rank]; their sum is 1."""
        rank, sigma = self.antennas.rank, self._modes.sigma
        if self.antennas.power == "equal":
            return torch.full_like(sigma[..., :rank], 1 / rank)
        return waterfilling(self.no[..., None] / sigma[..., :rank].square())


def waterfilling(noise: Tensor) -> Tensor:
    """Powers [..., k] of sum 1 that carry most over layers of rising noise [..., k] at unit gain.

    p_k = max(level - noise_k, 0) (T. M. Cover and J. A. Thomas, Elements of Information Theory,
    section 9.4).
    """
    count = torch.arange(1, noise.shape[-1] + 1, device=noise.device)
    levels = (1 + noise.double().cumsum(dim=-1)) / count
    flooded = (levels > noise).sum(dim=-1, keepdim=True).clamp(min=1)
    level = levels.gather(-1, flooded - 1)
    return (level - noise).clamp(min=0).float()


def times(matrix: Tensor, vector: Tensor) -> Tensor:
    """matrix [..., m, k] times vector [..., k], in an order that no batch changes."""
    columns = zip(matrix.unbind(dim=-1), vector.unbind(dim=-1), strict=True)
    return reduce(
        torch.add, (batch_exact.multiply(column, part[..., None]) for column, part in columns)
    )


@dataclass(frozen=True, kw_only=True)
class FlatMimoRealisation(Realisation):
    """One draw of a flat matrix channel for a batch, known to the receiver.

    h: complex64 [B, n, rx, tx]. noise: complex64 [B, n, rx]. The symbols of each block of channel
    uses are dealt to the layers at random, the same way for everybody.
    """

    antennas: Antennas

    @property
    def length(self) -> int:
        """Symbols of all channel uses."""
        return self.h.shape[1] * self.antennas.rank

    @cached_property
    def _modes(self) -> Modes | None:
        return eigenmodes(self.h, self.antennas)

    def send(
        self, symbols: Tensor, used: Tensor, no: Tensor, rounds: tuple[int, ...] = ()
    ) -> Arrival:
        """Over as many channel uses as each image's ``used`` symbols need."""
        antennas, count = self.antennas, symbols.shape[1]
        size = antennas.symbols_per_block
        padded = torch.nn.functional.pad(symbols, (0, -count % size))
        mixing = Mixing.of_blocks(size, padded.shape[1] // size, str(symbols.device))
        n = padded.shape[1] // antennas.rank
        modes = self._modes.first(n) if self._modes else None
        layers = Layers(antennas=antennas, h=self.h[:, :n], no=no[:, None], modes=modes)
        sent = layers.precode(mixing.spread(padded))
        noise = batch_exact.scale(self.noise[:, :n], no.sqrt()[:, None, None])
        z, gains, variances = layers.separate(times(self.h[:, :n], sent) + noise)
        uses = -(-used // size) * antennas.uses_per_block
        return Arrival(
            y=mixing.gather(z, count),
            h=mixing.gather(gains, count),
            no=mixing.gather(variances, count),
            uses=uses,
            padding=uses * antennas.rank - used,
        )
