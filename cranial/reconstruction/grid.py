"""The cube of n^3 voxels in which the network sees every head alike: upright, centred, symmetric about its middle.

One function lays the cube for training and for inference. Its x axis is the normal of the head's mid-plane, so the
mirror image of a head is the flipped array.
"""

from dataclasses import dataclass

import numpy as np

from ..resampling import sample
from ..symmetry import Midplane
from ..volume import Volume, thinned, to_lps

MARGIN = 0.09  # of the head's size, free on every side: a missing vertex must still fit
_FINE_MM, _COARSE_MM = 1.0, 3.0


@dataclass(frozen=True)
class HeadGrid:
    """n^3 voxels around a head; affine (4, 4): voxel index -> patient LPS mm."""

    side: int
    affine: np.ndarray

    @property
    def spacing_mm(self) -> float:
        """Edge of a voxel."""
        return float(np.linalg.norm(self.affine[:3, 0]))

    def at(self, side: int) -> "HeadGrid":
        """The same cube with another number of voxels."""
        scale = self.side / side
        affine = self.affine.copy()
        affine[:3, :3] *= scale
        affine[:3, 3] += self.affine[:3, :3] @ np.full(3, 0.5 * (scale - 1))
        return HeadGrid(side, affine)

    def occupancy(self, volume: Volume) -> np.ndarray:
        """Share of each voxel of the cube that the mask fills, float32 (n, n, n)."""
        return sample(volume.mask, volume.affine, (self.side,) * 3, self.affine)

    def share_outside(self, volume: Volume) -> float:
        """Share of the mask that lies outside the cube, to a thousandth or so: what no network on it can propose."""
        volume = thinned(volume, spacing_mm=_FINE_MM)
        index = np.argwhere(volume.mask)
        if not len(index):
            return 0.0
        place = (volume.voxel_to_mm(index) - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T
        return float(np.mean(np.any((place < -0.5) | (place > self.side - 0.5), axis=1)))


def lay_grid(defective: Volume, side: int, *, midplane: Midplane | None = None) -> HeadGrid:
    """Lay the cube around a defective (or complete) skull.

    The cube's middle lies on the mid-plane (None: searched for), midway between front and back, below the vertex by
    the margin; its edge is the largest of length, breadth and height, plus the margin on both sides. What hangs
    further below the vertex than the head is long (jaw, neck) falls out of it.
    Raises ValueError for an empty mask.
    """
    if not defective.mask.any():
        raise ValueError("the skull's mask is empty; there is nothing to reconstruct from")
    if midplane is None:
        from ..symmetry import find_midplane

        midplane = find_midplane(defective)
    left = np.asarray(midplane.normal_mm, float)
    back = np.array([0.0, 1.0, 0.0]) - left[1] * left
    back /= np.linalg.norm(back)
    axes = np.stack([left, back, np.cross(left, back)], axis=1)  # columns: patient's left, back, top
    points = _bone_points(defective) @ axes
    top = np.percentile(points[:, 2], 99.95)
    length = np.ptp(np.percentile(points[:, 1], [0.05, 99.95]))
    points = points[points[:, 2] > top - length]
    front, rear = np.percentile(points[:, 1], [0.05, 99.95])
    middle = float(left @ np.asarray(midplane.point_mm))
    breadth = 2 * np.percentile(np.abs(points[:, 0] - middle), 99.9)
    height = top - np.percentile(points[:, 2], 0.05)
    edge = max(rear - front, breadth, height) * (1 + 2 * MARGIN)
    centre = np.array([middle, 0.5 * (front + rear), top + edge * MARGIN / (1 + 2 * MARGIN) - 0.5 * edge])
    spacing = edge / side
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = axes @ (centre - 0.5 * (side - 1) * spacing)
    return HeadGrid(side, affine)


def _bone_points(volume: Volume) -> np.ndarray:
    """Centres of the blocks of about 3 mm that hold bone, (N, 3) LPS mm."""
    lps = to_lps(volume)
    blocks = np.maximum(1, np.rint(_COARSE_MM / np.asarray(lps.spacing_mm)).astype(int))
    mask = lps.mask
    for axis, block in enumerate(blocks):
        mask = np.logical_or.reduceat(mask, np.arange(0, mask.shape[axis], block), axis=axis)
    return lps.voxel_to_mm(np.argwhere(mask) * blocks + 0.5 * (blocks - 1))
