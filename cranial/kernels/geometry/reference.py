"""Flips, crop, affine and speckle of binary channels in one resample, written to be read: the specification.

Places are integers in units of 1/ONE voxel and random bits come from a counter, so every device gives the same bits.
"""

import math
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
import torch
from torch import Tensor

FRACTION_BITS = 20
ONE = 1 << FRACTION_BITS  # a voxel; at the border of 512^3 voxels rounding a matrix to it costs 0.0004 voxels
WEIGHT_BITS = 8  # of a share between two voxels in linear mode; a product of three has 24
LARGEST_SIDE = 1024  # voxels; with this and LARGEST_STEP, places inside the source fit 32 bits
LARGEST_STEP = 32.0  # source voxels for one of the output
LARGEST_OFFSET = 1e6  # voxels

Mode = Literal["nearest", "linear"]
Rows = tuple[tuple[int, int, int, int], ...]


@dataclass(frozen=True)
class Geometry:
    """Where an output voxel (i, j, k) comes from.

    source: three rows (a, b, c, d): the place along one axis of the source is (a i + b j + c k + d) / ONE voxels.
    crop, box: outside it is 0 everywhere whatever is not in `box`, voxels ((start, stop), three times) of the frame
    that the rows of `crop` lead to; None: nothing is cropped.
    """

    source: Rows
    crop: Rows | None = None
    box: tuple[tuple[int, int], ...] | None = None

    def __post_init__(self) -> None:
        if (self.crop is None) != (self.box is None):
            raise ValueError("crop and box belong together; give both, or neither")

    @classmethod
    def of(
        cls,
        source: np.ndarray,
        shape: tuple[int, int, int],
        *,
        crop: np.ndarray | None = None,
        box: tuple[tuple[int, int], ...] | None = None,
    ) -> "Geometry":
        """From affines in voxels, float (3, 4), for a grid of `shape`.

        Raises ValueError for what is not an affine, and for one that skips more than LARGEST_STEP voxels at a time.
        """
        return cls(_fixed(source, shape), None if crop is None else _fixed(crop, shape), box)


@dataclass(frozen=True)
class Speckle:
    """Voxels of the first channel change where their 32 random bits are less than `below`.

    seed: 0 <= seed < 2^63. below: 0 <= below < 2^32. The bits of voxel (i, j, k) are word k % 4 of Philox4x32-10 with
    the counter (k // 4, j, i, 0): they depend on seed and voxel, not on threads, blocks or the size of the grid.
    """

    seed: int
    below: int

    def __post_init__(self) -> None:
        if not (0 <= self.seed < (1 << 63) and 0 <= self.below < (1 << 32)):
            raise ValueError(
                f"speckle has seed {self.seed} and below {self.below}; give 0 <= seed < 2^63 and 0 <= below < 2^32"
            )


def _fixed(matrix: np.ndarray, shape: tuple[int, int, int]) -> Rows:
    """Rows in units of 1/ONE voxel. The offset makes up for the rounding of the rest at the middle of the grid."""
    matrix = np.asarray(matrix, np.float64)
    if matrix.shape != (3, 4):
        raise ValueError(f"affine has shape {matrix.shape}; give (3, 4), in voxels")
    # not the other way round: nan is not at most anything
    if not ((np.abs(matrix[:, :3]) <= LARGEST_STEP).all() and (np.abs(matrix[:, 3]) <= LARGEST_OFFSET).all()):
        raise ValueError(
            f"affine is {matrix.tolist()}; from voxel to voxel it may pass over {LARGEST_STEP:g} voxels of the source, "
            f"no further than {LARGEST_OFFSET:g} away: scale by more, or take a smaller source"
        )
    middle = (np.array(shape) - 1) / 2
    linear = np.rint(matrix[:, :3] * ONE)
    # a middle + d = ONE (matrix (middle, 1)), exact in float64 wherever the places themselves are
    offset = np.rint(ONE * (matrix[:, :3] @ middle + matrix[:, 3]) - linear @ middle)
    return tuple(tuple(int(n) for n in row) for row in np.column_stack([linear, offset]))


def resample(channels: Tensor, geometry: Geometry, *, mode: Mode, speckle: Speckle | None = None) -> Tensor:
    """Binary channels (C, I, J, K), bool or uint8, not 0 = bone, moved as `geometry` says; same shape, 0 and 1.

    nearest: the voxel at the place rounded (half: up). linear: bone where the trilinear sum over all channels is at
    least 1/2, and there of the channel with the largest share (the first of equals). 0 outside the source.
    """
    bone = channels != 0
    if mode == "linear":
        refuse_overlap(bool((bone.sum(dim=0, dtype=torch.uint8) > 1).any()))
    place = _places(geometry.source, channels)
    if mode == "nearest":
        moved = _at(bone, (place + ONE // 2) >> FRACTION_BITS)
    else:
        moved = _thresholded(bone, place)
    if geometry.box is not None:
        voxel = (_places(geometry.crop, channels) + ONE // 2) >> FRACTION_BITS
        for axis, (start, stop) in enumerate(geometry.box):
            moved &= (voxel[axis] >= start) & (voxel[axis] < stop)
    if speckle is not None:
        moved[0] ^= random_bits(speckle.seed, channels) < speckle.below
    return moved.to(channels.dtype)


def refuse_overlap(overlaps: bool) -> None:
    """Raise ValueError if two channels share a voxel: in linear mode each voxel goes to one of them."""
    if overlaps:
        raise ValueError(
            'channels overlap, so mode="linear" cannot say whose a voxel is; give disjoint ones, such as defective '
            'skull and defect, or use mode="nearest"'
        )


def _places(rows: Rows, channels: Tensor) -> Tensor:
    """int64 (3, I, J, K): where each voxel comes from, in units of 1/ONE voxel."""
    i, j, k = _voxels(channels)
    return torch.stack([a * i + b * j + c * k + d for a, b, c, d in rows])


def _voxels(channels: Tensor) -> tuple[Tensor, ...]:
    axes = [torch.arange(n, device=channels.device) for n in channels.shape[1:]]
    return torch.meshgrid(*axes, indexing="ij")


def _at(channels: Tensor, index: Tensor) -> Tensor:
    """channels[:, index], 0 where the index (3, I, J, K) is outside."""
    inside = torch.ones(index.shape[1:], dtype=torch.bool, device=index.device)
    for axis, size in enumerate(channels.shape[1:]):
        inside &= (index[axis] >= 0) & (index[axis] < size)
    i, j, k = (index[axis].clamp(0, size - 1) for axis, size in enumerate(channels.shape[1:]))
    return channels[:, i, j, k] * inside


def _thresholded(bone: Tensor, place: Tensor) -> Tensor:
    """bool (C, I, J, K) in linear mode, with integer weights that sum to 2^24."""
    dropped = FRACTION_BITS - WEIGHT_BITS
    place = (place + (1 << (dropped - 1))) >> dropped  # rounded to what the weights can tell apart
    base, share = place >> WEIGHT_BITS, place & ((1 << WEIGHT_BITS) - 1)
    shares = torch.stack([(1 << WEIGHT_BITS) - share, share])
    values = torch.zeros(bone.shape, dtype=torch.int64, device=bone.device)
    for a, b, c in product((0, 1), repeat=3):
        corner = torch.tensor([a, b, c], device=bone.device).view(3, 1, 1, 1)
        values += shares[a, 0] * shares[b, 1] * shares[c, 2] * _at(bone, base + corner)
    is_bone = 2 * values.sum(dim=0) >= 1 << (3 * WEIGHT_BITS)
    winner = torch.zeros_like(values[0])
    for c in range(1, len(bone)):
        largest = values[:c].max(dim=0).values
        winner[values[c] > largest] = c
    return torch.stack([is_bone & (winner == c) for c in range(len(bone))])


def random_bits(seed: int, channels: Tensor) -> Tensor:
    """int64 (I, J, K), 0 <= bits < 2^32: what Speckle compares."""
    i, j, k = _voxels(channels)
    words = torch.stack(philox((k // 4, j, i, torch.zeros_like(i)), seed))
    return words.gather(0, (k % 4)[None])[0]


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox4x32-10 (Salmon et al. 2011, doi:10.1145/2063384.2063405): four words of 32 bits, as int64, of a counter
    of four words; the key's words are the low and the high half of the seed."""
    low = (1 << 32) - 1
    x0, x1, x2, x3 = counter
    key0, key1 = seed & low, seed >> 32
    for _ in range(10):
        one, two = x0 * 0xD2511F53, x2 * 0xCD9E8D57  # 64 bits each; the sign that int64 sees is masked away below
        x0, x1, x2, x3 = (two >> 32 & low) ^ x1 ^ key0, two & low, (one >> 32 & low) ^ x3 ^ key1, one & low
        key0, key1 = key0 + 0x9E3779B9 & low, key1 + 0xBB67AE85 & low
    return x0, x1, x2, x3


def below(share: float) -> int:
    """What Speckle needs so that this share of all voxels changes, 0 <= share < 1."""
    return min(round(math.ldexp(share, 32)), (1 << 32) - 1)
