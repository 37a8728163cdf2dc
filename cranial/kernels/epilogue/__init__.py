"""What follows a convolution, in one pass over its output: norm and activation, or sum and activation.

A network's own passes over memory take as long as its convolutions where these are quick: on a CPU in bfloat16, where
torch's group norm is slow besides for groups of few channels. Anywhere else torch's own operations are used.
"""

import torch
from torch import Tensor

from ..threads import Team
from . import reference

__all__ = ["add_leaky", "norm_leaky"]

_ALONE = 1 << 17  # elements that one thread is done with before another has begun


def norm_leaky(x: Tensor, groups: int, weight: Tensor, bias: Tensor, *, eps: float = 1e-5, slope: float) -> Tensor:
    """leaky_relu(group_norm(x)); x (B, C, D, H, W), overwritten; weight, bias (C,); slope: of the leaky part.

    Raises ValueError where groups do not divide the channels.
    """
    if x.shape[1] % groups:
        raise ValueError(f"{x.shape[1]} channels cannot be divided into {groups} groups; give a divisor")
    if not (_compiled(x) and weight.dtype == bias.dtype == torch.bfloat16):
        return reference.norm_leaky(x, groups, weight, bias, eps=eps, slope=slope)
    from .cpu import norm_leaky_cpu

    with _team(x) as team:
        return norm_leaky_cpu(x, groups, weight, bias, eps=eps, slope=slope, team=team)


def add_leaky(x: Tensor, y: Tensor, *, slope: float) -> Tensor:
    """leaky_relu(x + y); both (B, C, D, H, W), x is overwritten."""
    if not (_compiled(x) and _compiled(y) and x.shape == y.shape):
        return reference.add_leaky(x, y, slope=slope)
    from .cpu import add_leaky_cpu

    with _team(x) as team:
        return add_leaky_cpu(x, y, slope=slope, team=team)


def _compiled(x: Tensor) -> bool:
    """Whether the compiled kernels may be used: no gradients, no tracing, bfloat16, channels last, on a CPU."""
    inference = not torch.is_grad_enabled() and not torch.is_autocast_enabled(x.device.type)
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    laid = x.ndim == 5 and x.is_contiguous(memory_format=torch.channels_last_3d)
    return inference and not traced and x.device.type == "cpu" and x.dtype == torch.bfloat16 and laid


def _team(x: Tensor) -> Team:
    return Team(1 if x.numel() < _ALONE else None)
