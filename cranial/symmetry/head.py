"""How does a head stand before a mirror? On a grid along its mid-plane, with the distance from its bone everywhere."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cranial.resampling import bounding_box, sample
from cranial.symmetry.bone import checked, cover, lowest_slice, main_parts, signed_distance, without_slices
from cranial.symmetry.midplane import Midplane, find_midplane
from cranial.volume import Volume

SPACING_MM = 1.5
FLIP = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Head:
    """A skull on a grid of SPACING_MM whose first axis is the mid-plane's normal.

    Points (N, 3) are mm from the middle of the head along that grid's axes, so that FLIP mirrors them.
    """

    occupancy: np.ndarray  # (I, J, K) float32
    bone: np.ndarray  # (I, J, K) bool
    signed_mm: np.ndarray  # (I, J, K) float32, to the surface of the bone, negative inside
    affine: np.ndarray
    centre_mm: np.ndarray  # (3,) the middle of the head, from voxel 0
    length_mm: float  # of the vault, front to back

    def points(self, voxels: np.ndarray) -> np.ndarray:
        """Where voxels (N, 3) lie."""
        return voxels * SPACING_MM - self.centre_mm

    def at(self, field: np.ndarray, points: np.ndarray, *, order: int = 1) -> np.ndarray:
        """A field at points: (N,)."""
        index = (points + self.centre_mm).T / SPACING_MM
        return ndimage.map_coordinates(field, index, order=order, mode="nearest")


def lay_head(skull: Volume, *, midplane: Midplane | None = None) -> Head:
    """Lay the skull's grid along its mid-plane (None: searched for). Raises ValueError as find_midplane does."""
    midplane = midplane or find_midplane(skull)
    affine, shape = cover(skull, midplane.axes, SPACING_MM, about_mm=midplane.point_mm)
    occupancy = sample(skull.mask, skull.affine, shape, affine)
    bone = checked(main_parts(occupancy > 0.5), SPACING_MM, skull)
    low = lowest_slice(bone, SPACING_MM)
    bone, occupancy = bone[:, :, low:], occupancy[:, :, low:]
    # the vault is longest 35 to 85 mm below the vertex, and its middle is about half that length below it
    top = bounding_box(bone)[2].stop
    longest = bone[:, :, max(0, top - round(85 / SPACING_MM)) : max(1, top - round(35 / SPACING_MM))]
    rows = bounding_box(longest if longest.any() else bone)[1]
    length_mm = (rows.stop - rows.start) * SPACING_MM
    middle_vox = ((shape[0] - 1) / 2, (rows.start + rows.stop - 1) / 2, top - 0.47 * length_mm / SPACING_MM)
    return Head(
        occupancy=occupancy * main_parts(occupancy > 0.2),
        bone=bone,
        signed_mm=signed_distance(bone, SPACING_MM, 20.0),
        affine=without_slices(affine, low),
        centre_mm=np.array(middle_vox) * SPACING_MM,
        length_mm=length_mm,
    )
