"""The mid-plane of a head: three numbers (yaw, roll, offset), searched for directly and robustly."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.optimize import OptimizeResult, minimize

from cranial.resampling import bounding_box, sample
from cranial.symmetry.bone import checked, cover, lowest_slice, main_parts, signed_distance, without_slices
from cranial.volume import Volume

SPACING_MM = 2.0
TILTS = np.tan(np.radians(np.arange(-35, 36, 5)))
OFFSETS_MM = np.arange(-24.0, 25.0, 4.0)
STARTS = 4
TILT_COST = 0.1  # of tan^2: of planes that fit nearly alike (a round vault, much of it gone) the upright one wins
CUT_MM = 4.0  # nothing is known below the lowest bone; its cut edge is no shape of the head


@dataclass(frozen=True)
class Midplane:
    """The plane through `point_mm` across `normal_mm`, both (3,) patient LPS mm; the normal points to +L."""

    point_mm: np.ndarray
    normal_mm: np.ndarray
    agreement: float  # share of the bone with bone within 2 mm of its mirror image, 0 to 1

    @property
    def axes(self) -> np.ndarray:
        """(3, 3), rows: the normal, and in the plane the directions nearest to posterior and superior."""
        up = np.array([0.0, 0.0, 1.0]) - self.normal_mm[2] * self.normal_mm
        up /= np.linalg.norm(up)
        return np.stack([self.normal_mm, np.cross(up, self.normal_mm), up])

    def reflect(self, points_mm: np.ndarray) -> np.ndarray:
        """Mirror images of points (N, 3), LPS mm."""
        return points_mm - 2 * np.outer((points_mm - self.point_mm) @ self.normal_mm, self.normal_mm)


def find_midplane(skull: Volume) -> Midplane:
    """The plane that best maps the bone of the head onto itself; a large hole on one side hardly moves it.

    The head may be turned up to 35 degrees to the side (yaw) and tilted as much (roll), and lie anywhere in
    the grid. Raises ValueError for an empty mask, for next to no bone and for a size that no head has.
    """
    affine, shape = cover(skull, np.eye(3), SPACING_MM)
    bone = main_parts(sample(skull.mask, skull.affine, shape, affine) > 0.3)
    low = lowest_slice(checked(bone, SPACING_MM, skull), SPACING_MM)
    bone, affine = bone[:, :, low:], without_slices(affine, low)
    signed_mm = signed_distance(bone, SPACING_MM, 12.0)

    on_surface = np.argwhere(bone & (signed_mm > -SPACING_MM)) * SPACING_MM
    centre = np.median(on_surface, axis=0)
    points = np.random.default_rng(0).permutation(on_surface - centre)
    known_from = bounding_box(bone)[2].start * SPACING_MM + CUT_MM - centre[2]
    points = points[points[:, 2] > known_from]
    few, many = points[:1200], points[:6000]
    off_mm = signed_mm + 0.5 * SPACING_MM  # 0 in the outermost voxels of bone, where the points are

    def misfit(plane: np.ndarray, of: np.ndarray, forgiven_mm: float, tilt_cost: float) -> float:
        # Geman-McClure, d^2 / (d^2 + c^2): bone across from a hole costs 1, however wide the hole
        images = _images(of, plane)
        index = (images[images[:, 2] > known_from] + centre).T / SPACING_MM
        squared = ndimage.map_coordinates(off_mm, index, order=1, mode="nearest") ** 2
        costs = np.append(squared / (squared + forgiven_mm**2), 1.0)
        beyond_range = max(0.0, np.abs(plane[:2]).max() - TILTS[-1] - 0.05)
        return float(costs.mean() + tilt_cost * (plane[:2] @ plane[:2]) + beyond_range)

    def refined(plane: np.ndarray, step: float, *settings: np.ndarray | float) -> OptimizeResult:
        simplex = plane + step * np.array([[0, 0, 0], [0.08, 0, 0], [0, 0.08, 0], [0, 0, 3]])
        options = {"initial_simplex": simplex, "xatol": 1e-4, "fatol": 1e-6, "maxiter": 150}
        return minimize(misfit, plane, settings, method="Nelder-Mead", options=options)

    starts = _best_of_range(few, centre, np.minimum(np.abs(off_mm), 10))
    best = min((refined(start, 1.0, few, 6.0, TILT_COST) for start in starts), key=lambda fit: fit.fun)
    plane = refined(best.x, 0.3, many, 3.0, 0.0).x
    images = _images(np.argwhere(bone) * SPACING_MM - centre, plane)
    images = images[images[:, 2] > known_from]
    normal = _normal(*plane[:2])
    return Midplane(
        point_mm=affine[:3, 3] + centre + plane[2] * normal,
        normal_mm=normal,
        agreement=float(np.mean(_nearest(signed_mm, images + centre) <= 2.0)),
    )


def _normal(yaw: float, roll: float) -> np.ndarray:
    """Unit normal (3,) of the plane with these tangents of its tilts."""
    return np.array([1.0, yaw, roll]) / np.sqrt(1 + yaw**2 + roll**2)


def _images(points: np.ndarray, plane: np.ndarray) -> np.ndarray:
    """Mirror images of points (N, 3) in the plane (yaw, roll, offset)."""
    normal = _normal(*plane[:2])
    return points - 2 * np.outer(points @ normal - plane[2], normal)


def _nearest(field: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Field in the voxels nearest to points (..., 3), mm from voxel 0: (...)."""
    index = np.clip(np.rint(points / SPACING_MM).astype(np.int32), 0, np.array(field.shape) - 1)
    return field[index[..., 0], index[..., 1], index[..., 2]]


def _best_of_range(points: np.ndarray, centre: np.ndarray, cost_mm: np.ndarray) -> list[np.ndarray]:
    """The STARTS best planes (yaw, roll, offset) among all TILTS and OFFSETS_MM that are not neighbours."""
    scored = []
    for yaw in TILTS:
        for roll in TILTS:
            normal = _normal(yaw, roll)
            beyond = points @ normal - OFFSETS_MM[:, None]
            costs = _nearest(cost_mm, points + centre - 2 * beyond[..., None] * normal).mean(axis=1)
            scored += [(cost, yaw, roll, offset) for cost, offset in zip(costs, OFFSETS_MM, strict=True)]
    chosen: list[np.ndarray] = []
    for _, *plane in sorted(scored):
        steps = [np.abs(np.array(plane) - other) / (0.13, 0.13, 6.0) for other in chosen]
        if all(step.max() > 1 for step in steps):
            chosen.append(np.array(plane))
        if len(chosen) == STARTS:
            break
    return chosen
