"""Channels through a displacement field, compiled: a place and its weights are worked out once for all channels.

Only the part of the channels that is not 0 is looked up; what falls outside of it, most of a skull's surroundings,
costs a comparison.
"""

import numpy as np
import torch
from numba import njit
from torch import Tensor

from ..threads import Team


def warp_cpu(channels: Tensor, field: Tensor, affine: Tensor, *, nearest: bool, team: Team) -> Tensor:
    """As reference.warp, without gradients."""
    source, displacement, matrix = channels.contiguous().numpy(), field.contiguous().numpy(), affine.numpy()
    low, high = _filled(source)
    out = np.zeros((len(source), *displacement.shape[1:]), source.dtype if nearest else displacement.dtype)
    kernel = _nearest_slab if nearest else _linear_slab

    def work(start: int, stop: int) -> None:
        kernel(source, displacement, matrix, low, high, start, stop, out)

    if (high > low).all():
        team.slabs(work, out.shape[1])
    return torch.from_numpy(out)


def _filled(source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First voxel and last + 1 along each axis that some channel fills, int64 (3,) each; equal where all is 0."""
    low, high = np.zeros(3, np.int64), np.zeros(3, np.int64)
    for axis in range(3):
        others = tuple(a for a in range(4) if a != axis + 1)
        filled = np.flatnonzero(source.any(axis=others))
        if len(filled):
            low[axis], high[axis] = filled[0], filled[-1] + 1
    return low, high


@njit(nogil=True, cache=True, error_model="numpy")
def _place(field, affine, i, j, k):
    """Where voxel (i, j, k) of the field's grid is taken from, in voxels of the channels."""
    x, y, z = i + field[0, i, j, k], j + field[1, i, j, k], k + field[2, i, j, k]
    return (
        affine[0, 0] * x + affine[0, 1] * y + affine[0, 2] * z + affine[0, 3],
        affine[1, 0] * x + affine[1, 1] * y + affine[1, 2] * z + affine[1, 3],
        affine[2, 0] * x + affine[2, 1] * y + affine[2, 2] * z + affine[2, 3],
    )


@njit(nogil=True, cache=True, error_model="numpy")
def _nearest_slab(source, field, affine, low, high, start, stop, out):
    for i in range(start, stop):
        for j in range(out.shape[2]):
            for k in range(out.shape[3]):
                x, y, z = _place(field, affine, i, j, k)
                x, y, z = np.floor(x + 0.5), np.floor(y + 0.5), np.floor(z + 0.5)
                inside = low[0] <= x < high[0] and low[1] <= y < high[1] and low[2] <= z < high[2]
                if inside:  # nan is not
                    for c in range(out.shape[0]):
                        out[c, i, j, k] = source[c, int(x), int(y), int(z)]


@njit(nogil=True, cache=True, error_model="numpy")
def _linear_slab(source, field, affine, low, high, start, stop, out):
    kind = out.dtype.type
    for i in range(start, stop):
        for j in range(out.shape[2]):
            for k in range(out.shape[3]):
                x, y, z = _place(field, affine, i, j, k)
                near = low[0] - 1 < x < high[0] and low[1] - 1 < y < high[1] and low[2] - 1 < z < high[2]
                if not near:
                    continue
                a, b, c = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
                u, v, w = kind(x - a), kind(y - b), kind(z - c)
                for channel in range(out.shape[0]):
                    total = kind(0)
                    for di in range(2):
                        for dj in range(2):
                            for dk in range(2):
                                i0, j0, k0 = a + di, b + dj, c + dk
                                there = low[0] <= i0 < high[0] and low[1] <= j0 < high[1] and low[2] <= k0 < high[2]
                                if there:
                                    share = (u if di else 1 - u) * (v if dj else 1 - v) * (w if dk else 1 - w)
                                    total += kind(share) * kind(source[channel, i0, j0, k0])
                    out[channel, i, j, k] = total
