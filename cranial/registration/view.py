"""What does a scan show of a head, and where? The cube around it, soft occupancies in it, and where the scan ended."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import ndimage

from ..resampling import bounding_box, sample
from ..volume import Volume, VolumeError, to_lps

SIDES = (16, 32, 64)  # voxels along each edge of the cubes, coarse to fine
_MARGIN = 0.12  # of the head's size, free on every side
_BLUR_VOX = 1.0
_CUT_FACE_MM, _CUT_DEPTH_MM, _CUT_SHARE = 2.0, 8.0, 0.5


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
class View:
    """A head at one resolution: soft occupancy and what the scan knows, float32 and bool (n, n, n), in a cube."""

    image: np.ndarray
    known: np.ndarray
    cube: Cube


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


def views(head: Volume) -> list[View]:
    """A head at each of SIDES."""
    cube = lay_cube(head, SIDES[-1])
    finest = sample(head.mask, head.affine, (cube.side,) * 3, cube.affine)
    views = []
    for side in SIDES:
        parts = cube.side // side
        pooled = finest.reshape(side, parts, side, parts, side, parts).mean(axis=(1, 3, 5))
        level = cube.at(side)
        views.append(View(ndimage.gaussian_filter(pooled, _BLUR_VOX), known(head, level.affine, side), level))
    return views
