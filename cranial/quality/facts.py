"""What is this case like? Its volumes, how the defect meets the bone, in how many pieces both are, how thick."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
from scipy import ndimage

from ..nearest import nearest_squared
from ..surface import Spacing, check_masks, grow, surface, union_box

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_REACH_MM = 16.0  # bone up to twice as thick is measured, and no more than this looked at around a defect
_CUBE = np.ones((3, 3, 3), bool)


@dataclass(frozen=True)
class Facts:
    """One case. An empty defect has 0 of everything."""

    skull_mm3: float  # the complete skull
    defect_mm3: float
    contact: float  # share of the defect's surface voxels that have a face on bone
    skull_pieces: int  # of the complete skull, 26-connected
    defect_pieces: int
    thickness_mm: float  # of the bone at the defect: see thickness_mm

    def as_dict(self) -> dict[str, float | int]:
        """The fields by name, for JSON and tables."""
        return asdict(self)


FACTS = tuple(field.name for field in fields(Facts))


def facts(case: np.ndarray, spacing_mm: Spacing) -> Facts:
    """The facts of a case, bool (2, I, J, K), defective skull and defect. ValueError as surface.check_masks."""
    defective, defect = case
    check_masks(spacing_mm, defective=defective, defect=defect)
    complete, voxel_mm3 = defective | defect, float(np.prod(spacing_mm))
    return Facts(
        skull_mm3=int(np.count_nonzero(complete)) * voxel_mm3,
        defect_mm3=int(np.count_nonzero(defect)) * voxel_mm3,
        contact=contact(defective, defect),
        skull_pieces=_pieces(complete),
        defect_pieces=_pieces(defect),
        thickness_mm=thickness_mm(complete, defect, spacing_mm),
    )


def contact(defective: np.ndarray, defect: np.ndarray) -> float:
    """Share of the defect's surface voxels with a face on bone, masks bool (I, J, K); 0 without a defect."""
    box = grow(union_box(defect, defect), [1, 1, 1], defect.shape)
    shell = surface(np.ascontiguousarray(defect[box]))
    beside = ndimage.binary_dilation(defective[box])
    return float(np.count_nonzero(shell & beside) / max(1, np.count_nonzero(shell)))


def thickness_mm(bone: np.ndarray, part: np.ndarray, spacing_mm: Spacing) -> float:
    """How thick `bone` is within `part` of it, bool (I, J, K): the median over its ridge; 0 if the part is empty.

    On the ridge, where no voxel around is deeper in the bone, thickness is twice the depth. The rim of the part is no
    surface of the bone. Depths are those of half voxels, so that walls of an even and of an odd number of voxels both
    have a middle: exact for slabs along an axis, within a third of a voxel for slabs at any angle. At most 32 mm. Of a
    part that does not reach the ridge, it is twice the greatest depth.
    """
    if not part.any():
        return 0.0
    sides_mm = np.array(spacing_mm, np.float64)
    box = grow(union_box(part, part), [int(_REACH_MM / side) + 1 for side in spacing_mm], part.shape)
    bone, part = (np.pad(mask[box], 1) for mask in (bone, part))
    asked = np.flatnonzero(bone & ndimage.binary_dilation(part, _CUBE))
    depth = np.zeros(bone.shape)
    depth.ravel()[asked] = nearest_squared(~bone, asked, sides_mm, limit_mm2=_REACH_MM**2)
    ridge = part & (depth >= ndimage.maximum_filter(depth, 3))
    if not ridge.any():
        ridge = part & (depth == depth[part].max())
    halves = np.flatnonzero(_doubled(ridge))
    depths_mm = np.sqrt(nearest_squared(~_doubled(bone), halves, sides_mm / 2, limit_mm2=_REACH_MM**2))
    i, j, k = np.unravel_index(halves, [2 * size for size in bone.shape])
    voxel = np.ravel_multi_index((i // 2, j // 2, k // 2), bone.shape)
    deepest_mm = np.zeros(np.count_nonzero(ridge))
    np.maximum.at(deepest_mm, np.searchsorted(np.flatnonzero(ridge), voxel), depths_mm)
    return float(2 * np.median(deepest_mm))


def summary(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Mean and quantiles by name, for JSON."""
    values = np.asarray(values, np.float64)
    levels = {f"q{100 * level:02.0f}": float(value)
              for level, value in zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)}
    return {"mean": float(values.mean()), **levels}


def _pieces(mask: np.ndarray) -> int:
    return int(ndimage.label(mask[union_box(mask, mask)], _CUBE)[1]) if mask.any() else 0


def _doubled(mask: np.ndarray) -> np.ndarray:
    return mask.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
