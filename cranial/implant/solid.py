"""Which solid fills the hole: signed fields in mm, negative inside; the largest of several is their intersection.

Outer surface: bone and piece together, filled below along the insertion direction, blurred and cut at half. So
it runs on from bone to implant, and a wall may be as thin as it likes without being blurred away.
Inner surface: likewise that of the space beneath bone and piece, which is as thick as a wall is thin.
That blur takes the voxels' terraces away; on a surface of radius R it costs sigma^2 / R, hundredths of a mm.
Opening: what a ball as wide as the minimum wall cannot reach within the solid is left out, and so are tongues of
the outline narrower than three of them. That rounds the rim, removes feathered edges, and makes the minimum wall
true at every point.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cranial.resampling import sample
from cranial.volume import Volume

from .bone import FAR_MM, Bone, bone_around, free_mm, isosurface, nearest_mm, samples
from .design import ImplantDesign

_BLUR_VOX, _BLUR_MM = 2.0, (1.0, 2.5)  # of outer and inner surface: in the mask's longest step, and its limits
_TONGUE = 1.5  # minimum walls: radius of the disc that opens the outline
_FACING = 0.1  # cosine to the insertion direction, above which a surface is seen from outside
_SPILL_MM = 2.5  # how far beside the piece the implant may go where no bone ends it
_CORNER = 0.05  # of a working voxel: so far a surface through voxels cuts across the corners of a field


@dataclass(frozen=True, eq=False)
class Solid:
    """A piece's implant as a field, and what it was made from, for whoever checks it; all on `grid`."""

    grid: Volume  # its mask: the reconstructed piece
    direction: np.ndarray
    field_mm: np.ndarray  # float32, negative inside
    bone: Bone
    planned: np.ndarray  # bool: the piece within the same limits, without opening and mesh


def fill_hole(
    skull: Volume,
    piece: Volume,
    grid: Volume,
    direction: np.ndarray,
    design: ImplantDesign,
    begin: Callable[[str], None],
) -> Solid:
    """The implant of one piece. Raises ValueError where nothing is left of it.

    skull, piece: one grid, cropped. grid: bone.working_grid of the piece. begin: is told each step, before it.
    """
    from scipy.ndimage import binary_dilation, gaussian_filter

    spacing_mm = grid.spacing_mm[0]
    footprint = grid.mask.any(axis=2)
    footprint = binary_dilation(footprint, iterations=int(np.ceil(_SPILL_MM / spacing_mm)))
    begin("bone")
    bone = bone_around(skull, grid, footprint, reach_mm(design))
    free = free_mm(bone.distance_mm, spacing_mm, design.taper_deg)
    free -= np.float32(design.clearance_mm + _CORNER * spacing_mm)
    candidates = footprint[:, :, None] & (free > -2 * spacing_mm)

    begin("faces")
    both = with_piece(skull, piece)
    filled = sample(both.mask, both.affine, grid.shape, grid.affine) >= 0.5
    below = np.logical_or.accumulate(filled[:, :, ::-1], axis=2)[:, :, ::-1]
    blur_mm = float(np.clip(_BLUR_VOX * max(skull.spacing_mm), *_BLUR_MM))
    outer = gaussian_filter(below.astype(np.float32), blur_mm / spacing_mm, truncate=3.0, mode="nearest")
    vertices, faces = isosurface(outer, 0.5)
    depth_mm = wall_mm(design, spacing_mm)
    roof = facing_out(vertices, faces)
    depth = nearest_mm(roof, candidates & (outer > 0.02), spacing_mm, depth_mm + 3 * spacing_mm) - np.float32(depth_mm)
    planned = grid.mask if design.thickness_mm is None else np.zeros(grid.shape, bool)
    planned = (planned | (depth < 0)) & (outer >= 0.5) & (free > 0) & footprint[:, :, None]
    if design.thickness_mm is None:
        beneath = (below & ~filled).astype(np.float32)
        gaussian_filter(beneath, blur_mm / spacing_mm, output=beneath, truncate=3.0, mode="nearest")
        np.minimum(depth, -signed_mm(beneath, blur_mm), out=depth)
    field_mm = np.maximum(depth, signed_mm(outer, blur_mm))
    np.maximum(field_mm, -free, out=field_mm)
    field_mm[~footprint] = FAR_MM
    closed_box(field_mm)
    tongues = beyond_opened_outline(field_mm < 0, spacing_mm, _TONGUE * design.minimum_wall_mm)
    np.maximum(field_mm, tongues[:, :, None], out=field_mm)
    if design.perforation_mm > 0:
        drilled = perforations(field_mm < 0, spacing_mm, design)[:, :, None]
        np.maximum(field_mm, drilled, out=field_mm)
        planned &= drilled < 0
    if not (field_mm < 0).any():
        raise ValueError(vanished(piece, design, "is closer to bone than that or hidden behind it"))
    begin("opening")
    field_mm = opened(field_mm, grid.mask, spacing_mm, design.minimum_wall_mm)
    if not (field_mm < 0).any():
        raise ValueError(vanished(piece, design, f"is thinner than the minimum wall of {design.minimum_wall_mm:g} mm"))
    return Solid(grid, direction, one_body(field_mm, grid.mask), bone, planned)


def reach_mm(design: ImplantDesign) -> float:
    """From how far away bone can matter."""
    return design.clearance_mm + 3.0 + 12.0 * float(np.tan(np.deg2rad(design.taper_deg)))


def wall_mm(design: ImplantDesign, spacing_mm: float) -> float:
    """How thick the implant is at least, from its outer surface inward."""
    least_mm = design.minimum_wall_mm + 1.5 * spacing_mm  # the opening must not meet its own limit everywhere
    return max(design.thickness_mm or 0.0, least_mm)


def with_piece(skull: Volume, piece: Volume) -> Volume:
    """Bone and piece in one mask, without the holes within the piece."""
    from scipy.ndimage import binary_fill_holes

    return skull.with_mask(skull.mask | binary_fill_holes(piece.mask))


def signed_mm(filled: np.ndarray, blur_mm: float) -> np.ndarray:
    """Distance to a flat surface of which this is the occupancy after a Gaussian blur, negative inside."""
    from scipy.special import ndtri

    return np.float32(-blur_mm) * ndtri(np.clip(filled, 1e-4, 1 - 1e-4))


def facing_out(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Vertices and middles of the faces that are seen from outside along the third axis."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    normals = np.cross(b - a, c - a)
    out = normals[:, 2] > _FACING * np.linalg.norm(normals, axis=1)
    kept = faces[out]
    return np.concatenate([vertices[np.unique(kept)], vertices[kept].mean(axis=1)])


def perforations(inside: np.ndarray, spacing_mm: float, design: ImplantDesign) -> np.ndarray:
    """Radius minus distance to the nearest axis of a hexagonal pattern, (I, J) mm: positive where it is drilled.

    Holes run along the insertion direction and stay two minimum walls away from the rim.
    """
    from scipy.ndimage import distance_transform_edt

    radius_mm = design.perforation_mm / 2
    below = inside.any(axis=2)
    middle = np.argwhere(below).mean(axis=0)
    step = design.perforation_spacing_mm / spacing_mm
    count = int(max(inside.shape) / step) + 2
    rows, columns = np.meshgrid(np.arange(-count, count + 1), np.arange(-count, count + 1), indexing="ij")
    axes = np.stack([columns + 0.5 * (rows % 2), rows * np.sqrt(0.75)], axis=-1).reshape(-1, 2) * step + middle
    axes = axes[((axes >= 0) & (axes <= np.array(below.shape) - 1)).all(axis=1)]
    to_rim_mm = distance_transform_edt(np.pad(below, 1))[1:-1, 1:-1] * spacing_mm
    nearest = np.rint(axes).astype(int)
    axes = axes[to_rim_mm[tuple(nearest.T)] > radius_mm + 2 * design.minimum_wall_mm]
    if not len(axes):
        return np.full(below.shape, -FAR_MM, np.float32)
    return np.float32(radius_mm) - nearest_mm(axes, np.ones_like(below), spacing_mm, FAR_MM)


def beyond_opened_outline(inside: np.ndarray, spacing_mm: float, radius_mm: float) -> np.ndarray:
    """Distance (I, J) mm to what a disc reaches within the outline seen along the third axis, negative within.

    It is a voxel and a half too generous, so that it cuts off tongues and touches no straight rim.
    """
    from scipy.ndimage import distance_transform_edt

    core = distance_transform_edt(inside.any(axis=2)) * spacing_mm > radius_mm
    if not core.any():
        return np.full(core.shape, -FAR_MM, np.float32)
    return (distance_transform_edt(~core) * spacing_mm - (radius_mm + 1.5 * spacing_mm)).astype(np.float32)


def opened(field_mm: np.ndarray, piece: np.ndarray, spacing_mm: float, wall: float) -> np.ndarray:
    """Morphological opening by a ball of diameter `wall`: a field of true distances near its surface."""
    from scipy.ndimage import binary_dilation

    radius_mm = wall / 2 + spacing_mm / 5  # what voxels lose
    band_mm = radius_mm + 3 * spacing_mm
    inside = field_mm < 0
    depth = nearest_mm(samples(*isosurface(field_mm, 0.0)), inside, spacing_mm, band_mm)
    eroded = np.where(inside, np.float32(radius_mm) - np.minimum(depth, band_mm), np.float32(radius_mm))
    eroded = one_body(eroded, piece)  # here, and not after: balls that only touch would leave thin necks
    if not (eroded < 0).any():
        return np.full_like(field_mm, FAR_MM)
    outside = binary_dilation(inside, iterations=2) & (eroded >= 0)
    away = nearest_mm(samples(*isosurface(eroded, 0.0)), outside, spacing_mm, band_mm)
    return np.where(eroded < 0, eroded - np.float32(radius_mm), np.minimum(away, band_mm) - np.float32(radius_mm))


def one_body(field_mm: np.ndarray, piece: np.ndarray) -> np.ndarray:
    """The body that holds most of the piece, without crumbs beside it and bubbles in it."""
    from scipy.ndimage import label

    bodies, count = label(field_mm < 0)
    if count > 1:
        sizes = np.bincount(bodies[piece], minlength=count + 1) + 1e-6 * np.bincount(bodies.ravel())
        keep = sizes[1:].argmax() + 1
        field_mm = np.where((bodies > 0) & (bodies != keep), np.abs(field_mm), field_mm)
    voids, count = label(field_mm >= 0, np.ones((3, 3, 3)))
    if count > 1:
        field_mm = np.where((voids > 0) & (voids != voids[0, 0, 0]), -np.abs(field_mm), field_mm)
    return field_mm


def closed_box(field_mm: np.ndarray) -> None:
    """Nothing is inside at the border of the grid, so that every surface closes."""
    for axis in range(3):
        for end in (0, -1):
            np.moveaxis(field_mm, axis, 0)[end] = FAR_MM


def vanished(piece: Volume, design: ImplantDesign, why: str) -> str:
    """The sentence about a piece of which nothing is left."""
    return (
        f"nothing is left of a piece of {piece.volume_mm3 / 1000:.2f} cm3: with clearance_mm "
        f"{design.clearance_mm:g} and taper_deg {design.taper_deg:g} all of it {why}; lower them, or look at the defect"
    )
