"""Which part of the cube must be computed? The box around the bone: a quarter of a head's cube or more is air.

The box is symmetric about the mid-plane, so that a skull and its mirror image have the same one. A hole at the vertex
does not shrink it, for the atlas that is suggested has bone there. Downwards a case ends where its own bone does: the
atlas has a jaw and a neck, but what lies below all that was scanned is not asked for.
"""

from math import lcm

import numpy as np
from scipy import ndimage

from ..resampling import Slices

_BLOCK = 4  # voxels: bone is looked for in blocks, of which speckle fills little
_FILLED, _NEARBY = 0.1, 0.05  # least mean occupancy of a block that has bone, and of it with the 26 around it
_AROUND = 1  # blocks of air that the network sees around the bone


def bone_box(seen: np.ndarray, multiple: int, *, own: np.ndarray | None = None) -> Slices:
    """Slices (3) of the cube around all that any channel of `seen` (C, n, n, n) has.

    multiple: what their lengths must be divisible by, beside 4. own: (C, n, n, n), what the case has itself, None for
    all of it; the box goes no further down.
    The whole cube where there is nothing. Raises ValueError for a cube whose side is no multiple.
    """
    side, multiple = seen.shape[-1], lcm(multiple, _BLOCK)
    if side % multiple:
        raise ValueError(f"the cube has {side} voxels a side; a box in it needs a multiple of {multiple}, resample it")
    bone = _bone(seen)
    if not bone.any():
        return (slice(0, side),) * 3
    lowest = 0 if own is None else int(np.argmax(_bone(own).any(axis=(0, 1))))
    box = []
    for axis in range(3):
        there = np.flatnonzero(bone.any(axis=tuple(other for other in range(3) if other != axis)))
        low, high = max(0, there[0] - _AROUND) * _BLOCK, min(len(bone), there[-1] + 1 + _AROUND) * _BLOCK
        if axis == 0:
            low = min(low, side - high)
            high = side - low
        if axis == 2:
            low = max(low, (lowest - _AROUND) * _BLOCK)
        box.append(_grown(low, high, side, multiple))
    return tuple(box)


def boxed(inputs: np.ndarray, targets: np.ndarray, multiple: int) -> tuple[np.ndarray, np.ndarray]:
    """A batch (B, C, n, n, n), (B, 1, n, n, n), of which only the box is left that holds the bone of all its cases."""
    box = bone_box(np.concatenate([inputs, targets], axis=1).max(axis=0), multiple)
    return inputs[(..., *box)], targets[(..., *box)]


def _bone(seen: np.ndarray) -> np.ndarray:
    """Which blocks have bone in any channel."""
    blocks = seen.shape[-1] // _BLOCK
    filled = seen.max(axis=0).reshape(blocks, _BLOCK, blocks, _BLOCK, blocks, _BLOCK).mean(axis=(1, 3, 5))
    return (filled >= _FILLED) & (ndimage.uniform_filter(filled, 3) >= _NEARBY)


def _grown(low: int, high: int, side: int, multiple: int) -> slice:
    """A slice with a length that divides, about the same middle as far as the cube allows."""
    length = -(-(high - low) // multiple) * multiple
    low = min(max(0, low - (length - (high - low)) // 2), side - length)
    return slice(int(low), int(low + length))
