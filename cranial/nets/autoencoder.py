"""Encoder and decoder without skip connections: a case becomes a small volume of numbers, and a case again.

All seven generators are made of these two. The embedding stays volumetric (the study, arXiv:2406.06372), so that
any side divisible by the stride will do. Channels of a case: defective skull, defect.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .blocks import (
    Conv3d,
    NetShape,
    ResidualBlock,
    at_least_float32,
    check_counts,
    check_sides,
    check_widths,
    from_patches,
    groups_of_16,
    run,
    to_patches,
)

LOGVAR_LIMIT = 10.0  # a standard deviation between 0.0067 and 148


@dataclass(frozen=True)
class AutoencoderShape(NetShape):
    """channels: of a case; latent_channels: z; widths: channels at each level, fine to coarse, each level at half the
    resolution of the one before; blocks: residual blocks a level; middle: more of them at the embedding's resolution,
    where they are cheap and see far; patch: edge of the voxel block that the first level sees as one position."""

    channels: int = 2
    latent_channels: int = 8
    widths: tuple[int, ...] = (16, 32, 64, 128)
    blocks: int = 1
    middle: int = 1
    patch: int = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        check_widths(self.widths)
        check_counts(
            1, channels=self.channels, latent_channels=self.latent_channels, blocks=self.blocks, patch=self.patch
        )
        check_counts(0, middle=self.middle)

    @property
    def stride(self) -> int:
        """Voxels of the case per position of the embedding, along each axis."""
        return self.patch * 2 ** (len(self.widths) - 1)

    def latent_shape(self, *sides: int) -> tuple[int, int, int, int]:
        """(z, d, h, w) of the embedding of a case with these sides; one side means a cube."""
        sides = sides * 3 if len(sides) == 1 else sides
        if len(sides) != 3 or any(n < 1 or n % self.stride for n in sides):
            raise ValueError(
                f"sides {sides} are not one or three multiples of the network's stride {self.stride}; choose such"
            )
        return (self.latent_channels, *(n // self.stride for n in sides))


class Encoder(nn.Module):
    """Case (B, channels, D, H, W) -> embedding (B, z, D/stride, H/stride, W/stride), in float32 under autocast too.

    outputs: channels of the embedding, where it is not shape.latent_channels.
    checkpointing: less memory for one more forward pass; values and gradients stay the same.
    """

    def __init__(self, shape: AutoencoderShape, *, outputs: int | None = None, checkpointing: bool = False) -> None:
        super().__init__()
        self.shape, self.checkpointing = shape, checkpointing
        first, *deeper = shape.widths
        self.levels = nn.ModuleList([_blocks(shape.channels * shape.patch**3, first, shape.blocks)])
        for width, finer in zip(deeper, shape.widths, strict=False):
            self.levels.append(_blocks(finer, width, shape.blocks, stride=2))
        self.middle = _blocks(shape.widths[-1], shape.widths[-1], shape.middle)
        self.head = Conv3d(shape.widths[-1], outputs or shape.latent_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        check_sides(x, self.shape.stride)
        y = to_patches(x, self.shape.patch)
        for level in (*self.levels, self.middle):
            y = run(level, y, checkpointing=self.checkpointing)
        return at_least_float32(self.head(y))


class VariationalEncoder(nn.Module):
    """Case (B, channels, D, H, W) -> mu, logvar of q(z|x), each (B, z, D/stride, H/stride, W/stride), in float32.

    logvar stays within +-LOGVAR_LIMIT by a tanh and not by a clamp, whose gradient is zero once it is outside.
    """

    def __init__(self, shape: AutoencoderShape, *, checkpointing: bool = False) -> None:
        super().__init__()
        self.shape = shape
        self.encoder = Encoder(shape, outputs=2 * shape.latent_channels, checkpointing=checkpointing)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        return mu, LOGVAR_LIMIT * torch.tanh(logvar / LOGVAR_LIMIT)


class Decoder(nn.Module):
    """Embedding (B, z, d, h, w) -> logits of a case (B, channels, d stride, h stride, w stride).

    checkpointing: less memory for one more forward pass; values and gradients stay the same.
    """

    def __init__(self, shape: AutoencoderShape, *, checkpointing: bool = False) -> None:
        super().__init__()
        self.shape, self.checkpointing = shape, checkpointing
        coarsest, *finer = shape.widths[::-1]
        self.stem = Conv3d(shape.latent_channels, coarsest, 1)
        self.middle = _blocks(coarsest, coarsest, shape.middle + shape.blocks)
        self.levels = nn.ModuleList(
            nn.Sequential(Conv3d(coarser, width, 1), nn.Upsample(scale_factor=2), _blocks(width, width, shape.blocks))
            for coarser, width in zip(shape.widths[::-1], finer, strict=False)
        )
        self.head = Conv3d(shape.widths[0], shape.channels * shape.patch**3, 3, padding=1)
        nn.init.constant_(self.head.bias, -3.0)  # most of the cube is not bone

    def forward(self, z: Tensor) -> Tensor:
        if z.shape[1] != self.shape.latent_channels:
            raise ValueError(
                f"the embedding has {z.shape[1]} channels, this decoder's shape has latent_channels "
                f"{self.shape.latent_channels}; give it what its own encoder makes"
            )
        y = self.stem(z)
        for level in (self.middle, *self.levels):
            y = run(level, y, checkpointing=self.checkpointing)
        return from_patches(self.head(y), self.shape.patch)


class VariationalAutoencoder(nn.Module):
    """`encoder` and `decoder` of one shape, as one module, for methods that train them together."""

    def __init__(self, shape: AutoencoderShape, *, checkpointing: bool = False) -> None:
        super().__init__()
        self.encoder = VariationalEncoder(shape, checkpointing=checkpointing)
        self.decoder = Decoder(shape, checkpointing=checkpointing)


def _blocks(channels: int, out: int, count: int, *, stride: int = 1) -> nn.Sequential:
    """`count` residual blocks, the first of which changes channels and resolution."""
    steps = [(channels, out, stride)] + [(out, out, 1)] * (count - 1)
    return nn.Sequential(*(ResidualBlock(c, o, s, groups=groups_of_16(o)) for c, o, s in steps[:count]))
