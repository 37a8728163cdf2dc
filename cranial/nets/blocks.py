"""The parts every network is made of: residual block, patches, checks of a shape, and what a network costs."""

from collections.abc import Callable
from dataclasses import asdict

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


class NetShape:
    """What the frozen dataclass of a network's settings can do; Shape(**d) gives back what as_dict() gave."""

    def as_dict(self) -> dict:
        """JSON values, for a weights file's metadata."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


class Conv3d(nn.Conv3d):
    """nn.Conv3d without two defects that torch 2.13 has on a CPU.

    Where the input is shorter than the kernel along an axis, the bfloat16 gradient of the weights is memory that
    nobody has written: inf or NaN at the first step of a network whose coarsest level has 2^3 positions. There we
    compute in float32; so few positions cost nothing. And one small item alone in float32 does not get oneDNN's
    convolution, though that is some 8 times faster and gives the bits it gives in a batch: we ask for it by name.
    """

    def forward(self, x: Tensor) -> Tensor:
        autocast = torch.is_autocast_enabled(x.device.type)
        if autocast and any(n < k for n, k in zip(x.shape[2:], self.kernel_size, strict=True)):
            with torch.autocast(x.device.type, enabled=False):
                return self(x.float())
        alone = len(x) == 1 and x.device.type == "cpu" and x.dtype == self.weight.dtype == torch.float32
        if alone and not autocast and torch.backends.mkldnn.is_available():
            return torch.mkldnn_convolution(
                x, self.weight, self.bias, self.padding, self.stride, self.dilation, self.groups
            )
        return super().forward(x)


class ResidualBlock(nn.Module):
    """Two 3x3x3 convolutions around one group norm, plus a shortcut; (B, C, D, H, W) -> (B, out, D/stride, ...).

    groups: of the norm, by default at most 8; 0 for no norm. Groups of 16 channels (`groups_of_16`) are as good
    (Wu & He 2018, arXiv:1803.08494, table 3), and on a CPU in channels_last_3d groups of 2 take as long as a
    convolution. project: the shortcut is a convolution though it could be the input. It can be differentiated twice.
    """

    def __init__(
        self, channels: int, out: int, stride: int = 1, *, groups: int | None = None, project: bool = False
    ) -> None:
        super().__init__()
        groups = at_most_8_groups(out) if groups is None else groups
        self.conv1 = Conv3d(channels, out, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.GroupNorm(groups, out) if groups else nn.Identity()
        self.conv2 = Conv3d(out, out, 3, padding=1)
        same = channels == out and stride == 1 and not project
        self.shortcut = nn.Identity() if same else Conv3d(channels, out, max(stride, 1), stride=stride)
        # the block starts as its shortcut, so that one norm is enough
        nn.init.normal_(self.conv2.weight, std=1e-3)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.norm(self.conv1(x)), 0.01, inplace=True)
        return F.leaky_relu(self.conv2(y) + self.shortcut(x), 0.01, inplace=True)


def at_most_8_groups(channels: int) -> int:
    """The most of 8, 4, 2, 1 groups that divides the channels."""
    return next(g for g in (8, 4, 2, 1) if channels % g == 0)


def groups_of_16(channels: int) -> int:
    """The number of groups of 16 channels; one group where that does not divide."""
    return channels // 16 if channels % 16 == 0 else 1


def to_patches(x: Tensor, patch: int) -> Tensor:
    """Blocks of voxels become channels: (B, C, D, H, W) -> (B, C patch^3, D/patch, H/patch, W/patch), channels last."""
    if patch == 1:
        return x
    b, c, d, h, w = x.shape
    p = patch
    x = x.reshape(b, c, d // p, p, h // p, p, w // p, p)
    x = x.permute(0, 2, 4, 1, 3, 5, 6, 7).contiguous()  # whole rows first: four times as fast as all at once
    x = x.permute(0, 1, 2, 6, 3, 4, 5, 7).reshape(b, d // p, h // p, w // p, c * p**3)
    return x.permute(0, 4, 1, 2, 3)


def from_patches(x: Tensor, patch: int) -> Tensor:
    """The inverse of to_patches."""
    if patch == 1:
        return x
    b, c, d, h, w = x.shape
    p = patch
    x = x.reshape(b, c // p**3, p, p, p, d, h, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(b, c // p**3, d * p, h * p, w * p)


def check_sides(x: Tensor, stride: int) -> None:
    """ValueError unless all sides of (B, C, D, H, W) are divisible by the network's stride."""
    if any(n % stride for n in x.shape[2:]):
        raise ValueError(
            f"input sides {tuple(x.shape[2:])} are not divisible by the network's stride {stride}; "
            "resample to a multiple of it"
        )


def check_counts(least: int, **counts: int) -> None:
    """ValueError, naming the setting, for a count that is not an integer of at least `least`."""
    for name, value in counts.items():
        if type(value) is not int or value < least:
            raise ValueError(f"{name} is {value!r}; give an integer of at least {least}")


def check_widths(widths: tuple[int, ...]) -> None:
    """ValueError unless there is at least one level and each has a channel."""
    if not widths or any(type(w) is not int or w < 1 for w in widths):
        raise ValueError(f"widths is {widths}; give the channels of each level, from fine to coarse")


def run(level: Callable[[Tensor], Tensor], x: Tensor, *, checkpointing: bool) -> Tensor:
    """level(x), and if checkpointing, what it computes inside is computed again in the backward pass, not kept."""
    if not (checkpointing and torch.is_grad_enabled()):
        return level(x)
    return checkpoint(level, x, use_reentrant=False, preserve_rng_state=False)  # there is no dropout to repeat


def at_least_float32(x: Tensor) -> Tensor:
    """What autocast left in 16 bits in 32: for statistics, exponentials and sums over a volume."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def parameter_count(module: nn.Module) -> int:
    """Numbers that training changes."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def multiply_adds(module: nn.Module, *inputs: Tensor) -> int:
    """Of one forward pass: convolutions and matrix products; norms and activations are not counted."""
    from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

    def alone(x: torch.Size, weight: torch.Size, *_: object, out_shape: torch.Size, **__: object) -> int:
        return conv_flop_count(x, weight, out_shape)

    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.mkldnn_convolution: alone})
    with torch.no_grad(), counter:
        module(*inputs)
    return counter.get_total_flops() // 2
