"""Several channels through one displacement field."""

import torch
from torch import Tensor

from ..threads import Team
from . import reference

__all__ = ["warp"]


def warp(
    channels: Tensor,
    field: Tensor,
    affine: Tensor | None = None,
    *,
    nearest: bool = False,
    threads: int | None = None,
) -> Tensor:
    """out[c, x] = channels[c, A (x + field[:, x]) + b], trilinear or nearest (halves upwards), 0 outside.

    channels: (C, I, J, K), any type, bool too. field: (3, I', J', K'), float32 or float64, displacement in voxels of
    its own grid. affine: (3, 4), A and b, to voxels of channels; None: the grids are one. Returns (C, I', J', K'):
    trilinear in field's type, nearest in channels'. On CPU and GPU without gradients. threads: on a CPU.
    Raises ValueError where shapes or devices do not fit each other.
    """
    if channels.ndim != 4 or field.ndim != 4 or field.shape[0] != 3 or not field.dtype.is_floating_point:
        raise ValueError(
            f"channels has shape {tuple(channels.shape)}, field {tuple(field.shape)} of {field.dtype}; "
            "give (C, I, J, K) and floating point (3, I', J', K')"
        )
    if affine is not None and affine.shape != (3, 4):
        raise ValueError(f"affine has shape {tuple(affine.shape)}; give (3, 4), or None where the grids are one")
    if channels.device != field.device:
        raise ValueError(f"channels are on {channels.device}, field on {field.device}; bring them to one device")
    if affine is None:
        affine = torch.eye(3, 4)
    affine = affine.to(device=field.device, dtype=field.dtype)
    kind = channels.dtype
    if kind == torch.bool:
        channels = channels.view(torch.uint8)
    if field.device.type == "cpu":
        from .cpu import warp_cpu

        with Team(threads) as team:
            warped = warp_cpu(channels, field, affine, nearest=nearest, team=team)
    elif field.device.type == "cuda":
        from .gpu import warp_gpu

        warped = warp_gpu(channels, field, affine, nearest=nearest)
    else:
        warped = reference.warp(channels, field, affine, nearest=nearest)
    return warped.view(torch.bool) if nearest and kind == torch.bool else warped
