"""Initial weights that make an autoencoder of image patches a linear transform codec.

From random weights a deep stack of narrow layers takes some ten thousand steps to learn what any
block transform knows: which few components of a patch carry its picture. Here the encoder starts as
the Karhunen-Loeve transform (KLT) of a first-order Markov image model, built up level by level from
2x2 to 4x4, 8x8, … pixels, and the decoder as its transpose; all else starts as if it were not
there, and training goes on from a codec that works.

Model: the correlation of two pixels at distance d is RHO^d (A. K. Jain, Fundamentals of Digital
Image Processing, 1989, section 2.9), that of two colours COLOUR. Components are in falling order of
variance, as ``rate: nested`` wants them. Each is sent with a gain of variance^(-1/4), which is the
best for linear coding over a noisy channel without water filling (Lee and Petersen, Optimal linear
coding for vector channels, IEEE Trans. Commun. 1976).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from linksim.nn.layers import ChannelModNet, PatchDivision, PatchMerging

RHO = 0.95
COLOUR = ((1.0, 0.89, 0.70), (0.89, 1.0, 0.88), (0.70, 0.88, 1.0))
"""Both measured, as all three constants are, over 4,000 crops of BSDS500 and ImageNet images."""
PIXEL_STD = 0.24
"""Of a colour in [0, 1], around a mean of one half."""

_DOMINANCE = 3.0
"""Length of a token's constant part over that of its signal, where LayerNorm follows: large enough
that dividing by the token's length hardly bends the signal."""
_SHRINKAGE = (1 + _DOMINANCE**-2) ** -0.5
_PILOT = 0.15
"""Power of the latent's constant channel over that of all others."""
_SIGMOID = 4.0
"""What a sigmoid's slope at zero is multiplied with to be 1."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """One level of the transform, in float64.

    matrix: [k, 4 * components of the level below], orthonormal rows; a patch's four quarters lie
    one after the other, the upper two first. The lowest level's quarters are pixels of 3 colours.
    std: [k], of the components, for pixels in [0, 1].
    """

    matrix: Tensor
    std: Tensor


def patch_transform(most: Iterable[int]) -> list[Level]:
    """KLT of patches of 2x2, 4x4, … pixels; each level keeps at most that many components."""
    levels: list[Level] = []
    basis, side = torch.eye(3, dtype=torch.float64), 1
    for count in most:
        quarters = _quarters(basis, side)
        side *= 2
        covariance = quarters @ _pixel_covariance(side) @ quarters.T
        variance, vectors = torch.linalg.eigh(covariance)
        matrix = vectors.T.flip(0)[:count]
        levels.append(Level(matrix=matrix, std=variance.flip(0)[:count].clamp(min=0).sqrt()))
        basis = matrix @ quarters
    return levels


def _quarters(basis: Tensor, side: int) -> Tensor:
    """basis [k, 3 side^2] applied to each quarter of a patch twice as wide: [4k, 12 side^2]."""
    places = torch.arange(12 * side * side).view(2, side, 2, side, 3).transpose(1, 2)
    out = basis.new_zeros(4, len(basis), 12 * side * side)
    for quarter, columns in zip(out, places.reshape(4, -1), strict=True):
        quarter[:, columns] = basis
    return out.flatten(0, 1)


def _pixel_covariance(side: int) -> Tensor:
    """[3 side^2, 3 side^2] over the pixels of a patch in raster order, colours last."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    places = torch.stack([rows.flatten(), columns.flatten()], dim=1).double()
    colours = torch.tensor(COLOUR, dtype=torch.float64)
    return PIXEL_STD**2 * torch.kron(RHO ** torch.cdist(places, places), colours)


def _gains(std: Tensor) -> Tensor:
    """variance^(-1/4) for each component, scaled to unit power over all that are sent."""
    gains = std.rsqrt()
    return gains / (gains * std).square().mean().sqrt()


def _constant(width: int) -> Tensor:
    constant = torch.zeros(width, dtype=torch.float64)
    constant[0], constant[1] = (width / 2) ** 0.5, -((width / 2) ** 0.5)
    return constant


@dataclass(frozen=True, kw_only=True)
class ConvolutionalEnd:
    """Two 3x3 convolutions with BatchNorm and ReLU (or a last sigmoid) after each: between pixels
    [B, 3, H, W] and patches of 2x2 of them; one convolution has stride 2."""

    first: nn.Conv2d | nn.ConvTranspose2d
    first_norm: nn.BatchNorm2d
    second: nn.Conv2d
    second_norm: nn.BatchNorm2d

    @property
    def layers(self) -> tuple[nn.Module, ...]:
        return self.first, self.first_norm, self.second, self.second_norm


@dataclass(frozen=True, kw_only=True)
class _Tokens:
    """How tokens of one width hold a level's components s: basis @ s * scale + constant.

    basis [d, k] and constant [d] are perpendicular to each other and to the mean that LayerNorm
    takes away; the constant is of length sqrt(d), so that LayerNorm returns tokens nearly as they
    are, times _SHRINKAGE. It lies in two channels: an optimiser that moves all weights alike,
    as Adam does, moves an output by the sum of its inputs' sizes, and were they spread over all
    channels, the first hundred steps would throw everything about.
    """

    basis: Tensor
    constant: Tensor
    scale: float

    @classmethod
    def of(cls, level: Level, width: int) -> "_Tokens":
        constant = _constant(width)
        start = torch.randn(width, width, dtype=torch.float64)
        start[:, 0], start[:, 1] = 1, constant
        directions = torch.linalg.qr(start).Q
        length = float(level.std.square().sum().sqrt())
        return cls(
            basis=directions[:, 2 : 2 + len(level.std)],
            constant=constant,
            scale=width**0.5 / _DOMINANCE / length,
        )

    def std(self, level: Level) -> Tensor:
        """Of each channel, [d]."""
        return (self.basis * level.std).square().sum(1).sqrt() * self.scale

    def read(self, quarters: int = 1) -> tuple[Tensor, Tensor]:
        """From LayerNorm's output of joined tokens: ([4k, 4d], components; [4d], 1 if constant)."""
        components = _diagonal(self.basis.T, quarters) / (self.scale * _SHRINKAGE)
        width = quarters * len(self.constant)
        return components, self.constant.repeat(quarters) / (width * _SHRINKAGE)


def _diagonal(block: Tensor, times: int = 4) -> Tensor:
    return torch.kron(torch.eye(times, dtype=block.dtype), block.contiguous())


def initialise_hierarchy(
    *,
    embedding: nn.Conv2d,
    merges: Sequence[PatchMerging],
    compression: nn.Linear,
    expansion: nn.Linear,
    divisions: Sequence[PatchDivision],
    branches: Iterable[tuple[nn.LayerNorm, nn.Module]],
    modnets: Sequence[ChannelModNet],
    final_norm: bool,
) -> list[nn.Parameter]:
    """MambaJSCC's and SwinJSCC's skeleton: 2x2 embedding, patch merging and division.

    Returns the parameters of those layers, which now hold the transform.

    branches: the LayerNorm and the last layer of every residual branch: the one is set to give the
    signal alone, at unit power, the other to zeros, which make blocks the identity. modnets: set
    to one factor, of one half, for all channels. final_norm: a LayerNorm precedes the compression.

    LayerNorm, which would take away how strong a token is, is passed through on a constant part of
    every token (see _Tokens). It is also sent, as the latent's first channel: the receiver, which
    is not told the power that the link normalised, divides by it in its first LayerNorm.
    """
    widths = [embedding.out_channels, *(merge.reduction.out_features for merge in merges)]
    levels = patch_transform(width - 2 for width in widths)
    tokens = [_Tokens.of(level, width) for level, width in zip(levels, widths, strict=True)]
    first, last = tokens[0], tokens[-1]
    with torch.no_grad():
        # Images enter as 2x - 1: twice as strong as the model's.
        patch = first.basis @ levels[0].matrix * first.scale / 2
        embedding.weight.copy_(patch.view(-1, 2, 2, 3).permute(0, 3, 1, 2))
        _set_bias(embedding, first.constant)
        _initialise_merges(merges, levels, tokens)
        before = (0.5 if modnets else 1.0) * (_SHRINKAGE if final_norm else 1.0)
        _initialise_latent(compression, expansion, last, levels[-1], before)
        *inwards, outermost = divisions
        _initialise_divisions(inwards, levels, tokens)
        components, _ = first.read()  # the image leaves as (x + 1) / 2
        outermost.expansion.weight.copy_(2 * levels[0].matrix.T @ components)
        _silence(branches)
        for modnet in modnets:
            _zero(modnet.linears[-1])
    return _parameters(embedding, *merges, compression, expansion, *divisions)


def initialise_stemmed_hierarchy(
    *,
    stem: ConvolutionalEnd,
    merges: Sequence[PatchMerging],
    norm: nn.BatchNorm2d,
    compression: nn.Conv2d,
    attention: nn.Module,
    expansion: nn.Conv2d,
    divisions: Sequence[PatchDivision],
    last_norm: nn.BatchNorm2d,
    head: ConvolutionalEnd,
    branches: Iterable[tuple[nn.LayerNorm, nn.Module]],
    residuals: Iterable[nn.BatchNorm2d],
) -> list[nn.Parameter]:
    """MVSC's skeleton: as :func:`initialise_hierarchy`, between convolutional ends.

    Returns the parameters of the layers that hold the transform.

    stem: stride 2 in the second convolution. head: in the first, a transposed one. Their BatchNorms
        hold the model's mean and variance and leave the signal as it is, lifted so far that a ReLU
        passes it whole.
    norm, last_norm: before the compression and before the head; they pass the signal on.
    attention: the last layer before the sigmoid that scales the received channels by one half.
    expansion: from twice the latent's channels, of which the second half are those received.
    residuals: the last BatchNorm of each convolutional branch, set to zero.
    """
    widths = [last_norm.num_features, *(merge.reduction.out_features for merge in merges)]
    levels = patch_transform(width - 2 for width in widths)
    tokens = [_Tokens.of(level, width) for level, width in zip(levels, widths, strict=True)]
    first, last = tokens[0], tokens[-1]
    lift = 3 * PIXEL_STD
    with torch.no_grad():
        _set_colours(stem.first, 1.0)
        _pass_on(stem.first_norm, torch.full((3,), 0.5), torch.full((3,), PIXEL_STD), lift)
        patch = first.basis @ levels[0].matrix * first.scale
        _zero(stem.second)
        _set_taps(stem.second.weight, patch.view(-1, 2, 2, 3).permute(0, 3, 1, 2))
        mean, std = patch.sum(1) * lift, first.std(levels[0])
        _pass_on(stem.second_norm, mean, std, first.constant + first.constant.max() + 3 * std.max())
        _initialise_merges(merges, levels, tokens)
        _pass_on(norm, last.constant, last.std(levels[-1]), last.constant)
        _initialise_latent(compression, expansion, last, levels[-1], 1.0)
        _zero(attention)
        C = compression.out_channels
        received = expansion.weight[:, :C].clone()
        _zero(expansion)
        # Twice for the attention's half; a token's energy, which was made 1, was near 1 + pilot^2.
        expansion.weight[:, C:].copy_(2 * ((1 + _PILOT) * (C - 1)) ** 0.5 * received)
        _initialise_divisions(divisions, levels, tokens)
        _pass_on(last_norm, first.constant, first.std(levels[0]), 0.0)
        pixels = levels[0].matrix.T @ first.basis.T / first.scale
        head.first.weight[:, :3] = 0
        _set_taps(head.first.weight, pixels.T.reshape(-1, 2, 2, 3).permute(0, 3, 1, 2))
        _pass_on(head.first_norm, torch.zeros(3), torch.full((3,), PIXEL_STD), lift)
        _zero(head.second)
        _set_colours(head.second, _SIGMOID)
        spread = torch.full((3,), _SIGMOID * PIXEL_STD)
        _pass_on(head.second_norm, torch.full((3,), _SIGMOID * lift), spread, 0.0)
        _silence(branches)
        for residual in residuals:
            _zero(residual)
    inner = (*merges, norm, compression, attention, expansion, *divisions, last_norm)
    return _parameters(*stem.layers, *inner, *head.layers)


def _set_colours(layer: nn.Conv2d | nn.ConvTranspose2d, gain: float) -> None:
    """The first three channels in to the first three out, pixel by pixel."""
    layer.weight[:3] = 0
    _set_taps(layer.weight, gain * torch.eye(3)[:, :, None, None])


def _pass_on(norm: nn.BatchNorm2d, mean: Tensor, std: Tensor, out: Tensor | float) -> None:
    """Make BatchNorm take ``mean`` and ``std`` [k] of its first k channels for theirs, keep the std
    and put ``out`` in place of the mean."""
    k = len(mean)
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a BatchNorm without running statistics cannot pass a signal on")
    norm.running_mean[:k] = mean.to(norm.running_mean)
    norm.running_var[:k] = std.square().to(norm.running_var)
    norm.weight[:k] = std.to(norm.weight)
    norm.bias[:k] = torch.as_tensor(out).to(norm.bias)


def _initialise_merges(
    merges: Sequence[PatchMerging], levels: Sequence[Level], tokens: Sequence[_Tokens]
) -> None:
    for merge, level, (inner, outer) in zip(merges, levels[1:], pairwise(tokens), strict=True):
        components, constant = inner.read(quarters=4)
        joined = outer.basis @ level.matrix @ components * outer.scale
        merge.reduction.weight.copy_(joined + torch.outer(outer.constant, constant))


def _initialise_divisions(
    divisions: Sequence[PatchDivision], levels: Sequence[Level], tokens: Sequence[_Tokens]
) -> None:
    """divisions: from the latent outwards, but for one that gives pixels."""
    for division, level, (inner, outer) in zip(
        reversed(divisions), levels[1:], pairwise(tokens), strict=True
    ):
        components, constant = outer.read()
        spread = _diagonal(inner.basis) @ level.matrix.T @ components * inner.scale
        tiled = torch.outer(inner.constant.repeat(4), constant)
        division.expansion.weight.copy_(spread + tiled)


def _silence(branches: Iterable[tuple[nn.LayerNorm, nn.Module]]) -> None:
    """Make residual branches give nothing, from a first layer that sees the signal alone."""
    for norm, output in branches:
        norm.weight.fill_(_DOMINANCE / _SHRINKAGE)
        norm.bias.copy_(-_DOMINANCE * _constant(len(norm.bias)))
        _zero(output)


def _initialise_latent(
    compression: nn.Linear | nn.Conv2d,
    expansion: nn.Linear | nn.Conv2d,
    tokens: _Tokens,
    level: Level,
    before: float,
) -> None:
    """Channel 0 constant, then the components by falling variance; what is left over random.

    before: the factor that the tokens have met since they were as ``tokens`` says.
    """
    inwards, outwards = (layer.weight.flatten(1) for layer in (compression, expansion))
    channels = len(inwards)
    count = min(len(level.std), channels - 1)
    gains, basis = _gains(level.std[:count]), tokens.basis[:, :count]
    pilot = (_PILOT * count) ** 0.5
    for weight in (inwards, outwards):
        nn.init.normal_(weight, std=0.02)
    sent = torch.cat([torch.zeros(1, len(basis)), gains[:, None] * basis.T / tokens.scale / before])
    inwards[: count + 1].copy_(sent)
    _set_bias(compression, torch.eye(channels)[0] * pilot)
    outwards[:, 0].copy_(tokens.constant / pilot)
    outwards[:, 1 : count + 1].copy_(basis / gains * tokens.scale)
    _set_bias(expansion, torch.zeros(len(outwards)))


def initialise_convolutions(
    *,
    encoder: Sequence[nn.Conv2d],
    decoder: Sequence[nn.ConvTranspose2d],
    activations: Iterable[nn.PReLU],
    attentions: Iterable[nn.Module] = (),
) -> list[nn.Parameter]:
    """DeepJSCC's and ADJSCC's skeleton: two convolutions of stride 2, others of stride 1 between
    them and the latent, transposed ones in mirrored order, and a sigmoid at the end.

    Returns the convolutions' parameters. The taps at the centre become the transform of 4x4 pixels,
    those around it keep a tenth of their random weights. activations start as the identity.
    attentions: the last layers before the sigmoids that scale channels; zeros make all factors one
    half, which the next layer undoes.
    """
    levels = patch_transform(layer.out_channels for layer in encoder[:2])
    attentions = list(attentions)
    scaled = 2.0 if attentions else 1.0
    gains = _gains(levels[1].std[: encoder[-1].out_channels])
    down = [level.matrix.view(len(level.std), 2, 2, -1) for level in levels]
    keep = torch.eye(len(levels[1].std), dtype=torch.float64)
    between = [keep] * (len(encoder) - 3)
    # A real part of a symbol has half the power that is normalised.
    latent = torch.diag(gains)
    received = torch.diag(2**0.5 / gains)
    with torch.no_grad():
        for layer in [*encoder, *decoder]:
            layer.weight.mul_(0.1)
            if layer.bias is not None:
                layer.bias.zero_()
        for place, (layer, taps) in enumerate(
            zip(
                encoder,
                [*down, *(m[:, None, None] for m in [*between, latent])],
                strict=True,
            )
        ):
            _set_taps(layer.weight, taps.permute(0, 3, 1, 2) * (scaled if place else 1))
        # Images enter as they are: their mean is one half.
        _set_bias(encoder[0], _first(-0.5 * down[0].sum((1, 2, 3)), encoder[0].out_channels))
        up = [received, *between]
        transposed = [m[:, :, None, None] for m in up] + [
            taps.permute(0, 3, 1, 2) for taps in reversed(down)
        ]
        for place, (layer, taps) in enumerate(zip(decoder, transposed, strict=True)):
            steeper = _SIGMOID if place + 1 == len(decoder) else 1.0
            _set_taps(layer.weight, taps * steeper * (scaled if place else 1))
        for activation in activations:
            activation.weight.fill_(1)
        for attention in attentions:
            _zero(attention)
    return _parameters(*encoder, *decoder)


def _set_taps(weight: Tensor, taps: Tensor) -> None:
    """Put taps [a, b, n, n] into the middle of weight [A, B, k, k], with k odd, A >= a, B >= b."""
    (rows, columns, height, width), middle = taps.shape, weight.shape[-1] // 2
    window = slice(middle, middle + height), slice(middle, middle + width)
    weight[(slice(rows), slice(columns), *window)] = taps.to(weight.dtype)


def _parameters(*layers: nn.Module) -> list[nn.Parameter]:
    return [parameter for layer in layers for parameter in layer.parameters()]


def _first(values: Tensor, length: int) -> Tensor:
    return torch.cat([values, values.new_zeros(length - len(values))])


def _set_bias(layer: nn.Module, values: Tensor) -> None:
    if isinstance(layer.bias, Tensor):
        layer.bias.copy_(values)


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        parameter.zero_()
