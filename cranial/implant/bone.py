"""Where the bone is, to a fraction of a voxel, and what can be reached past it along one direction.

The bone's surface is that of its mask, blurred by about a voxel so that no staircase is left, at half
occupancy; distances are to that surface, point by point. No bone is lost that way: the centre of a bone
voxel too thin to survive the blur counts as surface.
"""

from dataclasses import dataclass

import numpy as np

from cranial.resampling import sample
from cranial.surface import surface as boundary
from cranial.volume import Volume

_BLUR_VOX = 0.6  # along each axis of the mask's own grid
_BLUR_FINE = 0.4  # then, of its mean spacing, in the working grid
_CHUNK = 2**19
MAX_VOXELS = 2**24
FAR_MM = 1e3


@dataclass(frozen=True, eq=False)
class Bone:
    """Bone as a piece's working grid sees it."""

    distance_mm: np.ndarray  # float32 (I, J, K): signed, FAR_MM where no bone is within reach
    surface: np.ndarray  # (N, 3) points on it, in voxels of the grid


def crop(volume: Volume, box: tuple[slice, slice, slice], margin_mm: float) -> Volume:
    """The part of a volume within a margin of a box of its voxels; a view, not a copy."""
    margin = [int(np.ceil(margin_mm / step)) for step in volume.spacing_mm]
    parts = [slice(max(part.start - more, 0), min(part.stop + more, size))
             for part, more, size in zip(box, margin, volume.shape, strict=True)]
    affine = np.array(volume.affine)
    affine[:3, 3] = volume.voxel_to_mm(np.array([[part.start for part in parts]]))[0]
    return Volume(volume.mask[tuple(parts)], affine)


def working_grid(piece: Volume, direction: np.ndarray, bone_mm: np.ndarray, *, reach_mm: float, below_mm: float,
                 spacing_mm: float) -> Volume:
    """A grid whose third axis is `direction`, with the piece, `reach_mm` around it and all bone above it.

    bone_mm: (N, 3) points of the skull. below_mm: how far it goes deeper than the piece. Its mask is the piece.
    """
    across = np.linalg.svd(direction[None])[2][1:]
    axes = np.stack([across[0], np.cross(direction, across[0]), direction], axis=1)  # right-handed
    points = piece.voxel_to_mm(np.argwhere(piece.mask)) @ axes
    low, high = points.min(axis=0) - reach_mm, points.max(axis=0) + reach_mm
    low[2] -= below_mm
    bone = bone_mm @ axes
    above = bone[((bone[:, :2] > low[:2]) & (bone[:, :2] < high[:2])).all(axis=1), 2]
    high[2] = max(high[2], above.max(initial=-np.inf) + 3)
    spacing_mm = max(spacing_mm, float((np.prod(high - low) / MAX_VOXELS) ** (1 / 3)))
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing_mm
    affine[:3, 3] = axes @ low
    shape = tuple(int(n) for n in np.ceil((high - low) / spacing_mm) + 1)
    grid = Volume(np.zeros(shape, bool), affine)
    return grid.with_mask(sample(piece.mask, piece.affine, shape, affine) >= 0.5)


def occupancy(mask: Volume, grid: Volume) -> np.ndarray:
    """Share of each voxel of `grid` that is filled, float32, without the staircase of the mask's own voxels."""
    from scipy.ndimage import gaussian_filter

    part = seen_from(mask, grid)
    # what lies outside a scan is unknown: bone that the border cuts goes on
    blurred = gaussian_filter(part.mask.astype(np.float32), _BLUR_VOX, truncate=3.0, mode="nearest")
    fine = sample(blurred, part.affine, grid.shape, grid.affine)
    sigma_vox = _BLUR_FINE * float(np.mean(mask.spacing_mm)) / grid.spacing_mm[0]
    return gaussian_filter(fine, sigma_vox, output=fine, truncate=3.0, mode="nearest")


def seen_from(mask: Volume, grid: Volume) -> Volume:
    """The part of a mask around which the working grid lies; a view."""
    corners = np.array(np.meshgrid(*((0, size - 1) for size in grid.shape), indexing="ij")).reshape(3, 8).T
    ends = mask.mm_to_voxel(grid.voxel_to_mm(corners))
    low = np.clip(np.floor(ends.min(axis=0)) - 3, 0, np.array(mask.shape) - 1).astype(int)
    high = np.clip(np.ceil(ends.max(axis=0)) + 4, low + 1, mask.shape).astype(int)
    return crop(mask, tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True)), 0.0)


def bone_around(skull: Volume, grid: Volume, columns: np.ndarray, reach_mm: float) -> Bone:
    """Signed distances to bone up to `reach_mm` in the columns, bool (I, J), of the working grid."""
    from scipy.ndimage import map_coordinates, maximum_filter

    filled = occupancy(skull, grid)
    spacing_mm = grid.spacing_mm[0]
    surface = samples(*isosurface(filled, 0.5))
    box_vox = 2 * int(np.ceil(reach_mm / spacing_mm)) + 3
    asked = maximum_filter(filled > 0.3, box_vox) & columns[:, :, None]  # beyond, nothing is within reach
    distance_mm = nearest_mm(surface, asked, spacing_mm, reach_mm)
    np.negative(distance_mm, where=filled > 0.5, out=distance_mm)
    part = seen_from(skull, grid)
    centres = grid.mm_to_voxel(part.voxel_to_mm(np.argwhere(boundary(part.mask))))
    centres = centres[((centres >= 0) & (centres <= np.array(grid.shape) - 1)).all(axis=1)]
    lost = centres[map_coordinates(filled, centres.T, order=1) < 0.5]
    if len(lost):
        # around a point distances bend within a voxel, and a surface through voxels would cut the corner
        around_mm = nearest_mm(lost, asked, spacing_mm, reach_mm) - np.float32(spacing_mm / 3)
        np.minimum(distance_mm, around_mm, out=distance_mm)
        surface = np.concatenate([surface, lost])
    return Bone(distance_mm, surface)


def free_mm(distance_mm: np.ndarray, spacing_mm: float, taper_deg: float) -> np.ndarray:
    """How far from bone each voxel stays on its way out along the third axis, float32 (I, J, K).

    free(p) = min over t >= 0 of distance(p + t d) - t tan(taper): with a taper, bone farther up the way must be
    farther off, so that the rim narrows inward by that angle.
    """
    drop_mm = np.arange(distance_mm.shape[2], dtype=np.float32) * np.float32(spacing_mm * np.tan(np.deg2rad(taper_deg)))
    free = distance_mm - drop_mm
    reverse = free[:, :, ::-1]
    np.minimum.accumulate(reverse, axis=2, out=reverse)
    free += drop_mm
    return free


def isosurface(field: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) in voxels and faces (F, 3), counter-clockwise seen from where the field is lower."""
    from skimage.measure import marching_cubes

    if not (field.min() < level < field.max()):
        return np.zeros((0, 3)), np.zeros((0, 3), np.int64)
    vertices, faces, _, _ = marching_cubes(field, level, gradient_direction="ascent", allow_degenerate=False)
    return vertices.astype(np.float64), faces.astype(np.int64)


def samples(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Points on a surface, (V + F, 3): its vertices and the middles of its faces."""
    return np.concatenate([vertices, vertices[faces].mean(axis=1)]) if len(faces) else vertices


def nearest_mm(points: np.ndarray, asked: np.ndarray, spacing_mm: float, reach_mm: float) -> np.ndarray:
    """Distance from the voxels asked, bool (I, J, K), to the nearest point (N, 3) in voxels; FAR_MM beyond reach."""
    distance_mm = np.full(asked.shape, FAR_MM, np.float32)
    if not len(points):
        return distance_mm
    search = tree(points)
    wanted = np.flatnonzero(asked)
    for start in range(0, len(wanted), _CHUNK):
        some = wanted[start : start + _CHUNK]
        places = np.stack(np.unravel_index(some, asked.shape), axis=1)
        found, _ = search.query(places, distance_upper_bound=reach_mm / spacing_mm, workers=-1)
        distance_mm.ravel()[some] = np.minimum(found * spacing_mm, FAR_MM)
    return distance_mm


def tree(points: np.ndarray):
    """A search tree of points (N, 3) on a surface; boxes shrunk to their points would make it ten times slower."""
    from scipy.spatial import cKDTree

    return cKDTree(points, balanced_tree=False, compact_nodes=False)
