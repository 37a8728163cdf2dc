"""The noise predictor of latent diffusion (Ho et al. 2020, arXiv:2006.11239; Rombach et al. 2022): a small UNet.

It sees a noisy embedding and the time, and says which noise is in it. Attention at the coarsest level only: there a
volume is some hundred positions, and one look over all of them is cheap.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import (
    Conv3d,
    NetShape,
    at_least_float32,
    check_counts,
    check_sides,
    check_widths,
    groups_of_16,
    run,
)


@dataclass(frozen=True)
class DenoiserShape(NetShape):
    """channels: of the noisy latents; condition: channels of what is known (another embedding on the same grid), 0 for
    none; widths: channels at each level, fine to coarse, each at half the resolution of the one before; blocks: a
    level, on the way down and on the way up; heads: of the attention at the coarsest level, 0 for no attention."""

    channels: int
    condition: int = 0
    widths: tuple[int, ...] = (64, 128)
    blocks: int = 1
    heads: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        check_widths(self.widths)
        check_counts(1, channels=self.channels, blocks=self.blocks)
        check_counts(0, condition=self.condition, heads=self.heads)
        if self.heads and self.widths[-1] % self.heads:
            raise ValueError(
                f"heads is {self.heads}, which does not divide the coarsest level's {self.widths[-1]} channels; "
                "choose a divisor, or 0 for no attention"
            )

    @property
    def stride(self) -> int:
        """The latents' sides must be divisible by this."""
        return 2 ** (len(self.widths) - 1)


class Denoiser(nn.Module):
    """Noisy latents (B, channels, d, h, w), time (B,), known (B, condition, d, h, w) -> noise like the latents.

    time: the step, 0 to about 1000, integer or not. Float32 under autocast too. Untrained, it predicts no noise.
    checkpointing: less memory for one more forward pass; values and gradients stay the same.
    """

    def __init__(self, shape: DenoiserShape, *, checkpointing: bool = False) -> None:
        super().__init__()
        self.shape, self.checkpointing = shape, checkpointing
        widths, features = shape.widths, 4 * shape.widths[0]
        self.time = nn.Sequential(nn.Linear(widths[0], features), nn.SiLU(), nn.Linear(features, features), nn.SiLU())
        self.stem = Conv3d(shape.channels + shape.condition, widths[0], 3, padding=1)
        self.down, self.up, self.lift = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for finer, width in zip((widths[0], *widths), widths, strict=False):
            self.down.append(TimedBlocks(finer, width, features, shape.blocks))
        self.shrink = nn.ModuleList(Conv3d(width, width, 3, stride=2, padding=1) for width in widths[:-1])
        self.attention = Attention(widths[-1], shape.heads) if shape.heads else nn.Identity()
        self.middle = TimedBlocks(widths[-1], widths[-1], features, 1)
        for coarser, width in zip(widths[:0:-1], widths[-2::-1], strict=True):
            self.lift.append(Conv3d(coarser + width, width, 1))
            self.up.append(TimedBlocks(width, width, features, shape.blocks))
        self.norm = nn.GroupNorm(groups_of_16(widths[0]), widths[0])
        self.head = Conv3d(widths[0], shape.channels, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, latents: Tensor, time: Tensor, known: Tensor | None = None) -> Tensor:
        self._check(latents, time, known)
        features = self.time(sinusoids(time, self.shape.widths[0]).to(self.time[0].weight.dtype))
        x = self.stem(latents if known is None else torch.cat([latents, known], dim=1))
        skips: list[Tensor] = []
        for level, shrink in zip(self.down, (*self.shrink, None), strict=True):
            x = self._run(level, x, features)
            if shrink is not None:
                skips.append(x)
                x = shrink(x)
        x = self._run(self.middle, self.attention(x), features)
        for lift, level in zip(self.lift, self.up, strict=True):
            x = torch.cat([F.interpolate(x, scale_factor=2, mode="nearest"), skips.pop()], dim=1)
            x = self._run(level, lift(x), features)
        return at_least_float32(self.head(F.silu(self.norm(x))))

    def _run(self, level: nn.Module, x: Tensor, features: Tensor) -> Tensor:
        return run(lambda y: level(y, features), x, checkpointing=self.checkpointing)

    def _check(self, latents: Tensor, time: Tensor, known: Tensor | None) -> None:
        check_sides(latents, self.shape.stride)
        if time.shape != latents.shape[:1]:
            raise ValueError(f"time is {tuple(time.shape)} for {len(latents)} latents; give one time for each, (B,)")
        has = 0 if known is None else known.shape[1]
        if has != self.shape.condition:
            raise ValueError(
                f"known has {has} channels, this denoiser's shape has condition {self.shape.condition}; "
                "give the embedding it was built for, on the latents' grid"
            )


class TimedBlock(nn.Module):
    """A residual block whose second norm is scaled and shifted by the time; it starts as its shortcut."""

    def __init__(self, channels: int, out: int, features: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(groups_of_16(channels), channels), nn.GroupNorm(groups_of_16(out), out)
        self.conv1, self.conv2 = Conv3d(channels, out, 3, padding=1), Conv3d(out, out, 3, padding=1)
        self.modulation = nn.Linear(features, 2 * out)
        self.shortcut = nn.Identity() if channels == out else Conv3d(channels, out, 1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        scale, shift = self.modulation(features)[:, :, None, None, None].chunk(2, dim=1)
        y = self.norm2(self.conv1(F.silu(self.norm1(x)))) * (1 + scale) + shift
        return self.shortcut(x) + self.conv2(F.silu(y))


class TimedBlocks(nn.Module):
    """`count` TimedBlocks, the first of which changes the channels."""

    def __init__(self, channels: int, out: int, features: int, count: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(TimedBlock(channels if i == 0 else out, out, features) for i in range(count))

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, features)
        return x


class Attention(nn.Module):
    """Every position looks at every other: (B, C, d, h, w) -> the same; it starts as the identity."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups_of_16(channels), channels)
        self.ask = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        b, c, d, h, w = x.shape
        y = self.norm(x).flatten(2).transpose(1, 2)  # (B, n, C)
        query, key, value = self.ask(y).reshape(b, -1, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(query, key, value)  # (B, heads, n, C / heads)
        y = self.out(y.transpose(1, 2).reshape(b, -1, c))
        return x + y.transpose(1, 2).reshape(b, c, d, h, w)


def sinusoids(time: Tensor, features: int) -> Tensor:
    """Time (B,) -> (B, features): sines and cosines of periods from 2 pi to 10,000 times that."""
    half = (features + 1) // 2
    rates = torch.exp(-math.log(10_000) * torch.arange(half, device=time.device, dtype=torch.float64) / half)
    angles = time[:, None].double() * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :features].float()
