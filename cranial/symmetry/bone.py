"""A skull as mid-plane and mirror see it: its main bone on an isotropic grid, without jaw and neck."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from cranial.resampling import bounding_box
from cranial.volume import Volume

HEAD_MM = 160.0  # what lies further below the vertex (jaw, neck, shoulders) has a symmetry of its own
LARGEST_MM = 1000.0
SMALLEST_MM = 30.0
SPARE_MM = 20.0


def cover(
    skull: Volume, axes: np.ndarray, spacing_mm: float, *, about_mm: np.ndarray | None = None
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Affine (4, 4) and shape of an isotropic grid along these axes (rows), SPARE_MM around the bone.

    about_mm: a point to lie in the middle of the first axis.
    Raises ValueError for an empty mask and for one too large to be a head.
    """
    box = bounding_box(skull.mask)
    if box is None:
        raise ValueError(f"{_name(skull)}: the mask is empty and has no symmetry; segment it again")
    corners = np.stack(np.meshgrid(*((part.start, part.stop - 1) for part in box)), axis=-1).reshape(-1, 3)
    origin = np.zeros(3) if about_mm is None else about_mm
    corners = (skull.voxel_to_mm(corners) - origin) @ axes.T
    low, high = corners.min(axis=0), corners.max(axis=0)
    if (high - low).max() > LARGEST_MM:
        raise ValueError(
            f"{_name(skull)}: the bone spans {(high - low).max():.0f} mm, too much for a head; crop it, and "
            f"check that the spacing, {_times(skull.spacing_mm)}, is in mm"
        )
    low, high = low - SPARE_MM, high + SPARE_MM
    if about_mm is not None:
        low[0], high[0] = -max(-low[0], high[0]), max(-low[0], high[0])
    shape = np.ceil((high - low) / spacing_mm).astype(int) + 1
    if about_mm is not None:
        low[0] = -0.5 * (shape[0] - 1) * spacing_mm
    affine = np.eye(4)
    affine[:3, :3] = axes.T * spacing_mm
    affine[:3, 3] = origin + low @ axes
    return affine, tuple(int(size) for size in shape)


def main_parts(bone: np.ndarray) -> np.ndarray:
    """Without the components below a twentieth of the largest: speckle, electrodes, crumbs."""
    parts, _ = ndimage.label(bone, np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return (sizes >= max(1, 0.05 * sizes.max()))[parts]


def checked(bone: np.ndarray, spacing_mm: float, skull: Volume) -> np.ndarray:
    """The same bone; ValueError if it is next to nothing or flat."""
    bone_cm3 = np.count_nonzero(bone) * spacing_mm**3 / 1000
    if bone_cm3 < 5:
        raise ValueError(
            f"{_name(skull)}: {bone_cm3:.3g} cm3 of connected bone are too little for a mid-plane; check "
            f"the threshold, and that the spacing, {_times(skull.spacing_mm)}, is in mm"
        )
    size_mm = [spacing_mm * (part.stop - part.start) for part in bounding_box(bone)]
    if min(size_mm) < SMALLEST_MM:
        raise ValueError(
            f"{_name(skull)}: the bone measures {_times(size_mm)} mm, too flat for a mid-plane; give the whole head, "
            f"and check that the spacing, {_times(skull.spacing_mm)}, is in mm"
        )
    return bone


def lowest_slice(bone: np.ndarray, spacing_mm: float) -> int:
    """The slice HEAD_MM below the vertex; 0 if the volume ends before."""
    return max(0, bounding_box(bone)[2].stop - round(HEAD_MM / spacing_mm))


def without_slices(affine: np.ndarray, count: int) -> np.ndarray:
    """The affine of array[:, :, count:]."""
    moved = affine.copy()
    moved[:3, 3] += count * affine[:3, 2]
    return moved


def signed_distance(bone: np.ndarray, spacing_mm: float, limit_mm: float) -> np.ndarray:
    """Distance to the surface of the bone, negative inside, in mm within +-limit, float32."""
    outside, inside = ndimage.distance_transform_edt(~bone), ndimage.distance_transform_edt(bone)
    signed = spacing_mm * np.where(bone, 0.5 - inside, outside - 0.5)  # the surface runs between the voxels
    return np.clip(signed, -limit_mm, limit_mm).astype(np.float32)


def _name(skull: Volume) -> str:
    return str(skull.source or "the skull")


def _times(numbers: Sequence[float]) -> str:
    return " x ".join(f"{number:.4g}" for number in numbers)
