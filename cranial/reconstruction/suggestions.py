"""What do the other side and other heads suggest? The mirrored skull and the atlas, bent onto a skull with a hole.

A network need not remember what a skull looks like where it is shown two that nearly fit: this one's own other half,
and the average one. The maps are found once for a case; any cube can then be filled from them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F

from ..symmetry import Midplane, find_midplane
from ..symmetry.head import FLIP, SPACING_MM, Head, lay_head
from ..symmetry.mirror import cubic_terms, fit_bend
from ..volume import Volume
from .atlas import SIDE, Atlas, Fit, fit_atlas, load_atlas
from .grid import HeadGrid, lay_grid

_FARTHEST_MM = 30.0  # a cubic that displaces by more is out of the head, and of its senses
_FAR_OUT = -1e4  # voxels: of no head


@dataclass(frozen=True, eq=False)
class Suggestions:
    """The maps from a case's patient mm to its mirrored self and to the atlas."""

    head: Head
    bend: np.ndarray  # (20, 3), see symmetry.mirror.fit_bend
    atlas: Atlas
    fit: Fit

    def on(self, grid: HeadGrid) -> np.ndarray:
        """Occupancy of the mirrored skull and of the atlas in each voxel of a cube, float32 (2, n, n, n)."""
        return self.within((grid.side,) * 3, grid.affine)

    def within(self, shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
        """Occupancy of both on any grid (`shape`, `affine`), float32 (2, *shape)."""
        nodes = [2 * np.arange(-1, (n + 1) // 2 + 1) + 0.5 for n in shape]  # the maps are smooth: every second will do
        voxels = np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1).reshape(-1, 3)
        points = voxels @ affine[:3, :3].T + affine[:3, 3]
        shown = ((self.head.occupancy, self._in_head(points)), (self.atlas.occupancy, self._in_atlas(points)))
        return np.stack([_along(field, at.T.reshape(3, *map(len, nodes)), shape) for field, at in shown])

    def mirrored(self, points_mm: np.ndarray) -> np.ndarray:
        """Occupancy of the mirrored and bent skull at points (N, 3), patient mm: (N,)."""
        return ndimage.map_coordinates(
            self.head.occupancy, self._in_head(points_mm).T, order=1, mode="constant", cval=0.0
        )

    def _in_head(self, points_mm: np.ndarray) -> np.ndarray:
        """Where the mirrored points lie, voxels of the head (N, 3); far outside where the bend is out of its senses."""
        to_voxels = np.linalg.inv(self.head.affine)
        points = self.head.points(points_mm @ to_voxels[:3, :3].T + to_voxels[:3, 3])
        shift = cubic_terms(points) @ self.bend
        place = ((points + shift) * FLIP + self.head.centre_mm) / SPACING_MM
        place[np.linalg.norm(shift, axis=1) >= _FARTHEST_MM] = _FAR_OUT
        return place

    def _in_atlas(self, points_mm: np.ndarray) -> np.ndarray:
        to_voxels = np.linalg.inv(self.atlas.affine)
        return self.fit.map_points(points_mm) @ to_voxels[:3, :3].T + to_voxels[:3, 3]


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


def _along(field: np.ndarray, places: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """A field (I, J, K) in each voxel of a grid; places: (3, ...), its voxels, of the nodes that `within` lays."""
    nodes = torch.from_numpy(places.astype(np.float32))
    inside = tuple(slice(2, 2 + n) for n in shape)
    every = F.interpolate(nodes[None], scale_factor=2, mode="trilinear", align_corners=False)[0][:, *inside]
    size = torch.tensor(field.shape, dtype=torch.float32) - 1
    at = (2 * every.movedim(0, -1) / size - 1).flip(-1)  # grid_sample's way: -1 to 1, last axis first
    values = torch.from_numpy(np.ascontiguousarray(field, dtype=np.float32))
    return F.grid_sample(values[None, None], at[None], align_corners=True)[0, 0].numpy()
