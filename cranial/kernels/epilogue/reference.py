"""Norm and activation, sum and activation, in torch's own operations: the specification of the epilogue kernels."""

from torch import Tensor
from torch.nn import functional as F


def norm_leaky(x: Tensor, groups: int, weight: Tensor, bias: Tensor, *, eps: float = 1e-5, slope: float) -> Tensor:
    """leaky_relu(group_norm(x)), with gradients; x (B, C, ...), weight and bias (C,)."""
    return F.leaky_relu(F.group_norm(x, groups, weight, bias, eps), slope, inplace=True)


def add_leaky(x: Tensor, y: Tensor, *, slope: float) -> Tensor:
    """leaky_relu(x + y), with gradients."""
    return F.leaky_relu(x + y, slope, inplace=True)
