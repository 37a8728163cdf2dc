"""Small heads for tests: nothing about them is symmetric, so no flip or swap of axes goes unseen."""

from itertools import permutations, product

import numpy as np

from cranial.volume import Volume

SHAPE = (23, 31, 27)  # three sizes, so that a swapped axis changes the shape
ORDERS = [
    np.array([[sign if row == axis else 0 for axis, sign in zip(order, signs, strict=True)] for row in range(3)])
    for order in permutations(range(3))
    for signs in product((1, -1), repeat=3)
]  # the 48 ways in which array axes can run along L, P, S


def affine_of(
    directions: np.ndarray | None = None,
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> np.ndarray:
    """(4, 4) with the columns of `directions` (3, 3) as axes."""
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if directions is None else directions) * np.array(spacing_mm)
    affine[:3, 3] = origin_mm
    return affine


def rotation(degrees: tuple[float, float, float]) -> np.ndarray:
    """Rotation matrix (3, 3) about L, then P, then S."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        one, two = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[one, one] = turn[two, two] = np.cos(angle)
        turn[one, two], turn[two, one] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def head_at(points_mm: np.ndarray) -> np.ndarray:
    """Whether points (..., 3) in LPS mm are bone: a thick shell about (11, 15, 13) with a nose and a left ear."""
    x, y, z = np.moveaxis(points_mm - (11.0, 15.0, 13.0), -1, 0)
    radius = np.sqrt((x / 8) ** 2 + (y / 11) ** 2 + (z / 9.5) ** 2)
    nose = (np.abs(x - 1) < 1.6) & (np.abs(z + 3) < 2.6) & (y < -9) & (y > -13)
    ear = (x > 6) & (x < 10) & (np.abs(y - 2) < 2.6) & (np.abs(z - 1) < 1.6)
    return ((radius <= 1) & (radius >= 0.62)) | nose | ear


def head(affine: np.ndarray | None = None, shape: tuple[int, int, int] = SHAPE) -> Volume:
    """The head of `head_at` as if voxel indices were mm, placed by `affine`: the same mask on every grid."""
    return Volume(head_at(np.moveaxis(np.indices(shape), 0, -1)), affine_of() if affine is None else affine)


def head_in_mm(affine: np.ndarray, shape: tuple[int, int, int]) -> Volume:
    """The head of `head_at` as a grid elsewhere in the room sees it."""
    grid = Volume(np.zeros(shape, dtype=bool), affine)
    indices = np.moveaxis(np.indices(shape), 0, -1).reshape(-1, 3)
    return grid.with_mask(head_at(grid.voxel_to_mm(indices)).reshape(shape))


def reordered(volume: Volume, order: np.ndarray) -> Volume:
    """The same head stored with array axes running as `order` (3, 3), signed permutation, of the given ones."""
    axes = np.abs(order).argmax(axis=0)
    signs = order.sum(axis=0)
    mask = volume.mask.transpose(axes)[tuple(slice(None, None, sign) for sign in signs)]
    corner = np.where(order.sum(axis=1) < 0, np.array(volume.shape) - 1, 0)
    turn = np.eye(4)
    turn[:3, :3] = order
    turn[:3, 3] = corner
    return Volume(mask, volume.affine @ turn)


def points_mm(volume: Volume) -> np.ndarray:
    """Centres of the occupied voxels, (N, 3) LPS mm, in an order that does not depend on the array's."""
    points = np.round(volume.voxel_to_mm(np.argwhere(volume.mask)), 4) + 0.0
    return points[np.lexsort(points.T)]


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """2 |A and B| / (|A| + |B|)."""
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))
