"""Distances between the surfaces of two masks: every surface voxel of one to the nearest of the other, in mm.

Surface: the mask minus its 6-connected erosion; what lies outside the volume is background, so a mask cut by the
border of the scan has a surface there. Nearest: exact Euclidean distance between voxel centres, equal to the bit to
scipy's distance_transform_edt, found in two passes (Saito & Toriwaki 1994, Pattern Recognition 27:1551): along the
middle axis for the whole box at once, then across the two others only where somebody asks, and only as far as the
nearest surface may be. This is the voxel-surface convention of MedPy, of the AutoImplant challenge and of MONAI.

google-deepmind/surface-distance differs: its surface elements sit on voxel corners, where 2 x 2 x 2 neighbours are
mixed, so a wall one voxel thick has two sides there and one here; it weights each by its area in mm^2 (here every
surface voxel counts 1); its percentile takes an element without interpolating, and the larger of both directions;
empty masks give inf and nan. Both agree on the distance between surfaces that are parallel translates of each
other, and to a fraction of a voxel on smooth shapes (tests/test_metrics.py measures it).
"""

from dataclasses import dataclass

import numba
import numpy as np

Spacing = tuple[float, float, float]
Box = tuple[slice, slice, slice]

FAR = 65535  # no surface along this column


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Both directed sets of distances, mm, one entry a surface voxel. `diagonal_mm` of the whole volume.

    Empty masks: if one is empty, all surface of the other is a diagonal away, no surface agrees (surface Dice 0);
    if both are, there is nothing to miss: distances 0, surface Dice 1.
    """

    predicted_to_reference_mm: np.ndarray  # (surface voxels of predicted,)
    reference_to_predicted_mm: np.ndarray  # (surface voxels of reference,)
    diagonal_mm: float

    @property
    def pooled_mm(self) -> np.ndarray:
        """Both sets in one."""
        return np.concatenate([self.predicted_to_reference_mm, self.reference_to_predicted_mm])

    @property
    def directed_mm(self) -> tuple[np.ndarray, ...]:
        """Those of the two sets that have entries."""
        return tuple(each for each in (self.predicted_to_reference_mm, self.reference_to_predicted_mm) if len(each))

    def hausdorff_mm(self, percentile: float = 95.0) -> float:
        """Percentile of the pooled distances: HD95 of MedPy and the AutoImplant challenge; 100 is Hausdorff's own."""
        return float(np.percentile(self.pooled_mm, percentile)) if self.directed_mm else 0.0

    def hausdorff_monai_mm(self, percentile: float = 95.0) -> float:
        """The larger of the two directed percentiles: MONAI's compute_hausdorff_distance(percentile=...)."""
        return max((float(np.percentile(each, percentile)) for each in self.directed_mm), default=0.0)

    def surface_dice(self, tolerance_mm: float) -> float:
        """Share of both surfaces, in voxels, that is at most `tolerance_mm` from the other (Nikolov et al. 2018)."""
        if len(self.directed_mm) < 2:
            return 0.0 if self.directed_mm else 1.0
        return float(np.count_nonzero(self.pooled_mm <= _reaching(tolerance_mm)) / len(self.pooled_mm))

    def mean_mm(self) -> float:
        """Mean of the pooled distances: MONAI's compute_average_surface_distance(symmetric=True)."""
        return float(self.pooled_mm.mean()) if self.directed_mm else 0.0

    def mean_of_means_mm(self) -> float:
        """Mean of the two directed means, so that the smaller surface counts as much: MedPy's assd."""
        return float(np.mean([each.mean() for each in self.directed_mm])) if self.directed_mm else 0.0


def surface_distances(
    predicted: np.ndarray, reference: np.ndarray, spacing_mm: Spacing, *, diagonal_mm: float | None = None
) -> SurfaceDistances:
    """All distances between two masks, bool (I, J, K), once; the metrics are methods of the result.

    spacing_mm: voxel side along I, J, K. diagonal_mm: of the whole volume, where the masks are only a crop of it.
    Raises ValueError for masks that are not bool or differ in shape, and for a spacing that is not positive.
    """
    check_masks(spacing_mm, predicted=predicted, reference=reference)
    if diagonal_mm is None:
        diagonal_mm = diagonal(predicted.shape, spacing_mm)
    predicted, reference, spacing_mm = _in_memory_order(predicted, reference, spacing_mm)
    box = union_box(predicted, reference)
    surfaces = [surface(mask[box]) for mask in (predicted, reference)]
    voxels = [np.flatnonzero(each) for each in surfaces]
    if not all(map(len, voxels)):
        return SurfaceDistances(*(np.full(len(each), diagonal_mm) for each in voxels), diagonal_mm)
    return SurfaceDistances(
        _nearest_mm(surfaces[1], voxels[0], spacing_mm), _nearest_mm(surfaces[0], voxels[1], spacing_mm), diagonal_mm
    )


def surface(mask: np.ndarray) -> np.ndarray:
    """The voxels of `mask`, bool (I, J, K), with a face on the background or on the border of the array."""
    padded = np.pad(mask, 1)
    flat = padded.ravel()  # a neighbour is a constant step away, and whole-array steps are quick
    inside = flat.copy()
    for stride in padded.strides:
        inside[stride:] &= flat[:-stride]
        inside[:-stride] &= flat[stride:]
    return mask & ~inside.reshape(padded.shape)[1:-1, 1:-1, 1:-1]


def count_within(
    first: np.ndarray, second: np.ndarray, target: np.ndarray, spacing_mm: Spacing, *, within_mm: float
) -> tuple[int, int, int]:
    """Voxels of `first`, of `second` and of both at once that are at most `within_mm` from `target`, all bool (I, J, K).

    The voxels of `target` itself are at distance 0.
    """
    first, second, spacing_mm, target = _in_memory_order(first, second, spacing_mm, target)
    margin_vox = [int(within_mm / side) + 1 for side in spacing_mm]
    box = grow(union_box(first, second), margin_vox, target.shape)
    first, second, target = (np.ascontiguousarray(mask[box]) for mask in (first, second, target))
    asked = np.flatnonzero(first | second)
    within_mm2 = _reaching(within_mm) ** 2
    beyond_mm2 = within_mm2 * (1 + 1e-9)
    found_mm2 = _nearest_squared(*_columns(target), asked, np.array(spacing_mm), beyond_mm2, within_mm2)
    asked = asked[found_mm2 <= within_mm2]
    in_first, in_second = first.ravel()[asked], second.ravel()[asked]
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
    """Length of the volume's diagonal, mm: the distance that an empty mask is given."""
    return float(np.linalg.norm(np.multiply(shape, spacing_mm)))


def check_masks(spacing_mm: Spacing, **masks: np.ndarray) -> None:
    """Raise ValueError unless all masks are bool (I, J, K) of one shape and the spacing is three positive numbers."""
    first_name, first = next(iter(masks.items()))
    for name, mask in masks.items():
        if mask.dtype != bool or mask.ndim != 3:
            raise ValueError(f"{name} is {mask.dtype} of shape {mask.shape}; a mask is bool (I, J, K): pass {name} > 0.5")
        if mask.shape != first.shape:
            raise ValueError(
                f"{name} has shape {mask.shape}, {first_name} {first.shape}; bring one onto the other's grid with "
                "volume.resample(moving, like=fixed)"
            )
    if len(spacing_mm) != 3 or not all(np.isfinite(side) and side > 0 for side in spacing_mm):
        raise ValueError(f"spacing_mm is {tuple(spacing_mm)}; give three voxel sides in mm, each finite and above 0")
    if diagonal(first.shape, spacing_mm) >= FAR * min(spacing_mm):
        raise ValueError(
            f"the volume is {diagonal(first.shape, spacing_mm):g} mm across, over {FAR} voxels of {min(spacing_mm):g} mm; "
            "crop it or check the spacing"
        )


def _reaching(distance_mm: float) -> float:
    # 0.4 * 7 and 0.4 * 24 make a hypotenuse of 10.000000000000002: a distance that equals the limit is within it
    return distance_mm * (1 + 1e-9)


def _in_memory_order(first: np.ndarray, second: np.ndarray, spacing_mm: Spacing, *more: np.ndarray) -> tuple:
    """The same masks seen with the fastest axis last (NRRD readers give it first); distances do not mind."""
    order = sorted(range(3), key=lambda axis: -abs(first.strides[axis]))
    masks = [mask.transpose(order) for mask in (first, second, *more)]
    return *masks[:2], tuple(float(spacing_mm[axis]) for axis in order), *masks[2:]


def _box(mask: np.ndarray) -> Box | None:
    planes = np.flatnonzero(mask.any(axis=(1, 2)))
    if not len(planes):
        return None
    flat = mask[planes[0] : planes[-1] + 1].any(axis=0)  # one pass over the volume, the rest over what is left
    ends = [planes, np.flatnonzero(flat.any(axis=1)), np.flatnonzero(flat.any(axis=0))]
    return tuple(slice(int(each[0]), int(each[-1]) + 1) for each in ends)


def _nearest_mm(sites: np.ndarray, asked: np.ndarray, spacing_mm: Spacing) -> np.ndarray:
    """Distance (N,) in mm from the voxels `asked` (N,), flat indices, to the nearest True of `sites`."""
    return np.sqrt(_nearest_squared(*_columns(sites), asked, np.array(spacing_mm), np.inf, 0.0))


@numba.njit(cache=True, nogil=True)
def _columns(sites):
    """Voxels to the nearest site along axis 1, uint16 (I, J, K), FAR if there is none; and its minimum along K."""
    size_i, size_j, size_k = sites.shape
    steps = np.empty(sites.shape, np.uint16)
    lowest = np.empty((size_i, size_j), np.uint16)
    far, one = np.uint16(FAR), np.uint16(1)
    for i in range(size_i):
        for k in range(size_k):
            steps[i, 0, k] = np.uint16(0) if sites[i, 0, k] else far
        for j in range(1, size_j):
            for k in range(size_k):
                onward = np.uint16(min(steps[i, j - 1, k], np.uint16(far - one)) + one)
                steps[i, j, k] = np.uint16(0) if sites[i, j, k] else onward
        for j in range(size_j - 2, -1, -1):
            for k in range(size_k):
                onward = np.uint16(min(steps[i, j + 1, k], np.uint16(far - one)) + one)
                steps[i, j, k] = min(steps[i, j, k], onward)
        for j in range(size_j):
            least = far
            for k in range(size_k):
                least = min(least, steps[i, j, k])
            lowest[i, j] = least
    return steps, lowest


@numba.njit(cache=True, nogil=True)
def _nearest_squared(columns, lowest, asked, spacing_mm, limit_mm2, enough_mm2):
    """Squared mm (N,) from each voxel of `asked` (N,), sorted flat indices, to the nearest site.

    `limit_mm2` where no site is nearer; any value up to `enough_mm2` where one is at most so far.
    """
    size_i, size_j, size_k = columns.shape
    side_i, side_j, side_k = spacing_mm
    squared_mm2 = np.empty(len(asked))
    row = np.empty(size_k)  # squared distance to the nearest site of equal k
    start = 0
    while start < len(asked):
        line = asked[start] // size_k
        i, j, origin = line // size_j, line % size_j, line * size_k
        stop = start + 1
        while stop < len(asked) and asked[stop] < origin + size_k:
            stop += 1
        row[:] = limit_mm2
        worst = limit_mm2
        for step in range(size_i):  # outwards from plane i
            across = (step * side_i) ** 2
            if across >= worst:
                break
            for plane in (i - step, i + step):
                if plane < 0 or plane >= size_i or (step == 0 and plane > i):
                    continue
                if across + (lowest[plane, j] * side_j) ** 2 >= worst:
                    continue
                for k in range(size_k):
                    row[k] = min(row[k], across + (np.int32(columns[plane, j, k]) * side_j) ** 2)
            worst = 0.0
            for n in range(start, stop):
                found = row[asked[n] - origin]
                if found > enough_mm2:
                    worst = max(worst, found)
        for n in range(start, stop):
            k = asked[n] - origin
            best = row[k]
            for step in range(1, size_k):
                along = (step * side_k) ** 2
                if along >= best or best <= enough_mm2:
                    break
                if k >= step:
                    best = min(best, row[k - step] + along)
                if k + step < size_k:
                    best = min(best, row[k + step] + along)
            squared_mm2[n] = best
        start = stop
    return squared_mm2
