"""MambaJSCC and its ablations (Wu et al., arXiv 2409.16592)."""

from collections.abc import Mapping, Sequence
from itertools import islice, pairwise
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from linksim.errors import InputError
from linksim.mambajscc.blocks import Activation, BlockConfig, ScanDirections, VSSMBlock
from linksim.neural_codec import NeuralCodec, Rate, Scale
from linksim.nn.layers import ChannelModNet, PatchDivision, PatchMerging
from linksim.nn.transform_init import initialise_hierarchy

ChannelAdaptation = Literal["csi_rest", "modnet", "none"]

STAGES = 4
"""Resolutions, from 1/2 to 1/16 of the image's."""


class MambaJSCC(NeuralCodec):
    """Joint source-channel coding by generalised state space models, told the SNR by CSI-ReST.

        image [B, 3, H, W] -> patch embedding 2x2 -> stage -> merging -> … -> stage -> 1x1 -> latent
        latent [B, C, H/16, W/16] -> 1x1 -> stage -> division -> … -> stage -> division -> image

    Images in [0, 1] enter as 2x - 1, and what the last layer gives leaves as (x + 1) / 2, so that
    an untrained decoder starts from mid-grey; the result is not clamped here.

    dims, depths: widths and numbers of blocks of the encoder's four stages; the decoder mirrors
        them.
    latent_channels: C, at 1/16 of the image's resolution: CBR = C / 1536.
    channel_adaptation: ``csi_rest`` sets the first state of every scan in every block to the SNR in
        dB (no parameters, no computation; without an SNR an ordinary scan); ``modnet`` puts
        SwinJSCC's Channel ModNet before the encoder's last layer and after the decoder's first;
        ``none`` uses no SNR.
    csi_interval: with csi_rest, set it again before every csi_interval-th token; None sets the
        initial state only.
    csi_start, activation, scan_directions, mlp: see :class:`linksim.mambajscc.blocks.BlockConfig`.
    scale: see :class:`linksim.neural_codec.NeuralCodec`.
    drop_path: stochastic depth of the deepest block; it falls linearly towards the image.

    Raises InputError for options outside these.
    """

    summary: ClassVar[str] = "Mamba JSCC that adapts to the SNR through its hidden states"
    paper: ClassVar[str] = "Wu et al., MambaJSCC, arXiv 2409.16592"
    adapts_to_snr: ClassVar[str] = "told"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"dims": (128, 192, 256, 320), "depths": (2, 2, 6, 2), "latent_channels": 32},
        "small": {
            "dims": (32, 64, 96, 128),
            "depths": (1, 1, 2, 2),
            "latent_channels": 128,
            "rate": "nested",
        },
        "tiny": {"dims": (16, 24, 32, 48), "depths": (1, 1, 1, 1), "latent_channels": 32},
    }
    stride = 16
    downsampling = 16

    def __init__(
        self,
        *,
        dims: Sequence[int] = (128, 192, 256, 320),
        depths: Sequence[int] = (2, 2, 6, 2),
        latent_channels: int = 32,
        channel_adaptation: ChannelAdaptation = "csi_rest",
        csi_interval: int | None = 2048,
        csi_start: bool = True,
        activation: Activation = "silu",
        scan_directions: ScanDirections = 2,
        mlp: bool = True,
        drop_path: float = 0.0,
        rate: Rate = "fixed",
        scale: Scale = "withheld",
    ) -> None:
        super().__init__(latent_channels=latent_channels, rate=rate, scale=scale)
        _check_options(
            dims=dims,
            depths=depths,
            channel_adaptation=channel_adaptation,
            activation=activation,
            scan_directions=scan_directions,
            csi_interval=csi_interval,
            drop_path=drop_path,
        )
        self.encoder_uses_snr = channel_adaptation != "none"
        config = BlockConfig(
            csi_rest=channel_adaptation == "csi_rest",
            csi_interval=csi_interval,
            csi_start=csi_start,
            activation=activation,
            scan_directions=scan_directions,
            mlp=mlp,
        )
        modnet = channel_adaptation == "modnet"
        rates = _drop_path_rates(depths, drop_path)
        self.encoder = Encoder(
            dims=dims, latent_channels=latent_channels, config=config, rates=rates, modnet=modnet
        )
        self.decoder = Decoder(
            dims=dims, latent_channels=latent_channels, config=config, rates=rates, modnet=modnet
        )

    def initialise_as_transform(self) -> list[nn.Parameter]:
        blocks = [module for module in self.modules() if isinstance(module, VSSMBlock)]
        sides = (self.encoder, self.decoder)
        return initialise_hierarchy(
            embedding=self.encoder.embed,
            merges=[m for m in self.encoder.merge if isinstance(m, PatchMerging)],
            compression=self.encoder.compress,
            expansion=self.decoder.expand,
            divisions=[m for m in self.decoder.divide if isinstance(m, PatchDivision)],
            branches=[branch for block in blocks for branch in block.branches()],
            modnets=[side.modnet for side in sides if side.modnet is not None],
            final_norm=False,
        )

    def analysis(self, images: Tensor, snr_db: Tensor | None) -> Tensor:
        return self.encoder(2 * images - 1, snr_db)  # type: ignore[no-any-return]

    def synthesis(self, latent: Tensor, snr_db: Tensor | None) -> Tensor:
        return (self.decoder(latent, snr_db) + 1) / 2  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """images [B, 3, H, W] and snr_db [B] or None -> latent [B, C, H/16, W/16].

    rates: the drop-path probability of every block of every stage, from the image inwards.
    """

    def __init__(
        self,
        *,
        dims: Sequence[int],
        latent_channels: int,
        config: BlockConfig,
        rates: Sequence[Sequence[float]],
        modnet: bool,
    ) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dims[0], 2, stride=2)
        self.norm = nn.LayerNorm(dims[0])
        self.stages = _stages(dims, config, rates)
        self.merge = nn.ModuleList(PatchMerging(dim=a, out_dim=b) for a, b in pairwise(dims))
        self.modnet = ChannelModNet(dim=dims[-1]) if modnet else None
        self.compress = nn.Linear(dims[-1], latent_channels)

    def forward(self, images: Tensor, snr_db: Tensor | None) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        x = self.norm(self.embed(images).permute(0, 2, 3, 1))
        for i, stage in enumerate(self.stages):
            if i > 0:
                x = self.merge[i - 1](x)
            for block in stage.children():
                x = block(x, snr_db)
        if self.modnet is not None:
            x = self.modnet(x, snr_db)
        return self.compress(x).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """The encoder's mirror: latent [B, C, h, w] -> images [B, 3, 16h, 16w] around zero."""

    def __init__(
        self,
        *,
        dims: Sequence[int],
        latent_channels: int,
        config: BlockConfig,
        rates: Sequence[Sequence[float]],
        modnet: bool,
    ) -> None:
        super().__init__()
        inwards = (3, *dims)
        self.expand = nn.Linear(latent_channels, dims[-1])
        self.modnet = ChannelModNet(dim=dims[-1]) if modnet else None
        self.stages = _stages(dims[::-1], config, [stage[::-1] for stage in rates[::-1]])
        self.divide = nn.ModuleList(
            PatchDivision(dim=b, out_dim=a) for a, b in reversed(list(pairwise(inwards)))
        )

    def forward(self, latent: Tensor, snr_db: Tensor | None) -> Tensor:
        x = self.expand(latent.permute(0, 2, 3, 1))
        if self.modnet is not None:
            x = self.modnet(x, snr_db)
        for stage, divide in zip(self.stages, self.divide, strict=True):
            for block in stage.children():
                x = block(x, snr_db)
            x = divide(x)
        return x.permute(0, 3, 1, 2)  # type: ignore[no-any-return]


def _stages(
    dims: Sequence[int], config: BlockConfig, rates: Sequence[Sequence[float]]
) -> nn.ModuleList:
    return nn.ModuleList(
        nn.ModuleList(VSSMBlock(dim=dim, config=config, drop_path=rate) for rate in stage)
        for dim, stage in zip(dims, rates, strict=True)
    )


def _drop_path_rates(depths: Sequence[int], deepest: float) -> list[list[float]]:
    """A rate a block: 0 at the image, ``deepest`` at the last block, linear between."""
    rates = iter(torch.linspace(0, deepest, sum(depths)).tolist())
    return [list(islice(rates, depth)) for depth in depths]


def _check_options(
    *,
    dims: Sequence[int],
    depths: Sequence[int],
    channel_adaptation: str,
    activation: str,
    scan_directions: int,
    csi_interval: int | None,
    drop_path: float,
) -> None:
    for name, values in (("dims", dims), ("depths", depths)):
        if len(values) != STAGES or min(values) < 1:
            raise InputError(f"{name} is {list(values)}; it must be {STAGES} positive integers")
    allowed = get_args(ChannelAdaptation)
    if channel_adaptation not in allowed:
        raise InputError(f"channel_adaptation is {channel_adaptation!r}; allowed are {allowed}")
    if activation not in get_args(Activation):
        raise InputError(f"activation is {activation!r}; allowed are 'silu' and 'gelu'")
    if scan_directions not in get_args(ScanDirections):
        raise InputError(f"scan_directions is {scan_directions!r}; allowed are 2 and 4")
    if csi_interval is not None and csi_interval < 1:
        raise InputError(f"csi_interval is {csi_interval}; it must be at least 1, or null")
    if not 0 <= drop_path < 1:
        raise InputError(f"drop_path is {drop_path}; it must lie in [0, 1)")
