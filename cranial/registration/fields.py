"""Displacement fields on one grid: composed, inverted, and checked for folds. Fields are (3, I, J, K), in voxels."""

import numpy as np
import torch
from numba import njit
from torch.nn import functional as F

from ..kernels.threads import Team


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The displacement of x -> (id + outer)((id + inner)(x)); beyond the grid, outer is as at its border."""
    place = torch.from_numpy(np.stack(np.indices(inner.shape[1:], dtype=inner.dtype)) + inner)
    sizes = torch.tensor(outer.shape[1:], dtype=place.dtype).view(3, 1, 1, 1)
    grid = ((2 * place + 1) / sizes - 1).flip(0).permute(1, 2, 3, 0)[None]  # grid_sample wants z, y, x in [-1, 1]
    moved = F.grid_sample(torch.from_numpy(outer)[None], grid, padding_mode="border", align_corners=False)[0]
    return inner + moved.numpy()


def invert(field: np.ndarray, *, iterations: int = 30) -> np.ndarray:
    """The displacement v with (id + field) o (id + v) = id, by the fixed point v(x) = -field(x + v(x)).

    It converges where the field stretches nothing by more than the whole, so also has no folds (Chen et al. 2008,
    Med Phys 35:81-88).
    """
    inverse = -field
    for _ in range(iterations):
        inverse = inverse - compose(field, inverse)
    return inverse


def jacobian(field: np.ndarray, *, threads: int | None = None) -> np.ndarray:
    """det(I + du/dx) (I, J, K), float32: what a voxel's volume becomes, 0 and less where the field folds.

    Central differences, one-sided at the border.
    """
    determinant = np.empty(field.shape[1:], np.float32)
    with Team(threads) as team:
        team.slabs(lambda start, stop: _jacobian_slab(field, start, stop, determinant), len(determinant))
    return determinant


@njit(cache=True, nogil=True)
def _slope(field, c, i, j, k, axis):
    """du_c / dx_axis at a voxel."""
    here = (i, j, k)
    low, high = max(here[axis] - 1, 0), min(here[axis] + 1, field.shape[axis + 1] - 1)
    if low == high:
        return 0.0
    if axis == 0:
        return (field[c, high, j, k] - field[c, low, j, k]) / (high - low)
    if axis == 1:
        return (field[c, i, high, k] - field[c, i, low, k]) / (high - low)
    return (field[c, i, j, high] - field[c, i, j, low]) / (high - low)


@njit(cache=True, nogil=True)
def _jacobian_slab(field, start, stop, determinant):
    m = np.empty((3, 3))
    for i in range(start, stop):
        for j in range(field.shape[2]):
            for k in range(field.shape[3]):
                for c in range(3):
                    for axis in range(3):
                        m[c, axis] = _slope(field, c, i, j, k, axis) + (1.0 if c == axis else 0.0)
                determinant[i, j, k] = (
                    m[0, 0] * (m[1, 1] * m[2, 2] - m[1, 2] * m[2, 1])
                    - m[0, 1] * (m[1, 0] * m[2, 2] - m[1, 2] * m[2, 0])
                    + m[0, 2] * (m[1, 0] * m[2, 1] - m[1, 1] * m[2, 0])
                )
