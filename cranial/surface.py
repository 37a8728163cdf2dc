"""Distances between the surfaces of two masks: from each surface voxel to the nearest of the other, in mm.

Surface: the mask minus its 6-connected erosion. What lies outside the volume is background, so a mask cut by
the border of the scan has a surface there. Distances run between voxel centres and every surface voxel counts
once: the voxel-surface convention of MedPy, of the AutoImplant challenge's code and of MONAI.

google-deepmind/surface-distance has another one. Its surface elements sit on the corners that voxels of both
kinds share, so a wall one voxel thick has two sides there and one here; each counts by its area in mm^2; its
percentile is an element, not interpolated, and the larger of both directions; an empty mask gives inf or nan.
The two agree exactly on the Hausdorff distance of boxes; on smooth shapes its corners, in two layers, lie
denser and read up to half a voxel less (a test measures both).
"""

from dataclasses import dataclass

import numpy as np

from cranial.nearest import FAR, nearest_squared

Spacing = tuple[float, float, float]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Both directed sets of distances in mm, one entry a surface voxel, and every metric made of them.

    Empty masks: if one is empty, each surface voxel of the other is a volume diagonal away and none agrees
    (surface Dice 0). If both are, there is nothing to miss: distances 0, surface Dice 1.
    """

    predicted_to_reference_mm: np.ndarray  # (surface voxels of predicted,)
    reference_to_predicted_mm: np.ndarray  # (surface voxels of reference,)
    diagonal_mm: float  # of the whole volume

    @property
    def pooled_mm(self) -> np.ndarray:
        """Both sets in one."""
        return np.concatenate([self.predicted_to_reference_mm, self.reference_to_predicted_mm])

    @property
    def directed_mm(self) -> tuple[np.ndarray, ...]:
        """Those of the two sets that have entries."""
        both = (self.predicted_to_reference_mm, self.reference_to_predicted_mm)
        return tuple(directed for directed in both if len(directed))

    def hausdorff_mm(self, percentile: float = 95.0) -> float:
        """Percentile of the pooled distances: HD95 of MedPy and the AutoImplant challenge."""
        return float(np.percentile(self.pooled_mm, percentile)) if self.directed_mm else 0.0

    def hausdorff_monai_mm(self, percentile: float = 95.0) -> float:
        """The larger of the two directed percentiles: MONAI's compute_hausdorff_distance(percentile=...)."""
        return max((float(np.percentile(directed, percentile)) for directed in self.directed_mm), default=0.0)

    def surface_dice(self, tolerance_mm: float) -> float:
        """Share of the surface voxels of both that are at most `tolerance_mm` from the other surface.

        After Nikolov et al. 2018 (arXiv:1809.04430), who weight them by area; MONAI's compute_surface_dice.
        """
        if len(self.directed_mm) < 2:
            return 0.0 if self.directed_mm else 1.0
        return float(np.mean(self.pooled_mm <= reaching(tolerance_mm)))

    def mean_mm(self) -> float:
        """Mean of the pooled distances: MONAI's compute_average_surface_distance(symmetric=True)."""
        return float(self.pooled_mm.mean()) if self.directed_mm else 0.0

    def mean_of_means_mm(self) -> float:
        """Mean of the two directed means, so that the smaller surface counts as much: MedPy's assd."""
        return float(np.mean([directed.mean() for directed in self.directed_mm])) if self.directed_mm else 0.0


def surface_distances(
    predicted: np.ndarray, reference: np.ndarray, spacing_mm: Spacing, *, diagonal_mm: float | None = None
) -> SurfaceDistances:
    """All distances between two masks, bool (I, J, K), once; the metrics are methods of the result.

    spacing_mm: voxel side along I, J, K. diagonal_mm: of the whole volume, where the masks are a crop of it.
    Raises ValueError for masks that are not bool or differ in shape, and for a spacing that is not positive.
    """
    check_masks(spacing_mm, predicted=predicted, reference=reference)
    if diagonal_mm is None:
        diagonal_mm = diagonal(predicted.shape, spacing_mm)
    order = _memory_order(predicted)  # distances do not mind
    sides_mm = np.array(spacing_mm, dtype=np.float64)[order]
    box = union_box(predicted, reference)
    ours, theirs = (surface(mask[box].transpose(order)) for mask in (predicted, reference))
    from_ours, from_theirs = np.flatnonzero(ours), np.flatnonzero(theirs)
    if not (len(from_ours) and len(from_theirs)):
        return SurfaceDistances(*(np.full(len(each), diagonal_mm) for each in (from_ours, from_theirs)), diagonal_mm)
    return SurfaceDistances(
        np.sqrt(nearest_squared(theirs, from_ours, sides_mm, limit_mm2=np.inf)),
        np.sqrt(nearest_squared(ours, from_theirs, sides_mm, limit_mm2=np.inf)),
        diagonal_mm,
    )


def surface(mask: np.ndarray) -> np.ndarray:
    """The voxels of `mask`, bool (I, J, K), with a face on the background or on the border of the array."""
    padded = np.zeros([size + 2 for size in mask.shape], dtype=bool)
    padded[1:-1, 1:-1, 1:-1] = mask
    flat = padded.ravel()  # a neighbour is a constant step away, and steps over the whole array are quick
    inside = flat.copy()
    for stride in padded.strides:
        inside[stride:] &= flat[:-stride]
        inside[:-stride] &= flat[stride:]
    return mask & ~inside.reshape(padded.shape)[1:-1, 1:-1, 1:-1]


def count_within(
    first: np.ndarray, second: np.ndarray, target: np.ndarray, spacing_mm: Spacing, *, within_mm: float
) -> tuple[int, int, int]:
    """How many voxels of `first`, of `second` and of their overlap are at most `within_mm` from `target`.

    All three are bool (I, J, K); voxels inside `target` are 0 mm from it.
    """
    order = _memory_order(first)
    margin_vox = [int(within_mm / side) + 1 for side in spacing_mm]
    box = grow(union_box(first, second), margin_vox, target.shape)
    first, second, target = (np.ascontiguousarray(each[box].transpose(order)) for each in (first, second, target))
    asked = np.flatnonzero(first | second)
    limit_mm2 = reaching(within_mm) ** 2
    found_mm2 = nearest_squared(
        target,
        asked,
        np.array(spacing_mm, dtype=np.float64)[order],
        limit_mm2=np.nextafter(limit_mm2, np.inf),
        enough_mm2=limit_mm2,
    )
    near = asked[found_mm2 <= limit_mm2]
    in_first, in_second = first.ravel()[near], second.ravel()[near]
    return tuple(int(np.count_nonzero(each)) for each in (in_first, in_second, in_first & in_second))


def union_box(first: np.ndarray, second: np.ndarray) -> Box:
    """The smallest box that holds every voxel of two masks (I, J, K); of size 0 if both are empty."""
    boxes = [box for box in map(_box, (first, second)) if box is not None]
    if not boxes:
        return (slice(0, 0),) * 3
    return tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*boxes, strict=True))


def grow(box: Box, margin_vox: list[int], shape: tuple[int, ...]) -> Box:
    """`box` with a margin on either side of each axis, cut at the border of the volume."""
    return tuple(
        slice(max(0, side.start - margin), min(size, side.stop + margin))
        for side, margin, size in zip(box, margin_vox, shape, strict=True)
    )


def diagonal(shape: tuple[int, ...], spacing_mm: Spacing) -> float:
    """Length of the volume's diagonal in mm: how far away an empty mask is taken to be."""
    return float(np.linalg.norm(np.multiply(shape, spacing_mm)))


def reaching(distance_mm: float) -> float:
    """`distance_mm` and room for rounding, so that what is exactly that far away is within it."""
    return distance_mm * (1 + 1e-9)  # 7 and 24 voxels of 0.4 mm make 10 mm, in floats 10.000000000000002


def check_masks(spacing_mm: Spacing, **masks: np.ndarray) -> None:
    """Raise ValueError unless the masks are bool (I, J, K) of one shape and the spacing three lengths."""
    first_name, first = next(iter(masks.items()))
    for name, mask in masks.items():
        if mask.dtype != bool or mask.ndim != 3:
            raise ValueError(f"{name} is {mask.dtype} of shape {mask.shape}, not bool (I, J, K): pass {name} > 0")
        if mask.shape != first.shape:
            raise ValueError(
                f"{name} has shape {mask.shape}, {first_name} {first.shape}; bring both onto one grid with "
                "volume.resample(moving, like=fixed)"
            )
    if len(spacing_mm) != 3 or not all(np.isfinite(side) and side > 0 for side in spacing_mm):
        raise ValueError(f"spacing_mm is {tuple(spacing_mm)}; give three voxel sides in mm, finite and above 0")
    across_mm = diagonal(first.shape, spacing_mm)
    if across_mm >= FAR * min(spacing_mm):
        raise ValueError(
            f"the volume is {across_mm:g} mm across, its smallest voxel side {min(spacing_mm):g} mm, beyond "
            f"{FAR} to one; crop the volume or correct the spacing"
        )


def _memory_order(mask: np.ndarray) -> list[int]:
    """The axes, the fastest last; readers of NRRD and NIfTI give it first."""
    return sorted(range(3), key=lambda axis: -abs(mask.strides[axis]))


def _box(mask: np.ndarray) -> Box | None:
    order = _memory_order(mask)
    mask = mask.transpose(order)
    planes = np.flatnonzero(mask.any(axis=(1, 2)))
    if not len(planes):
        return None
    flat = mask[planes[0] : planes[-1] + 1].any(axis=0)  # one pass over the volume; the rest is over a plane
    ends = [planes, np.flatnonzero(flat.any(axis=1)), np.flatnonzero(flat.any(axis=0))]
    return tuple(slice(int(ends[n][0]), int(ends[n][-1]) + 1) for n in map(order.index, range(3)))
