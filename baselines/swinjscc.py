"""SwinJSCC: Swin Transformer blocks, with the SNR in a Channel ModNet or not at all."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.swin_transformer import ShiftedWindowAttention, SwinTransformerBlock

from linksim.codec import Decoded, Frame, Received, RxInfo
from linksim.errors import InputError
from linksim.neural_codec import NeuralCodec, Rate, Scale
from linksim.nn.layers import ChannelModNet, PatchDivision, PatchMerging
from linksim.nn.transform_init import initialise_hierarchy

Adaptation = Literal["modnet", "none"]
OneWindow = Literal["whole", "shifted"]


class SwinJSCC(NeuralCodec):
    """images [B, 3, H, W] -> stages of Swin blocks -> latent [B, C, H/16, W/16] -> mirrored.

        2x2 embedding -> stage -> merging -> ... -> stage -> LayerNorm -> ModNets -> linear to C
        linear from C -> ModNet -> stage -> division -> ... -> stage -> division to the image

    Images in [0, 1] enter as 2x - 1 and leave as (x + 1) / 2, not clamped here.

    dims, depths, heads: each stage's width, number of blocks and attention heads; n stages make
        the latent's sides 2^n times smaller than the image's.
    window: side of the attention windows in tokens. Inside each block zero tokens complete a map
        that windows do not cover, and masks are made for the size at hand: any size fits.
    one_window: where a map is no wider or higher than a window, ``whole`` lets all its tokens see
        each other; ``shifted`` shifts and masks there too, as the public code does.
    embedding_norm: LayerNorm after the embedding; the public code has none.
    snr_adaptation: ``modnet`` (SwinJSCC w/ SA): one set of weights for all SNRs; ``none`` (w/o SA
        and RA): the codec is not told the SNR.
    rate_adaptation: ``modnet`` (w/ RA): one set of weights for all CBRs. A second ModNet of the
        encoder is told how many channels fit the budget, and those whose factors are largest over
        an image are sent, with no linear layers around the channel: C is the deepest width, and
        ``rate`` must be ``nested``. Which ones they are, C bits an image, is side information.
    latent_channels: C; with four stages CBR = C / 1536.
    scale: see :class:`linksim.neural_codec.NeuralCodec`.

    Raises InputError for stages that do not fit together. Source: Yang et al., IEEE TCCN 2024,
    Fig. 2 and 4; blocks of torchvision.
    """

    summary: ClassVar[str] = "Swin Transformer, Channel ModNet told the SNR"
    paper: ClassVar[str] = "Yang et al., IEEE TCCN 2024"
    adapts_to_snr: ClassVar[str] = "told"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": {
            "dims": (32, 60, 90, 128),
            "depths": (1, 1, 2, 1),
            "heads": (2, 4, 6, 8),
            "latent_channels": 128,
            "rate": "nested",
        },
    }

    def __init__(
        self,
        *,
        dims: Sequence[int] = (128, 192, 256, 320),
        depths: Sequence[int] = (2, 2, 6, 2),
        heads: Sequence[int] = (4, 6, 8, 10),
        window: int = 8,
        one_window: OneWindow = "whole",
        embedding_norm: bool = True,
        snr_adaptation: Adaptation = "modnet",
        rate_adaptation: Adaptation = "none",
        latent_channels: int = 32,
        rate: Rate = "fixed",
        scale: Scale = "withheld",
    ) -> None:
        super().__init__(latent_channels=latent_channels, rate=rate, scale=scale)
        _check_stages(dims, depths, heads, window)
        _check_choice("snr_adaptation", snr_adaptation, get_args(Adaptation))
        _check_choice("rate_adaptation", rate_adaptation, get_args(Adaptation))
        _check_choice("one_window", one_window, get_args(OneWindow))
        adapts_rate = rate_adaptation == "modnet"
        if adapts_rate and (rate != "nested" or latent_channels != dims[-1]):
            raise InputError(
                f"rate_adaptation: modnet needs rate: nested and latent_channels {dims[-1]}, the "
                f"last of dims; given are {rate} and {latent_channels}"
            )
        self.encoder_uses_snr = snr_adaptation == "modnet"
        self.stride = self.downsampling = 2 ** len(dims)
        deepest = dims[-1]
        self.embedding = nn.Conv2d(3, dims[0], 2, stride=2)
        encoder: list[nn.Module] = [nn.LayerNorm(dims[0]) if embedding_norm else nn.Identity()]
        decoder: list[nn.Module] = []
        for i, (dim, depth, head) in enumerate(zip(dims, depths, heads, strict=True)):
            if i > 0:
                encoder.append(PatchMerging(dim=dims[i - 1], out_dim=dim))
            encoder.extend(_stage(dim, depth, head, window, one_window))
            division = PatchDivision(dim=dim, out_dim=dims[i - 1] if i > 0 else 3)
            decoder = [*_stage(dim, depth, head, window, one_window), division, *decoder]
        self.encoder = nn.Sequential(*encoder, nn.LayerNorm(deepest))
        self.encoder_out = nn.Identity() if adapts_rate else nn.Linear(deepest, latent_channels)
        self.decoder_in = nn.Identity() if adapts_rate else nn.Linear(latent_channels, deepest)
        self.decoder = nn.Sequential(*decoder)
        self.encoder_modnet = ChannelModNet(dim=deepest) if self.encoder_uses_snr else None
        self.decoder_modnet = ChannelModNet(dim=deepest) if self.encoder_uses_snr else None
        self.rate_modnet = ChannelModNet(dim=deepest) if adapts_rate else None

    def initialise_as_transform(self) -> list[nn.Parameter]:
        blocks = [module for module in self.modules() if isinstance(module, SwinTransformerBlock)]
        if not isinstance(self.encoder_out, nn.Linear) or not isinstance(
            self.decoder_in, nn.Linear
        ):
            raise InputError(
                "SwinJSCC with rate_adaptation: modnet cannot start as a transform; "
                "use initial: random"
            )
        modnets = (self.encoder_modnet, self.decoder_modnet)
        return initialise_hierarchy(
            embedding=self.embedding,
            merges=[layer for layer in self.encoder if isinstance(layer, PatchMerging)],
            compression=self.encoder_out,
            expansion=self.decoder_in,
            divisions=[layer for layer in self.decoder if isinstance(layer, PatchDivision)],
            branches=[
                branch
                for block in blocks
                for branch in ((block.norm1, block.attn.proj), (block.norm2, block.mlp[3]))
            ],
            modnets=[modnet for modnet in modnets if modnet is not None],
            final_norm=True,
        )

    def analysis(self, images: Tensor, snr_db: Tensor | None) -> Tensor:
        tokens = self.encoder(self.embedding(2 * images - 1).permute(0, 2, 3, 1))
        if self.encoder_modnet is not None:
            tokens = self.encoder_modnet(tokens, snr_db)
        latent: Tensor = self.encoder_out(tokens)
        return latent.permute(0, 3, 1, 2)

    def frame_for(self, images: Tensor, snr_db: Tensor | None, channels: int) -> Frame:
        if self.rate_modnet is None:
            return super().frame_for(images, snr_db, channels)
        tokens = self.analysis(images, snr_db).permute(0, 2, 3, 1)
        told = torch.full((len(images),), float(channels), device=images.device)
        factors = self.rate_modnet.factors(tokens, told)
        chosen = factors.float().sum(dim=(1, 2)).topk(channels).indices.sort().values
        latent = (tokens * factors).permute(0, 3, 1, 2).float()
        sent = latent.take_along_dim(chosen[:, :, None, None], dim=1)
        return self.frame_of(
            sent,
            [_as_bits(one, self.latent_channels) for one in chosen.tolist()],
            bits=self.latent_channels,
        )

    def decode(self, received: Received, rx: RxInfo) -> Tensor | Decoded:
        if self.rate_modnet is None:
            return super().decode(received, rx)
        if received.side_info is None:
            raise InputError("SwinJSCC with rate_adaptation: modnet got no side information")
        packed = self.latent_of(self.rescaled(received), rx.image_size)
        chosen = [_from_bits(data, self.latent_channels) for data in received.side_info]
        places = torch.tensor(chosen, device=packed.device)[:, :, None, None]
        latent = torch.zeros_like(packed).scatter(
            1, places.expand(-1, -1, *packed.shape[2:]), packed
        )
        return self.images_of(latent, rx)

    def synthesis(self, latent: Tensor, snr_db: Tensor | None) -> Tensor:
        tokens = self.decoder_in(latent.permute(0, 2, 3, 1))
        if self.decoder_modnet is not None:
            tokens = self.decoder_modnet(tokens, snr_db)
        images: Tensor = self.decoder(tokens)
        return (images.permute(0, 3, 1, 2) + 1) / 2


class AlwaysShiftedAttention(ShiftedWindowAttention):  # type: ignore[misc]
    """torchvision's, but where a map is one window wide or high it shifts and masks there too.

    Tokens [B, H, W, dim] to the same. So does SwinJSCC's public code at sizes that its windows
    were not made for: the parts of a window that the shift brings together do not see each other.
    """

    def forward(self, x: Tensor) -> Tensor:
        B, H, W, C = x.shape
        side, shift = self.window_size[0], self.shift_size[0]
        rows, columns = -(-H // side), -(-W // side)
        if shift == 0 or min(rows, columns) > 1:
            return super().forward(x)  # type: ignore[no-any-return]
        x = F.pad(x, (0, 0, 0, columns * side - W, 0, rows * side - H))
        height, width = rows * side, columns * side
        windows = _windows(x.roll((-shift, -shift), (1, 2)), side).flatten(0, 1)
        q, k, v = self.qkv(windows).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        parts = 3 * _parts(height, side, shift)[:, None] + _parts(width, side, shift)
        labels = _windows(parts[None, :, :, None].to(x.device), side)[0, :, :, 0]
        apart = -100.0 * (labels[:, :, None] != labels[:, None, :])
        bias = self.get_relative_position_bias() + apart[:, None]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.repeat(B, 1, 1, 1).to(q))
        y = self.proj(mixed.transpose(1, 2).flatten(2))
        y = y.view(B, rows, columns, side, side, C).transpose(2, 3).reshape(B, height, width, C)
        back: Tensor = y.roll((shift, shift), (1, 2))
        return back[:, :H, :W]


def _windows(x: Tensor, side: int) -> Tensor:
    """[B, H, W, C] -> [B, windows, side^2, C]."""
    B, H, W, C = x.shape
    x = x.view(B, H // side, side, W // side, side, C).transpose(2, 3)
    return x.reshape(B, -1, side * side, C)


def _parts(length: int, side: int, shift: int) -> Tensor:
    """[length]: 0 before the last window of a shifted axis, then 1, and 2 for what came around."""
    places = torch.arange(length)
    return (places >= length - side).int() + (places >= length - shift).int()


def _as_bits(chosen: Sequence[int], channels: int) -> bytes:
    """A bit a channel, the first one lowest."""
    return sum(1 << channel for channel in chosen).to_bytes(-(-channels // 8), "little")


def _from_bits(data: bytes, channels: int) -> list[int]:
    """All channels: those whose bit is set in ascending order, then the others."""
    bits = int.from_bytes(data[: -(-channels // 8)], "little")
    return sorted(range(channels), key=lambda channel: (~bits >> channel & 1, channel))


def _stage(dim: int, depth: int, heads: int, window: int, one_window: OneWindow) -> list[nn.Module]:
    """Blocks at one resolution, on tokens [B, H, W, dim]; every second one shifts its windows."""
    shifts = [window // 2 if block % 2 else 0 for block in range(depth)]
    attention = AlwaysShiftedAttention if one_window == "shifted" else ShiftedWindowAttention
    return [
        SwinTransformerBlock(
            dim, heads, window_size=[window] * 2, shift_size=[shift] * 2, attn_layer=attention
        )
        for shift in shifts
    ]


def _check_choice(name: str, given: str, allowed: Sequence[str]) -> None:
    if given not in allowed:
        raise InputError(f"{name} is {given!r}; allowed are {', '.join(allowed)}")


def _check_stages(
    dims: Sequence[int], depths: Sequence[int], heads: Sequence[int], window: int
) -> None:
    if not len(dims) == len(depths) == len(heads) >= 1:
        raise InputError(
            f"dims, depths and heads have {len(dims)}, {len(depths)} and {len(heads)} entries; "
            "each stage needs one of each"
        )
    if min(*dims, *depths, *heads, window) < 1:
        raise InputError("dims, depths, heads and window must be at least 1")
    for dim, head in zip(dims, heads, strict=True):
        if dim % head:
            raise InputError(f"a stage of width {dim} cannot be split into {head} heads")
