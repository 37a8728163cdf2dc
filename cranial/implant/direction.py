"""From where an implant can be pushed into its hole: the direction along which bone is least in its way.

For a direction d, each voxel of the piece loses what comes closer to it on the way out than it is at rest:
loss(p) = max(0, min(s(p), near) - max(0, min_t s(p + t d))), s the distance to bone. Where nothing is lost there is
no undercut. Among directions that lose the same, the one nearest to the outward normal wins.
"""

import numpy as np

from cranial.resampling import sample
from cranial.volume import Volume

SPACING_MM = 1.25
PATH_MM = 45.0  # how far out bone is looked for
_NEAR_MM = 2.0  # bone nearer than this is felt, so that a passage is taken through its middle
_CONE_DEG = 50.0  # how far from the outward normal
_CANDIDATES = 120
_POINTS = 1500
_PREFERENCE = 0.03  # mm of mean loss that the edge of the cone is worth


def insertion_direction(skull: Volume, defect: Volume, middle_mm: np.ndarray) -> np.ndarray:
    """Unit vector (3,) in LPS along which the piece leaves the skull most freely, outward.

    skull, defect: one grid, cropped to the piece and PATH_MM around it. middle_mm: of the head, inside of it.
    """
    from scipy.ndimage import distance_transform_edt, map_coordinates
    from scipy.optimize import minimize

    grid = upright(skull, SPACING_MM)
    bone = sample(skull.mask, skull.affine, grid.shape, grid.affine)
    piece = sample(defect.mask, defect.affine, grid.shape, grid.affine)
    outward = outward_normal(grid, bone, piece, middle_mm)
    solid = bone > 0.5
    distance_mm = (distance_transform_edt(~solid) - distance_transform_edt(solid)) * SPACING_MM
    distance_mm = (distance_mm - 0.5 * SPACING_MM * np.sign(distance_mm)).astype(np.float32)

    inside = np.argwhere(piece > 0.5)
    if not len(inside):  # thinner than these voxels
        inside = np.argwhere(piece >= 0.5 * piece.max())
    points = inside[:: max(1, len(inside) // _POINTS)].astype(np.float64)
    at_rest = np.minimum(map_coordinates(distance_mm, points.T, order=1), _NEAR_MM)
    steps = np.arange(1, int(PATH_MM / SPACING_MM) + 1)[:, None, None]
    across = np.linalg.svd(outward[None])[2][1:]  # two unit vectors across it

    def direction(tilt: np.ndarray) -> np.ndarray:
        """Of a tilt (2,) in radians about the outward normal."""
        angle = max(float(np.hypot(*tilt)), 1e-12)
        return np.cos(angle) * outward + np.sin(angle) / angle * (tilt @ across)

    def loss_mm(tilt: np.ndarray) -> float:
        way = (points + steps * direction(tilt)).reshape(-1, 3)
        met = map_coordinates(distance_mm, way.T, order=1, mode="constant", cval=1e3).reshape(len(steps), -1)
        share = np.hypot(*tilt) / np.deg2rad(_CONE_DEG)
        return float(np.maximum(at_rest - np.maximum(met.min(axis=0), 0), 0).mean() + _PREFERENCE * share)

    k = np.arange(_CANDIDATES) + 0.5
    radius, turn = np.deg2rad(_CONE_DEG) * np.sqrt(k / _CANDIDATES), k * np.pi * (3 - 5**0.5)
    tilts = np.concatenate([np.zeros((1, 2)), np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)])
    best = min(tilts, key=loss_mm)
    simplex = best + np.deg2rad([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    options = {"initial_simplex": simplex, "xatol": 2e-3, "maxiter": 60}
    found = minimize(loss_mm, best, method="Nelder-Mead", options=options)
    return direction(found.x)


def upright(volume: Volume, spacing_mm: float) -> Volume:
    """An empty grid along L, P, S that holds all of a volume."""
    corners = np.array(np.meshgrid(*((0, size - 1) for size in volume.shape), indexing="ij")).reshape(3, 8).T
    ends_mm = volume.voxel_to_mm(corners)
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = ends_mm.min(axis=0) - spacing_mm
    shape = tuple(int(n) for n in np.ceil(np.ptp(ends_mm, axis=0) / spacing_mm) + 3)
    return Volume(np.zeros(shape, bool), affine)


def outward_normal(grid: Volume, bone: np.ndarray, piece: np.ndarray, middle_mm: np.ndarray) -> np.ndarray:
    """Mean normal (3,) of the surface by which a piece faces away from the middle of the head.

    Where that is undecided (a flat plate through the middle), the thinnest direction of the piece.
    """
    from scipy.ndimage import gaussian_filter

    solid = gaussian_filter(np.maximum(bone, piece), 1.0)
    inside = np.argwhere(piece >= 0.5 * piece.max())
    slopes = np.stack([-np.gradient(solid, axis=axis)[tuple(inside.T)] for axis in range(3)], axis=1)
    outside = ((grid.voxel_to_mm(inside) - middle_mm) * slopes).sum(axis=1) > 0
    normal = slopes[outside].sum(axis=0)
    if np.linalg.norm(normal) > 0.2 * np.linalg.norm(slopes, axis=1).sum() and np.linalg.norm(normal) > 0:
        return normal / np.linalg.norm(normal)
    thinnest = np.linalg.svd(inside - inside.mean(axis=0), full_matrices=False)[2][-1]
    return thinnest * np.sign(thinnest[np.abs(thinnest).argmax()])
