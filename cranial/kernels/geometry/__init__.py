"""Flips, crop, affine and speckle of binary channels, composed into one resample.

    geometry = Geometry.of(source, shape, crop=crop, box=box)
    moved = resample(channels, geometry, mode="nearest", speckle=Speckle(seed, below(0.036)))

Every device gives the same bits.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ..threads import Team
from . import reference
from .reference import LARGEST_SIDE, Geometry, Mode, Speckle, below

__all__ = ["Geometry", "Mode", "Speckle", "below", "resample"]

MOST_CHANNELS = 8  # the CPU has one bit for each


def resample(
    channels: Tensor,
    geometry: Geometry,
    *,
    mode: Mode = "nearest",
    speckle: Speckle | None = None,
    threads: int | None = None,
) -> Tensor:
    """Binary channels moved as `geometry` says, then the first one speckled; see reference.resample.

    channels: bool or uint8 (C, I, J, K), not 0 = bone, at most 8 channels and 1024 voxels a side; disjoint in linear
    mode, and then so is the result. Returns 0 and 1 in the same type, shape and place. threads: on a CPU.
    Raises ValueError for what this is not, ImportError on a GPU without triton.
    """
    if channels.ndim != 4 or channels.dtype not in (torch.bool, torch.uint8):
        raise ValueError(
            f"channels is {channels.dtype} of shape {tuple(channels.shape)}; give bool or uint8 (C, I, J, K)"
        )
    if not 1 <= len(channels) <= MOST_CHANNELS or min(channels.shape) < 1 or max(channels.shape) > LARGEST_SIDE:
        raise ValueError(
            f"channels has shape {tuple(channels.shape)}; give 1 to {MOST_CHANNELS} channels and 1 to {LARGEST_SIDE} "
            "voxels a side"
        )
    if mode not in ("nearest", "linear"):
        raise ValueError(f"mode is {mode!r}; choose 'nearest' or 'linear'")
    if channels.device.type == "cpu":
        from .cpu import resample_cpu

        with Team(threads) as team:
            return resample_cpu(channels, geometry, mode=mode, speckle=speckle, team=team)
    kernel = _gpu_kernel() if channels.device.type == "cuda" else reference.resample
    return kernel(channels, geometry, mode=mode, speckle=speckle)


def _gpu_kernel() -> Callable[..., Tensor]:
    try:
        from .gpu import resample_gpu
    except ImportError as error:
        raise ImportError(
            f"the GPU kernel needs triton ({error}); pip install 'cranial[gpu]', or bring the channels to the CPU"
        ) from error
    return resample_gpu
