"""The study's volumetric residual UNet, with a patch stem as the one concession to laptops."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class ResidualUNetShape:
    """in_channels, out_channels; widths: channels at each level, each level at half the resolution of the one before;
    blocks: residual blocks per level of the encoder; patch: edge of the voxel block the first level sees as one
    position. patch 1 is the study's network; 2 costs an eighth of it and still predicts every voxel."""

    in_channels: int = 1
    out_channels: int = 1
    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    blocks: int = 1
    patch: int = 1

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

    def as_dict(self) -> dict:
        """For a weights file's metadata; ResidualUNetShape(**d) gives it back."""
        return {**asdict(self), "widths": list(self.widths)}


class ResidualBlock(nn.Module):
    """Two 3x3x3 convolutions around one group norm, plus a shortcut; (B, C, D, H, W) -> (B, out, D/stride, ...)."""

    def __init__(self, channels: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, out, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.GroupNorm(_groups(out), out)
        self.conv2 = nn.Conv3d(out, out, 3, padding=1)
        same = channels == out and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv3d(channels, out, max(stride, 1), stride=stride)
        # the block starts as its shortcut, so that one norm is enough
        nn.init.normal_(self.conv2.weight, std=1e-3)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.norm(self.conv1(x)), 0.01, inplace=True)
        return F.leaky_relu(self.conv2(y) + self.shortcut(x), 0.01, inplace=True)


class ResidualUNet(nn.Module):
    """x (B, in, D, H, W), sides divisible by shape.stride -> logits (B, out, D, H, W)."""

    def __init__(self, shape: ResidualUNetShape) -> None:
        super().__init__()
        self.shape = shape
        widths, cells = shape.widths, shape.patch**3
        self.encoder = nn.ModuleList()
        channels = shape.in_channels * cells
        for level, width in enumerate(widths):
            blocks = [ResidualBlock(channels, width, stride=1 if level == 0 else 2)]
            blocks += [ResidualBlock(width, width) for _ in range(shape.blocks - 1)]
            self.encoder.append(nn.Sequential(*blocks))
            channels = width
        pairs = list(zip(widths[-2::-1], widths[:0:-1], strict=True))
        self.lift = nn.ModuleList(nn.Conv3d(deeper, width, 1) for width, deeper in pairs)
        self.decoder = nn.ModuleList(ResidualBlock(width, width) for width, _ in pairs)
        self.head = nn.Conv3d(
            widths[0], shape.out_channels * cells, 3 if shape.patch > 1 else 1, padding=1 if shape.patch > 1 else 0
        )
        nn.init.constant_(self.head.bias, -3.0)  # most of the cube is not implant

    def forward(self, x: Tensor) -> Tensor:
        if any(n % self.shape.stride for n in x.shape[2:]):
            raise ValueError(
                f"input sides {tuple(x.shape[2:])} are not divisible by the network's stride "
                f"{self.shape.stride}; resample to a multiple of it"
            )
        y, skips = to_patches(x, self.shape.patch), []
        for level in self.encoder:
            y = level(y)
            skips.append(y)
        skips.pop()
        for lift, level in zip(self.lift, self.decoder, strict=True):
            y = level(F.interpolate(lift(y), scale_factor=2, mode="nearest") + skips.pop())
        return from_patches(self.head(y), self.shape.patch)


def to_patches(x: Tensor, patch: int) -> Tensor:
    """Blocks of voxels become channels: (B, C, D, H, W) -> (B, C patch^3, D/patch, H/patch, W/patch)."""
    if patch == 1:
        return x
    b, c, d, h, w = x.shape
    p = patch
    x = x.reshape(b, c, d // p, p, h // p, p, w // p, p).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return x.reshape(b, c * p**3, d // p, h // p, w // p).contiguous(memory_format=torch.channels_last_3d)


def from_patches(x: Tensor, patch: int) -> Tensor:
    """The inverse of to_patches."""
    if patch == 1:
        return x
    b, c, d, h, w = x.shape
    p = patch
    x = x.reshape(b, c // p**3, p, p, p, d, h, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(b, c // p**3, d * p, h * p, w * p)


def _groups(channels: int) -> int:
    """At most 8 groups, and a divisor of the channels."""
    return next(g for g in (8, 4, 2, 1) if channels % g == 0)
