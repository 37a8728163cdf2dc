"""Affine registration of two heads in any pose: a rough search over rotations, then Gauss-Newton, coarse to fine.

Both heads are seen as soft occupancies in cubes of their own, so the search begins with centre and size equal. What
is found maps points of the fixed head to points of the moving one, x -> A x + b, in patient LPS mm.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numba import njit
from scipy import ndimage

from ..resampling import bounding_box, sample
from ..volume import Volume, VolumeError, to_lps

SIDES = (16, 32, 64)  # voxels along each edge of the cubes, coarse to fine
_MARGIN = 0.12  # of the head's size, free on every side
_BLUR_VOX = 1.0
_CUT_FACE_MM, _CUT_DEPTH_MM, _CUT_SHARE = 2.0, 8.0, 0.5
_STARTS, _FINALISTS = 12, 3  # maps that are refined, coarsely and at the next level
_ROUNDS = 12  # steps at each level
_TURN_COST = 1.0  # a square radian
_TURNED, _BELIEF = np.deg2rad(45), 0.8  # a turn from here on must have less than this share of the misfit


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


def lay_cube(head: Volume, side: int, *, edge_mm: float | None = None) -> Cube:
    """The cube around all of a head's bone with a margin, or about its middle with a given edge.

    Raises VolumeError for an empty mask.
    """
    box = bounding_box(head.mask)
    if box is None:
        raise VolumeError(f"{head.source or 'volume'}: the mask is empty; there is no head to register")
    ends = np.array([[part.start, part.stop - 1] for part in box], float)
    corners = head.voxel_to_mm(np.array(list(product(*ends))))
    low, high = corners.min(axis=0), corners.max(axis=0)
    return _cube(side, 0.5 * (low + high), edge_mm or float((high - low).max()) * (1 + 2 * _MARGIN))


def _cube(side: int, centre_mm: np.ndarray, edge_mm: float) -> Cube:
    affine = np.eye(4)
    affine[:3, :3] *= edge_mm / side
    affine[:3, 3] = centre_mm - 0.5 * edge_mm * (1 - 1 / side)
    return Cube(side, affine)


@dataclass(frozen=True, eq=False)
class _View:
    """A head at one resolution: soft occupancy and what the scan knows, float32 and bool (n, n, n), in a cube."""

    image: np.ndarray
    known: np.ndarray
    cube: Cube


def register_affine(moving: Volume, fixed: Volume) -> np.ndarray:
    """(4, 4), patient LPS mm of the fixed head -> of the moving head, least in mean squared difference.

    First turned, shifted and scaled as a whole, from many starts; then all twelve numbers. Files mostly tell how a
    head lies, and a vault fits a vault in many ways: a map that turns the head by 45 degrees or more is believed only
    if its misfit is less than 4/5 of the best other one's, and among the others a smaller turn counts for something.
    Where a scan ended (see `known`) nothing counts. Raises VolumeError for an empty mask.
    """
    coarse, middle, fine = zip(_views(moving), _views(fixed), strict=True)
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


def known(head: Volume, onto: np.ndarray, side: int) -> np.ndarray:
    """Where a head's scan tells whether there is bone, bool (n, n, n), on a grid with affine `onto` to the head's mm.

    Not below the lowest bone: there, segmentations end. And not beyond any other face of the mask's box that cuts
    through the head, where the bone's section is nearly as large as a little further in; a rounded head only touches
    its box.
    """
    lps = to_lps(head)
    box = bounding_box(lps.mask)
    to_voxel = np.linalg.inv(lps.affine) @ onto
    steps = np.arange(side)
    seen = np.ones((side,) * 3, bool)
    for axis in range(3):
        areas = lps.mask.sum(axis=tuple(other for other in range(3) if other != axis))[box[axis]]
        deep = int(round(_CUT_DEPTH_MM / lps.spacing_mm[axis]))
        first = max(1, int(round(_CUT_FACE_MM / lps.spacing_mm[axis])))
        if len(areas) <= 2 * deep:
            continue
        i, j, k = to_voxel[axis, :3, None] * steps
        place = i[:, None, None] + j[:, None] + k + to_voxel[axis, 3]
        if axis == 2 or areas[:first].mean() > _CUT_SHARE * areas[deep]:
            seen &= place > box[axis].start + first
        if areas[-first:].mean() > _CUT_SHARE * areas[-1 - deep]:
            seen &= place < box[axis].stop - 1 - first
    return seen


def turn_of(fit: np.ndarray) -> float:
    """By how much a map (4, 4) turns, in radians."""
    left, _, right = np.linalg.svd(fit[:3, :3])
    return float(np.arccos(np.clip((np.trace(left @ right) - 1) / 2, -1, 1)))


def _score(fit: np.ndarray, moving: _View, fixed: _View) -> float:
    """Misfit, larger for a map that turns the head: by a quarter at 30 degrees, by three fifths from 45 on."""
    return _misfit(fit, moving, fixed) * (1 + _TURN_COST * min(turn_of(fit), np.pi / 4) ** 2)


def _views(head: Volume) -> list[_View]:
    """A head at each of SIDES."""
    cube = lay_cube(head, SIDES[-1])
    finest = sample(head.mask, head.affine, (cube.side,) * 3, cube.affine)
    views = []
    for side in SIDES:
        parts = cube.side // side
        pooled = finest.reshape(side, parts, side, parts, side, parts).mean(axis=(1, 3, 5))
        level = cube.at(side)
        views.append(_View(ndimage.gaussian_filter(pooled, _BLUR_VOX), known(head, level.affine, side), level))
    return views


def _starts(moving: _View, fixed: _View) -> list[np.ndarray]:
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


def _mass(view: _View) -> tuple[np.ndarray, float]:
    """Centre of mass (3,) in mm, and root mean square distance from it."""
    image, cube = view.image, view.cube
    index = np.argwhere(image > 0.05)
    weight = image[tuple(index.T)]
    points = index * cube.spacing_mm + cube.affine[:3, 3]
    centre = weight @ points / weight.sum()
    return centre, float(np.sqrt(weight @ ((points - centre) ** 2).sum(axis=1) / weight.sum()))


def _top(view: _View) -> float:
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


def _voxels(fit: np.ndarray, moving: _View, fixed: _View) -> np.ndarray:
    """The map in voxels, fixed -> moving, (3, 4)."""
    return (np.linalg.inv(moving.cube.affine) @ fit @ fixed.cube.affine)[:3]


def _misfit(fit: np.ndarray, moving: _View, fixed: _View) -> float:
    matrix = _voxels(fit, moving, fixed)
    return _normal_equations(moving.image, moving.known, fixed.image, fixed.known, matrix, False)[2]


def _refined(fit: np.ndarray, moving: _View, fixed: _View, ways: Callable) -> np.ndarray:
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
