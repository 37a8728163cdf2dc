"""What do the other side and other heads suggest? The mirrored skull and the atlas, bent onto a skull with a hole.

A network need not remember what a skull looks like where it is shown two that nearly fit: this one's own other half,
and the average one. The maps are found once for a case; any cube can then be filled from them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..symmetry import Midplane, find_midplane
from ..symmetry.head import FLIP, SPACING_MM, Head, lay_head
from ..symmetry.mirror import cubic_terms, fit_bend
from ..volume import Volume
from .atlas import SIDE, Atlas, Fit, fit_atlas, load_atlas
from .grid import HeadGrid, lay_grid
from .learner import SUGGESTIONS

_FARTHEST_MM = 30.0  # a cubic that displaces by more is out of the head, and of its senses
_SLAB = 16  # slices of a cube that are filled at a time


@dataclass(frozen=True, eq=False)
class Suggestions:
    """The maps from a case's patient mm to its mirrored self and to the atlas."""

    head: Head
    bend: np.ndarray  # (20, 3), see symmetry.mirror.fit_bend
    atlas: Atlas
    fit: Fit

    def on(self, grid: HeadGrid) -> np.ndarray:
        """Occupancy of the mirrored skull and of the atlas in each voxel of a cube, float32 (2, n, n, n)."""
        side = grid.side
        filled = np.empty((SUGGESTIONS, side, side, side), np.float32)
        for first in range(0, side, _SLAB):
            slab = slice(first, min(first + _SLAB, side))
            voxels = np.stack(np.mgrid[slab, :side, :side], axis=-1).reshape(-1, 3)
            points = voxels @ grid.affine[:3, :3].T + grid.affine[:3, 3]
            filled[0, slab] = self.mirrored(points).reshape(-1, side, side)
            filled[1, slab] = self._atlas(points).reshape(-1, side, side)
        return filled

    def mirrored(self, points_mm: np.ndarray) -> np.ndarray:
        """Occupancy of the mirrored and bent skull at points (N, 3), patient mm: (N,)."""
        to_voxels = np.linalg.inv(self.head.affine)
        points = self.head.points(points_mm @ to_voxels[:3, :3].T + to_voxels[:3, 3])
        shift = cubic_terms(points) @ self.bend
        near = np.linalg.norm(shift, axis=1) < _FARTHEST_MM
        place = (points + shift) * FLIP + self.head.centre_mm
        return near * _at(self.head.occupancy, place / SPACING_MM)

    def _atlas(self, points_mm: np.ndarray) -> np.ndarray:
        to_voxels = np.linalg.inv(self.atlas.affine)
        return _at(self.atlas.occupancy, self.fit.map_points(points_mm) @ to_voxels[:3, :3].T + to_voxels[:3, 3])


def find_suggestions(
    defective: Volume,
    *,
    midplane: Midplane | None = None,
    atlas: Atlas | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> Suggestions:
    """Fit both to a skull with a hole; midplane: None to search for it, atlas: None for the shipped one.

    progress: called between the steps with the share of a whole reconstruction that is done, and what comes next.
    Raises ValueError as find_midplane does.
    """
    tell = progress or (lambda share, step: None)
    midplane = midplane or find_midplane(defective)
    tell(0.2, "bending the mirror image onto the skull")
    head = lay_head(defective, midplane=midplane)
    bend = fit_bend(head)
    tell(0.3, "bending the atlas onto the skull")
    atlas = atlas or load_atlas()
    fit = fit_atlas(atlas, defective, lay_grid(defective, SIDE, midplane=midplane).affine)
    return Suggestions(head, bend, atlas, fit)


def _at(occupancy: np.ndarray, place: np.ndarray) -> np.ndarray:
    return ndimage.map_coordinates(occupancy, place.T, order=1, mode="constant", cval=0.0)
