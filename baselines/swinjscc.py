"""SwinJSCC: Swin Transformer blocks, with the SNR in a Channel ModNet or not at all."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformerBlock

from linksim.errors import InputError
from linksim.neural_codec import NeuralCodec, Rate
from linksim.nn.layers import ChannelModNet, PatchDivision, PatchMerging
from linksim.nn.transform_init import initialise_hierarchy

SnrAdaptation = Literal["modnet", "none"]


class SwinJSCC(NeuralCodec):
    """images [B, 3, H, W] -> stages of Swin blocks -> latent [B, C, H/16, W/16] -> mirrored.

        2x2 embedding -> stage -> merging -> ... -> stage -> LayerNorm -> ModNet -> linear to C
        linear from C -> ModNet -> stage -> division -> ... -> stage -> division to the image

    Images in [0, 1] enter as 2x - 1 and leave as (x + 1) / 2, not clamped here.

    dims, depths, heads: each stage's width, number of blocks and attention heads; n stages make
        the latent's sides 2^n times smaller than the image's.
    window: side of the attention windows in tokens. Inside each block zero tokens complete a map
        that windows do not cover, and masks are made for the size at hand: any size fits.
    snr_adaptation: ``modnet`` (SwinJSCC w/ SA): one set of weights for all SNRs; ``none`` (w/o SA
        and RA): the codec is not told the SNR.
    latent_channels: C; with four stages CBR = C / 1536.

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
        snr_adaptation: SnrAdaptation = "modnet",
        latent_channels: int = 32,
        rate: Rate = "fixed",
    ) -> None:
        super().__init__(latent_channels=latent_channels, rate=rate)
        _check_stages(dims, depths, heads, window)
        if snr_adaptation not in ("modnet", "none"):
            raise InputError(
                f"snr_adaptation is {snr_adaptation!r}; allowed are 'modnet' and 'none'"
            )
        self.encoder_uses_snr = snr_adaptation == "modnet"
        self.stride = self.downsampling = 2 ** len(dims)
        deepest = dims[-1]
        self.embedding = nn.Conv2d(3, dims[0], 2, stride=2)
        encoder: list[nn.Module] = [nn.LayerNorm(dims[0])]
        decoder: list[nn.Module] = []
        for i, (dim, depth, head) in enumerate(zip(dims, depths, heads, strict=True)):
            if i > 0:
                encoder.append(PatchMerging(dim=dims[i - 1], out_dim=dim))
            encoder.extend(_stage(dim, depth, head, window))
            division = PatchDivision(dim=dim, out_dim=dims[i - 1] if i > 0 else 3)
            decoder = [*_stage(dim, depth, head, window), division, *decoder]
        self.encoder = nn.Sequential(*encoder, nn.LayerNorm(deepest))
        self.encoder_out = nn.Linear(deepest, latent_channels)
        self.decoder_in = nn.Linear(latent_channels, deepest)
        self.decoder = nn.Sequential(*decoder)
        self.encoder_modnet = ChannelModNet(dim=deepest) if self.encoder_uses_snr else None
        self.decoder_modnet = ChannelModNet(dim=deepest) if self.encoder_uses_snr else None

    def initialise_as_transform(self) -> list[nn.Parameter]:
        blocks = [module for module in self.modules() if isinstance(module, SwinTransformerBlock)]
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

    def synthesis(self, latent: Tensor, snr_db: Tensor | None) -> Tensor:
        tokens = self.decoder_in(latent.permute(0, 2, 3, 1))
        if self.decoder_modnet is not None:
            tokens = self.decoder_modnet(tokens, snr_db)
        images: Tensor = self.decoder(tokens)
        return (images.permute(0, 3, 1, 2) + 1) / 2


def _stage(dim: int, depth: int, heads: int, window: int) -> list[nn.Module]:
    """Blocks at one resolution, on tokens [B, H, W, dim]; every second one shifts its windows."""
    shifts = [window // 2 if block % 2 else 0 for block in range(depth)]
    return [
        SwinTransformerBlock(dim, heads, window_size=[window] * 2, shift_size=[shift] * 2)
        for shift in shifts
    ]


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
