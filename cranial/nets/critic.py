"""The critic of WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028): one number a case, judged alone.

No batch norm: the gradient penalty is a property of each sample, and a norm over the batch would mix them.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from .blocks import NetShape, ResidualBlock, at_least_float32, check_counts, check_sides, check_widths, run, to_patches

Norm = Literal["none", "layer", "instance"]


@dataclass(frozen=True)
class CriticShape(NetShape):
    """channels: of a case; widths: channels at each level, fine to coarse, each at half the resolution of the one
    before; blocks: residual blocks a level; patch: edge of the voxel block that the first level sees as one position;
    norm: none, layer (over all channels and positions of a sample) or instance (over the positions of a channel)."""

    channels: int = 2
    widths: tuple[int, ...] = (16, 32, 64, 128)
    blocks: int = 1
    patch: int = 2
    norm: Norm = "none"

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        check_widths(self.widths)
        check_counts(1, channels=self.channels, blocks=self.blocks, patch=self.patch)
        if self.norm not in ("none", "layer", "instance"):
            raise ValueError(
                f"norm is {self.norm!r}; choose 'none', 'layer' or 'instance' (a batch norm would mix the samples)"
            )

    @property
    def stride(self) -> int:
        """The input's sides must be divisible by this."""
        return self.patch * 2 ** (len(self.widths) - 1)


class Critic(nn.Module):
    """Case (B, channels, D, H, W) -> score (B,), in float32 under autocast too; can be differentiated twice.

    The features of the coarsest level are summed over its n positions and divided by sqrt(n): then the norm of the
    gradient, which the penalty draws to one, starts at the same order of magnitude for every side.
    checkpointing: less memory for one more forward pass; values and gradients stay the same.
    """

    def __init__(self, shape: CriticShape, *, checkpointing: bool = False) -> None:
        super().__init__()
        self.shape, self.checkpointing = shape, checkpointing
        self.levels = nn.ModuleList()
        channels = shape.channels * shape.patch**3
        for depth, width in enumerate(shape.widths):
            groups = {"none": 0, "layer": 1, "instance": width}[shape.norm]
            blocks = [ResidualBlock(channels, width, stride=1 if depth == 0 else 2, groups=groups)]
            blocks += [ResidualBlock(width, width, groups=groups) for _ in range(shape.blocks - 1)]
            self.levels.append(nn.Sequential(*blocks))
            channels = width
        self.head = nn.Linear(channels, 1)
        for block in (b for level in self.levels for b in level if isinstance(b.shortcut, nn.Conv3d)):
            nn.init.kaiming_normal_(block.shortcut.weight)  # as large going in as coming out
        nn.init.kaiming_normal_(self.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        check_sides(x, self.shape.stride)
        y = to_patches(x, self.shape.patch)
        for level in self.levels:
            y = run(level, y, checkpointing=self.checkpointing)
        y = at_least_float32(y).flatten(2)  # (B, widths[-1], n)
        return at_least_float32(self.head(y.sum(2) / y.shape[2] ** 0.5)).squeeze(1)
