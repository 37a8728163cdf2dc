"""The study's volumetric residual UNet, with a patch stem as the one concession to laptops."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import (
    NetShape,
    ResidualBlock,
    at_most_8_groups,
    check_sides,
    from_patches,
    groups_of_16,
    to_patches,
)


@dataclass(frozen=True)
class ResidualUNetShape(NetShape):
    """in_channels, out_channels; widths: channels at each level, each level at half the resolution of the one before;
    blocks: residual blocks per level of the encoder; patch: edge of the voxel block the first level sees as one
    position. patch 1 is the study's network; 2 costs an eighth of it and still predicts every voxel. wide_groups: norms
    in groups of 16 channels instead of at most 8 groups, which is quicker on a CPU. project: the first block's shortcut
    is a convolution, though its width be that of its input."""

    in_channels: int = 1
    out_channels: int = 1
    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    blocks: int = 1
    patch: int = 1
    wide_groups: bool = False
    project: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        if self.patch < 1:
            raise ValueError(f"patch is {self.patch}; choose 1 (every voxel) or a block edge such as 2")
        if len(self.widths) < 2 or min(self.widths) < 1 or self.blocks < 1:
            raise ValueError(
                f"widths is {self.widths}, blocks is {self.blocks}; give at least two levels of at least "
                "one channel, and at least one block"
            )

    @property
    def stride(self) -> int:
        """The input's sides must be divisible by this."""
        return self.patch * 2 ** (len(self.widths) - 1)


class ResidualUNet(nn.Module):
    """x (B, in, D, H, W), sides divisible by shape.stride -> logits (B, out, D, H, W)."""

    def __init__(self, shape: ResidualUNetShape) -> None:
        super().__init__()
        self.shape = shape
        widths, cells = shape.widths, shape.patch**3
        groups = groups_of_16 if shape.wide_groups else at_most_8_groups
        self.encoder = nn.ModuleList()
        channels = shape.in_channels * cells
        for level, width in enumerate(widths):
            first = {"stride": 1, "project": shape.project} if level == 0 else {"stride": 2}
            blocks = [ResidualBlock(channels, width, groups=groups(width), **first)]
            blocks += [ResidualBlock(width, width, groups=groups(width)) for _ in range(shape.blocks - 1)]
            self.encoder.append(nn.Sequential(*blocks))
            channels = width
        pairs = list(zip(widths[-2::-1], widths[:0:-1], strict=True))
        self.lift = nn.ModuleList(nn.Conv3d(deeper, width, 1) for width, deeper in pairs)
        self.decoder = nn.ModuleList(ResidualBlock(width, width, groups=groups(width)) for width, _ in pairs)
        self.head = nn.Conv3d(
            widths[0], shape.out_channels * cells, 3 if shape.patch > 1 else 1, padding=1 if shape.patch > 1 else 0
        )
        nn.init.constant_(self.head.bias, -3.0)  # most of the cube is not implant

    def forward(self, x: Tensor) -> Tensor:
        check_sides(x, self.shape.stride)
        y, skips = to_patches(x, self.shape.patch), []
        for level in self.encoder:
            y = level(y)
            skips.append(y)
        skips.pop()
        for lift, level in zip(self.lift, self.decoder, strict=True):
            y = level(F.interpolate(lift(y), scale_factor=2, mode="nearest") + skips.pop())
        return from_patches(self.head(y), self.shape.patch)
