"""Affine registration of two heads in any pose: a rough search over rotations, then Gauss-Newton, coarse to fine.

Both heads are seen as soft occupancies in cubes of their own, so the search begins with centre and size equal. What
is found maps points of the fixed head to points of the moving one, x -> A x + b, in patient LPS mm.
"""

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numba import njit
from scipy import ndimage

from ..resampling import bounding_box, sample
from ..volume import Volume, VolumeError

SIDES = (16, 32, 64)  # voxels along each edge of the cubes, coarse to fine
_MARGIN = 0.12  # of the head's size, free on every side
_BLUR_VOX = 1.0
_STARTS = 4  # rotations that are tried to the end


@dataclass(frozen=True)
class Cube:
    """n^3 voxels around a head, axes along L, P, S; affine (4, 4): voxel index -> patient LPS mm."""

    side: int
    affine: np.ndarray

    @property
    def spacing_mm(self) -> float:
        """Edge of a voxel."""
        return float(self.affine[0, 0])

    def at(self, side: int) -> "Cube":
        """The same cube with another number of voxels."""
        edge_mm = self.side * self.spacing_mm
        corner = self.affine[:3, 3] - 0.5 * self.spacing_mm
        return _cube(side, corner + 0.5 * edge_mm, edge_mm)


def lay_cube(head: Volume, side: int) -> Cube:
    """The cube around all of a head's bone with a margin; VolumeError for an empty mask."""
    box = bounding_box(head.mask)
    if box is None:
        raise VolumeError(f"{head.source or 'volume'}: the mask is empty; there is no head to register")
    ends = np.array([[part.start, part.stop - 1] for part in box], float)
    corners = head.voxel_to_mm(np.array(list(product(*ends))))
    low, high = corners.min(axis=0), corners.max(axis=0)
    return _cube(side, 0.5 * (low + high), float((high - low).max()) * (1 + 2 * _MARGIN))


def _cube(side: int, centre_mm: np.ndarray, edge_mm: float) -> Cube:
    affine = np.eye(4)
    affine[:3, :3] *= edge_mm / side
    affine[:3, 3] = centre_mm - 0.5 * edge_mm * (1 - 1 / side)
    return Cube(side, affine)


def register_affine(moving: Volume, fixed: Volume) -> np.ndarray:
    """(4, 4), patient LPS mm of the fixed head -> of the moving head, least in mean squared difference.

    Raises VolumeError for an empty mask.
    """
    fixed_cube, moving_cube = lay_cube(fixed, SIDES[-1]), lay_cube(moving, SIDES[-1])
    fixed_levels, moving_levels = _levels(fixed, fixed_cube), _levels(moving, moving_cube)
    coarse = (moving_levels[0], moving_cube.at(SIDES[0]), fixed_levels[0], fixed_cube.at(SIDES[0]))
    starts = sorted(_starts(*coarse), key=lambda start: _misfit(start, *coarse))[:_STARTS]
    best = min((_refined(start, *coarse, rounds=12) for start in starts), key=lambda fit: _misfit(fit, *coarse))
    for side, moving_image, fixed_image in zip(SIDES[1:], moving_levels[1:], fixed_levels[1:], strict=True):
        best = _refined(best, moving_image, moving_cube.at(side), fixed_image, fixed_cube.at(side), rounds=12)
    return best


def _levels(head: Volume, cube: Cube) -> list[np.ndarray]:
    """Soft occupancy of a head at each of SIDES, float32."""
    finest = sample(head.mask, head.affine, (cube.side,) * 3, cube.affine)
    levels = []
    for side in SIDES:
        parts = cube.side // side
        pooled = finest.reshape(side, parts, side, parts, side, parts).mean(axis=(1, 3, 5))
        levels.append(ndimage.gaussian_filter(pooled, _BLUR_VOX))
    return levels


def _starts(moving_image: np.ndarray, moving_cube: Cube, fixed_image: np.ndarray, fixed_cube: Cube) -> list[np.ndarray]:
    """Maps with equal centre of mass and equal size, for many rotations; and with the tops of both heads together."""
    (centre, size), (moving_centre, moving_size) = (
        _mass(fixed_image, fixed_cube), _mass(moving_image, moving_cube),
    )
    scale = moving_size / size
    starts = []
    for rotation in _rotations():
        start = np.eye(4)
        start[:3, :3] = scale * rotation
        start[:3, 3] = moving_centre - start[:3, :3] @ centre
        starts.append(start)
    upright = np.eye(4)  # a jaw or a neck on one of them shifts its centre, not its top
    upright[:3, 3] = moving_centre - centre
    upright[2, 3] = _top(moving_image, moving_cube) - _top(fixed_image, fixed_cube)
    return [*starts, upright]


def _mass(image: np.ndarray, cube: Cube) -> tuple[np.ndarray, float]:
    """Centre of mass (3,) in mm, and root mean square distance from it."""
    index = np.argwhere(image > 0.05)
    weight = image[tuple(index.T)]
    points = index * cube.spacing_mm + cube.affine[:3, 3]
    centre = weight @ points / weight.sum()
    return centre, float(np.sqrt(weight @ ((points - centre) ** 2).sum(axis=1) / weight.sum()))


def _top(image: np.ndarray, cube: Cube) -> float:
    """Height of the vertex, mm."""
    return float(np.flatnonzero((image > 0.3 * image.max()).any(axis=(0, 1)))[-1] * cube.spacing_mm + cube.affine[2, 3])


def _rotations() -> list[np.ndarray]:
    """The 24 ways to turn a cube, each also tilted by 25 degrees either way about each axis."""
    turns = []
    for order in permutations(range(3)):
        for signs in product((1.0, -1.0), repeat=3):
            turn = np.zeros((3, 3))
            turn[range(3), order] = signs
            if np.linalg.det(turn) > 0:
                turns.append(turn)
    tilts = [np.eye(3)]
    for axis in range(3):
        for angle in np.deg2rad((-25, 25)):
            a, b = (axis + 1) % 3, (axis + 2) % 3
            tilt = np.eye(3)
            tilt[a, a] = tilt[b, b] = np.cos(angle)
            tilt[a, b], tilt[b, a] = -np.sin(angle), np.sin(angle)
            tilts.append(tilt)
    return [turn @ tilt for turn in turns for tilt in tilts]


def _voxels(fit: np.ndarray, moving_cube: Cube, fixed_cube: Cube) -> np.ndarray:
    """The map in voxels, fixed -> moving, (3, 4)."""
    return (np.linalg.inv(moving_cube.affine) @ fit @ fixed_cube.affine)[:3]


def _misfit(fit, moving_image, moving_cube, fixed_image, fixed_cube) -> float:
    return _normal_equations(moving_image, fixed_image, _voxels(fit, moving_cube, fixed_cube), False)[2]


def _refined(fit, moving_image, moving_cube, fixed_image, fixed_cube, *, rounds: int) -> np.ndarray:
    """Levenberg-Marquardt on the twelve numbers of the map."""
    matrix = _voxels(fit, moving_cube, fixed_cube)
    damping = 1e-3
    hessian, slope, cost = _normal_equations(moving_image, fixed_image, matrix, True)
    for _ in range(rounds):
        scaled = hessian + damping * np.diag(np.diag(hessian) + 1e-9)
        trial = matrix - np.linalg.solve(scaled, slope).reshape(3, 4)
        new_hessian, new_slope, new_cost = _normal_equations(moving_image, fixed_image, trial, True)
        if new_cost < cost:
            gain = (cost - new_cost) / cost
            matrix, hessian, slope, cost, damping = trial, new_hessian, new_slope, new_cost, damping * 0.3
            if gain < 1e-4:
                break
        else:
            damping *= 10
            if damping > 1e3:
                break
    found = np.eye(4)
    found[:3] = matrix
    return moving_cube.affine @ found @ np.linalg.inv(fixed_cube.affine)


@njit(cache=True, nogil=True)
def _normal_equations(moving, fixed, matrix, slopes):
    """(J'J (12, 12), J'r (12,), mean squared r) of r = moving(matrix x) - fixed(x); x in voxels, 0 outside."""
    n, m = fixed.shape[0], moving.shape[0]
    hessian, slope, cost = np.zeros((12, 12)), np.zeros(12), 0.0
    gradient, point, row = np.zeros(3), np.ones(4), np.zeros(12)
    for i in range(n):
        for j in range(n):
            for k in range(n):
                x = matrix[0, 0] * i + matrix[0, 1] * j + matrix[0, 2] * k + matrix[0, 3]
                y = matrix[1, 0] * i + matrix[1, 1] * j + matrix[1, 2] * k + matrix[1, 3]
                z = matrix[2, 0] * i + matrix[2, 1] * j + matrix[2, 2] * k + matrix[2, 3]
                if not (0 <= x < m - 1 and 0 <= y < m - 1 and 0 <= z < m - 1):
                    cost += fixed[i, j, k] ** 2
                    continue
                a, b, c = int(x), int(y), int(z)
                u, v, w = x - a, y - b, z - c
                value = 0.0
                gradient[:] = 0
                for corner in range(8):
                    p, q, r = corner & 1, (corner >> 1) & 1, corner >> 2
                    share_i, share_j, share_k = u if p else 1 - u, v if q else 1 - v, w if r else 1 - w
                    here = moving[a + p, b + q, c + r]
                    value += share_i * share_j * share_k * here
                    gradient[0] += (1 if p else -1) * share_j * share_k * here
                    gradient[1] += (1 if q else -1) * share_i * share_k * here
                    gradient[2] += (1 if r else -1) * share_i * share_j * here
                residual = value - fixed[i, j, k]
                cost += residual * residual
                if not slopes or (gradient[0] == 0 and gradient[1] == 0 and gradient[2] == 0):
                    continue
                point[0], point[1], point[2] = i, j, k
                for axis in range(3):
                    for of in range(4):
                        row[4 * axis + of] = gradient[axis] * point[of]
                for one in range(12):
                    slope[one] += row[one] * residual
                    for other in range(one, 12):
                        hessian[one, other] += row[one] * row[other]
    for one in range(12):
        for other in range(one):
            hessian[one, other] = hessian[other, one]
    return hessian, slope, cost / n**3
