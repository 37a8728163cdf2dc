"""Channels through a displacement field, written to be read: the specification of the warp kernels."""

from itertools import product

import torch
from torch import Tensor


def warp(channels: Tensor, field: Tensor, affine: Tensor | None = None, *, nearest: bool = False) -> Tensor:
    """out[c, x] = channels[c, A (x + field[:, x]) + b], trilinear or nearest (halves upwards), 0 outside.

    channels: (C, I, J, K). field: (3, I', J', K') displacement in voxels of its own grid. affine: (3, 4), A and b,
    to voxels of channels; None: the grids are one. Trilinear: floating point (C, I', J', K') in field's type, with
    gradients towards channels and field. Nearest: in channels' type.
    """
    axes = [torch.arange(n, dtype=field.dtype, device=field.device) for n in field.shape[1:]]
    place = torch.stack(torch.meshgrid(*axes, indexing="ij")) + field
    if affine is not None:
        affine = affine.to(field)
        place = torch.einsum("ab,bijk->aijk", affine[:, :3], place) + affine[:, 3].view(3, 1, 1, 1)
    if nearest:
        return _at(channels, torch.floor(place + 0.5).long())
    base = torch.floor(place).detach()
    share = place - base
    warped = 0
    for corner in product((0, 1), repeat=3):
        weight = 1
        for axis, upper in enumerate(corner):
            weight = weight * (share[axis] if upper else 1 - share[axis])
        index = base.long() + torch.tensor(corner, device=field.device).view(3, 1, 1, 1)
        warped = warped + weight * _at(channels.to(field.dtype), index)
    return warped


def _at(channels: Tensor, index: Tensor) -> Tensor:
    """channels[:, index], 0 where the index (3, I', J', K') is outside."""
    inside = torch.ones(index.shape[1:], dtype=torch.bool, device=index.device)
    for axis, size in enumerate(channels.shape[1:]):
        inside &= (index[axis] >= 0) & (index[axis] < size)
    i, j, k = (index[axis].clamp(0, size - 1) for axis, size in enumerate(channels.shape[1:]))
    return channels[:, i, j, k] * inside
