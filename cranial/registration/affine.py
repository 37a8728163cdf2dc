"""Affine registration of two heads in any pose: a rough search over rotations, then Gauss-Newton, coarse to fine.

Both heads are seen as soft occupancies in cubes of their own, so the search begins with centre and size equal. What
is found maps points of the fixed head to points of the moving one, x -> A x + b, in patient LPS mm.
"""

from collections.abc import Callable
from itertools import permutations, product

import numpy as np
from numba import njit

from ..volume import Volume
from .view import View, views

_STARTS, _FINALISTS = 12, 3  # maps that are refined, coarsely and at the next level
_ROUNDS = 12  # steps at each level
_TURN_COST = 1.0  # a square radian
_TURNED, _BELIEF = np.deg2rad(45), 0.8  # a turn from here on must have less than this share of the misfit


def register_affine(moving: Volume, fixed: Volume) -> np.ndarray:
    """(4, 4), patient LPS mm of the fixed head -> of the moving head, least in mean squared difference.

    First turned, shifted and scaled as a whole, from many starts; then all twelve numbers. Files mostly tell how a
    head lies, and a vault fits a vault in many ways: a map that turns the head by 45 degrees or more is believed only
    if its misfit is less than 4/5 of the best other one's, and among the others a smaller turn counts for something.
    Where a scan ended (see `view.known`) nothing counts. Raises VolumeError for an empty mask.
    """
    coarse, middle, fine = zip(views(moving), views(fixed), strict=True)
    starts = _starts(*coarse)
    tilted = [start for start in starts if turn_of(start) < _TURNED]
    turned = [start for start in starts if turn_of(start) >= _TURNED]
    upright, other = (_best(kind, coarse, middle, fine) for kind in (tilted, turned))
    return other if _misfit(other, *fine) < _BELIEF * _misfit(upright, *fine) else upright


def _best(starts: list[np.ndarray], coarse: tuple, middle: tuple, fine: tuple) -> np.ndarray:
    """The map that is found from the best of some starts."""
    fits = sorted(starts, key=lambda start: _score(start, *coarse))[:_STARTS]
    for level, count in ((coarse, _FINALISTS), (middle, 1)):
        refined = [_refined(fit, *level, _as_a_whole) for fit in fits]
        fits = sorted(refined, key=lambda fit: _score(fit, *level))[:count]  # noqa: B023  used at once
    return _refined(_refined(fits[0], *middle, _freely), *fine, _freely)


def turn_of(fit: np.ndarray) -> float:
    """By how much a map (4, 4) turns, in radians."""
    left, _, right = np.linalg.svd(fit[:3, :3])
    return float(np.arccos(np.clip((np.trace(left @ right) - 1) / 2, -1, 1)))


def _score(fit: np.ndarray, moving: View, fixed: View) -> float:
    """Misfit, larger for a map that turns the head: by a quarter at 30 degrees, by three fifths from 45 on."""
    return _misfit(fit, moving, fixed) * (1 + _TURN_COST * min(turn_of(fit), np.pi / 4) ** 2)


def _starts(moving: View, fixed: View) -> list[np.ndarray]:
    """Maps to begin with: many rotations about equal centres of mass, with equal size; or the vertices together."""
    (centre, size), (moving_centre, moving_size) = _mass(fixed), _mass(moving)
    starts = []
    for turn in _turns():
        for tilt in _tilts():
            start = np.eye(4)
            start[:3, :3] = moving_size / size * turn @ tilt
            start[:3, 3] = moving_centre - start[:3, :3] @ centre
            starts.append(start)
    for tilt in _tilts():  # a jaw or a neck on one of them shifts its centre, not its top
        start = np.eye(4)
        start[:3, :3] = tilt
        start[:3, 3] = [*moving_centre[:2], _top(moving)] - tilt @ [*centre[:2], _top(fixed)]
        starts.append(start)
    return starts


def _mass(view: View) -> tuple[np.ndarray, float]:
    """Centre of mass (3,) in mm, and root mean square distance from it."""
    image, cube = view.image, view.cube
    index = np.argwhere(image > 0.05)
    weight = image[tuple(index.T)]
    points = index * cube.spacing_mm + cube.affine[:3, 3]
    centre = weight @ points / weight.sum()
    return centre, float(np.sqrt(weight @ ((points - centre) ** 2).sum(axis=1) / weight.sum()))


def _top(view: View) -> float:
    """Height of the vertex, mm."""
    heights = np.flatnonzero((view.image > 0.3 * view.image.max()).any(axis=(0, 1)))
    return float(heights[-1] * view.cube.spacing_mm + view.cube.affine[2, 3])


def _turns() -> list[np.ndarray]:
    """The 24 ways to turn a cube."""
    turns = []
    for order in permutations(range(3)):
        for signs in product((1.0, -1.0), repeat=3):
            turn = np.zeros((3, 3))
            turn[range(3), order] = signs
            if np.linalg.det(turn) > 0:
                turns.append(turn)
    return turns


def _tilts() -> list[np.ndarray]:
    """None, and 25 degrees either way about each axis."""
    tilts = [np.eye(3)]
    for axis in range(3):
        for angle in np.deg2rad((-25, 25)):
            a, b = (axis + 1) % 3, (axis + 2) % 3
            tilt = np.eye(3)
            tilt[a, a] = tilt[b, b] = np.cos(angle)
            tilt[a, b], tilt[b, a] = -np.sin(angle), np.sin(angle)
            tilts.append(tilt)
    return tilts


def _voxels(fit: np.ndarray, moving: View, fixed: View) -> np.ndarray:
    """The map in voxels, fixed -> moving, (3, 4)."""
    return (np.linalg.inv(moving.cube.affine) @ fit @ fixed.cube.affine)[:3]


def _misfit(fit: np.ndarray, moving: View, fixed: View) -> float:
    matrix = _voxels(fit, moving, fixed)
    return _normal_equations(moving.image, moving.known, fixed.image, fixed.known, matrix, False)[2]


def _refined(fit: np.ndarray, moving: View, fixed: View, ways: Callable) -> np.ndarray:
    """Levenberg-Marquardt on the numbers of the map, in the directions (12, n) that `ways` allows."""

    def equations(matrix: np.ndarray):
        return _normal_equations(moving.image, moving.known, fixed.image, fixed.known, matrix, True)

    matrix = _voxels(fit, moving, fixed)
    damping = 1e-3
    hessian, slope, cost = equations(matrix)
    for _ in range(_ROUNDS):
        allowed = ways(matrix, fixed.cube.side)
        reduced = allowed.T @ hessian @ allowed
        reduced += damping * np.diag(np.diag(reduced) + 1e-9)
        trial = matrix - (allowed @ np.linalg.solve(reduced, allowed.T @ slope)).reshape(3, 4)
        new_hessian, new_slope, new_cost = equations(trial)
        if new_cost < cost:
            gain = (cost - new_cost) / cost
            matrix, hessian, slope, cost, damping = trial, new_hessian, new_slope, new_cost, damping * 0.3
            if gain < 1e-3:
                break
        else:
            damping *= 10
            if damping > 1e3:
                break
    found = np.eye(4)
    found[:3] = matrix
    return moving.cube.affine @ found @ np.linalg.inv(fixed.cube.affine)


def _freely(matrix: np.ndarray, side: int) -> np.ndarray:
    """All twelve numbers, those of a point scaled to the cube."""
    return np.diag(np.tile([1 / side, 1 / side, 1 / side, 1.0], 3))


def _as_a_whole(matrix: np.ndarray, side: int) -> np.ndarray:
    """(12, 7): turned about the three axes and scaled about the cube's middle, and shifted."""
    middle = np.append(np.full(3, 0.5 * (side - 1)), 1)
    ways = []
    for axis in range(3):
        spin = np.zeros((3, 3))
        a, b = (axis + 1) % 3, (axis + 2) % 3
        spin[a, b], spin[b, a] = -1, 1
        ways.append(spin)
    ways.append(np.eye(3))
    columns = []
    for way in ways:
        change = np.zeros((3, 4))
        change[:, :3] = matrix[:, :3] @ way / side
        change[:, 3] = -change[:, :3] @ middle[:3]
        columns.append(change.ravel())
    for axis in range(3):
        change = np.zeros((3, 4))
        change[axis, 3] = 1
        columns.append(change.ravel())
    return np.stack(columns, axis=1)


@njit(cache=True, nogil=True)
def _normal_equations(moving, moving_known, fixed, fixed_known, matrix, slopes):
    """(J'J (12, 12), J'r (12,), mean squared r where both are known) of r = moving(matrix x) - fixed(x).

    x in voxels; moving is 0 outside. Where less than a quarter of the cube is known to both, the mean is infinite.
    """
    n, m = fixed.shape[0], moving.shape[0]
    hessian, slope, cost, known = np.zeros((12, 12)), np.zeros(12), 0.0, 0
    gradient, point, row = np.zeros(3), np.ones(4), np.zeros(12)
    for i in range(n):
        for j in range(n):
            for k in range(n):
                if not fixed_known[i, j, k]:
                    continue
                x = matrix[0, 0] * i + matrix[0, 1] * j + matrix[0, 2] * k + matrix[0, 3]
                y = matrix[1, 0] * i + matrix[1, 1] * j + matrix[1, 2] * k + matrix[1, 3]
                z = matrix[2, 0] * i + matrix[2, 1] * j + matrix[2, 2] * k + matrix[2, 3]
                a = int(min(max(x, 0), m - 1))
                b = int(min(max(y, 0), m - 1))
                c = int(min(max(z, 0), m - 1))
                if not moving_known[a, b, c]:
                    continue
                known += 1
                if not (0 <= x < m - 1 and 0 <= y < m - 1 and 0 <= z < m - 1):
                    cost += fixed[i, j, k] ** 2
                    continue
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
    return hessian, slope, cost / known if 4 * known > n**3 else np.inf
