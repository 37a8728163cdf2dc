"""One rule from grid to grid: a target voxel gets the mean of the source within it (at least a voxel of it).

Along each axis the weight of source voxel j is its overlap with a box around the target's centre, as wide as
the larger of the two voxels. So onto coarser grids it is the exact occupancy, onto finer ones linear
interpolation, onto the same one the identity. Outside the source is 0. Work goes slab by slab; only the
mask's bounding box is visited.
"""

from collections.abc import Iterator

import numpy as np

# two grids are one where no voxel is off by more than this share of a voxel (NIfTI stores float32)
GRID_TOLERANCE_VOX = 0.01
_SLAB_SAMPLES = 2**24
_HALF = 0.5 - 1e-5  # rounding must not empty a voxel that is exactly half full

Slices = tuple[slice, slice, slice]


def sample(field: np.ndarray, affine: np.ndarray, shape: tuple[int, int, int], onto: np.ndarray) -> np.ndarray:
    """Values of `field` (I, J, K), mask or float, with `affine`, on the grid (`shape`, `onto`), float32.

    For a mask that is occupancy, the share of each target voxel that is filled.
    """
    values = np.zeros(shape, dtype=np.float32)
    for place, slab in _slabs(field, affine, shape, onto):
        values[place] = slab
    return values


def sample_mask(field: np.ndarray, affine: np.ndarray, shape: tuple[int, int, int], onto: np.ndarray) -> np.ndarray:
    """sample(...) >= 1/2 without the float volume, bool; `field` may be a mask or a probability."""
    mask = np.zeros(shape, dtype=bool, order="F")  # as files are: x fastest
    for place, slab in _slabs(field, affine, shape, onto):
        mask[place] = slab if slab.dtype == bool else slab >= _HALF
    return mask


def same_grid(shape: tuple[int, ...], affine: np.ndarray, other_shape: tuple[int, ...], other: np.ndarray) -> bool:
    """Whether both grids have the same voxels at the same places, within GRID_TOLERANCE_VOX."""
    if tuple(shape) != tuple(other_shape):
        return False
    drift = np.linalg.inv(other) @ affine - np.eye(4)
    return bool(np.abs(drift[:3]) @ (*shape, 1) @ np.ones(3) < GRID_TOLERANCE_VOX)


def bounding_box(field: np.ndarray) -> Slices | None:
    """The smallest box of slices that holds every non-zero voxel, None if there is none."""
    box = []
    for axis in range(3):
        occupied = np.flatnonzero(field.any(axis=tuple(other for other in range(3) if other != axis)))
        if not len(occupied):
            return None
        box.append(slice(int(occupied[0]), int(occupied[-1]) + 1))
    return tuple(box)


def widened(box: Slices, more: np.ndarray, shape: tuple[int, ...]) -> Slices:
    """A box with `more` (3,) voxels around it, as far as a volume of this shape goes."""
    edges = zip(box, more, shape, strict=True)
    return tuple(slice(max(0, int(part.start - n)), min(edge, int(part.stop + n))) for part, n, edge in edges)


def box_affine(affine: np.ndarray, box: Slices) -> np.ndarray:
    """The affine (4, 4) of a box of a grid."""
    result = affine.copy()
    result[:3, 3] += result[:3, :3] @ np.array([part.start for part in box], float)
    return result


def _slabs(
    field: np.ndarray, affine: np.ndarray, shape: tuple[int, int, int], onto: np.ndarray
) -> Iterator[tuple[Slices, np.ndarray]]:
    """(place, values) that together cover everything of the target that is not 0."""
    box = bounding_box(field)
    if box is None:
        return
    to_source = np.linalg.inv(affine) @ onto  # target voxel -> source voxel
    linear = to_source[:3, :3]
    source_axes = tuple(int(axis) for axis in np.abs(linear).argmax(axis=0))  # of each target axis
    across = np.abs(linear)
    across[source_axes, range(3)] = 0
    if sorted(source_axes) != [0, 1, 2] or (across @ shape).max() > GRID_TOLERANCE_VOX:
        yield from _oblique(field, box, to_source, shape)
        return
    turned = field.transpose(source_axes)
    steps = [float(linear[axis, target]) for target, axis in enumerate(source_axes)]
    starts = [float(to_source[axis, 3]) for axis in source_axes]
    exact = [_exact(step, start, size) for step, start, size in zip(steps, starts, shape, strict=True)]
    if all(exact):
        yield from _copied(turned, steps, starts, shape)
    else:
        yield from _aligned(turned, [box[axis] for axis in source_axes], steps, starts, shape)


def _exact(step: float, start: float, size: int) -> bool:
    return abs(abs(step) - 1) * size + abs(start - round(start)) < GRID_TOLERANCE_VOX


def _copied(
    turned: np.ndarray, steps: list[float], starts: list[float], shape: tuple[int, int, int]
) -> Iterator[tuple[Slices, np.ndarray]]:
    """Voxels coincide: flip, crop and pad without touching a value."""
    here, there = [], []
    for step, start, size, length in zip(steps, starts, shape, turned.shape, strict=True):
        source = round(start) + round(step) * np.arange(size)
        inside = np.flatnonzero((source >= 0) & (source < length))
        if not len(inside):
            return
        here.append(slice(int(inside[0]), int(inside[-1]) + 1))
        first, last = int(source[inside[0]]), int(source[inside[-1]])
        there.append(slice(first, last + 1) if step > 0 else slice(first, last - 1 if last else None, -1))
    yield tuple(here), turned[tuple(there)]


def _aligned(
    turned: np.ndarray, box: list[slice], steps: list[float], starts: list[float], shape: tuple[int, int, int]
) -> Iterator[tuple[Slices, np.ndarray]]:
    """Axes are parallel: the mean is separable, one sparse matrix (target, source) an axis."""
    weights = [_overlaps(*numbers) for numbers in zip(box, steps, starts, shape, strict=True)]
    reached = []
    for matrix in weights:
        rows = np.flatnonzero(np.diff(matrix.indptr))
        if not len(rows):
            return
        reached.append(slice(int(rows[0]), int(rows[-1]) + 1))
    along_x, along_y, along_z = (matrix[rows] for matrix, rows in zip(weights, reached, strict=True))
    block = turned[tuple(box)]
    size_x, size_y, _ = block.shape
    depth = max(1, _SLAB_SAMPLES // max(size_x * size_y, along_x.shape[0] * along_y.shape[0]))
    if abs(steps[2]) > 1:
        depth = max(1, int(depth / abs(steps[2])))
    for start in range(0, along_z.shape[0], depth):
        rows = along_z[start : start + depth]
        first, last = int(rows.indices.min()), int(rows.indices.max()) + 1
        slices = np.ascontiguousarray(block[:, :, first:last].transpose(2, 0, 1), dtype=np.float32)
        slab = (rows[:, first:last] @ slices.reshape(last - first, -1)).reshape(-1, size_x, size_y)
        depth_here = len(slab)
        slab = along_x @ slab.transpose(1, 0, 2).reshape(size_x, -1)
        slab = slab.reshape(-1, depth_here, size_y).transpose(2, 0, 1).reshape(size_y, -1)
        slab = (along_y @ slab).reshape(along_y.shape[0], along_x.shape[0], depth_here)
        low = reached[2].start + start
        yield (reached[0], reached[1], slice(low, low + depth_here)), slab.transpose(1, 0, 2)


def _overlaps(box: slice, step: float, start: float, size: int):
    """CSR (size, box): share of each target voxel's interval that each source voxel covers."""
    from scipy.sparse import csr_array

    width = max(abs(step), 1.0)
    centre = start + step * np.arange(size)
    first = np.floor(centre - width / 2 + 0.5).astype(np.int64)
    source = first[:, None] + np.arange(int(np.ceil(width)) + 1)
    low = np.maximum(source - 0.5, (centre - width / 2)[:, None])
    high = np.minimum(source + 0.5, (centre + width / 2)[:, None])
    overlap = np.clip(high - low, 0, None) / width
    keep = (overlap > 1e-9) & (source >= box.start) & (source < box.stop)
    rows = np.broadcast_to(np.arange(size)[:, None], source.shape)
    entries = (overlap[keep].astype(np.float32), (rows[keep], source[keep] - box.start))
    return csr_array(entries, shape=(size, box.stop - box.start))


def _oblique(
    field: np.ndarray, box: Slices, to_source: np.ndarray, shape: tuple[int, int, int]
) -> Iterator[tuple[Slices, np.ndarray]]:
    """Axes are turned: linear interpolation at source resolution, averaged over each target voxel.

    A source finer than half a target voxel is first averaged to half a target voxel, along its own axes.
    """
    from cranial.interpolation import interpolate

    linear, offset = to_source[:3, :3], to_source[:3, 3]
    shrink = np.maximum(np.linalg.norm(linear, axis=1) / 2, 1)
    if shrink.max() > 1:
        shrunk = np.diag((*shrink, 1.0))  # voxel of the averaged field -> source voxel
        shrunk[:3, 3] = [part.start - 0.5 + factor / 2 for part, factor in zip(box, shrink, strict=True)]
        sizes = tuple(int(np.ceil((part.stop - part.start) / factor)) for part, factor in zip(box, shrink, strict=True))
        field, box = sample(field, np.eye(4), sizes, shrunk), tuple(slice(0, size) for size in sizes)
        to_source = np.linalg.inv(shrunk) @ to_source
        linear, offset = to_source[:3, :3], to_source[:3, 3]
    # the target voxels whose box can touch the source's
    corners = np.array(np.meshgrid(*((part.start - 1.0, part.stop) for part in box), indexing="ij")).reshape(3, -1)
    corners = np.linalg.solve(linear, corners - offset[:, None])
    low = np.clip(np.floor(corners.min(axis=1) - 0.5), 0, shape).astype(int)
    high = np.clip(np.ceil(corners.max(axis=1) + 1.5), 0, shape).astype(int)
    size = high - low
    if not (size > 0).all():
        return
    # one empty voxel around; axes in the order of memory, fastest last
    block = np.pad(field[box].view(np.uint8) if field.dtype == bool else field[box], 1)
    memory = tuple(int(axis) for axis in np.argsort(block.strides)[::-1])
    block = np.ascontiguousarray(block.transpose(memory))
    offset = offset + 1 - [part.start for part in box]
    parts = np.maximum(np.ceil(np.linalg.norm(linear, axis=0) - 1e-6), 1).astype(int)  # samples a target voxel
    matrix = np.ascontiguousarray((linear / parts)[memory, :])
    depth = max(1, int(_SLAB_SAMPLES // (np.prod(size[:2]) * np.prod(parts))))
    for start in range(low[2], high[2], depth):
        stop = min(start + depth, int(high[2]))
        count = np.array([size[0], size[1], stop - start])
        first = np.array([low[0], low[1], start]) - 0.5 + 0.5 / parts  # centre of the first sample, target voxels
        fine = np.empty((count * parts)[::-1], dtype=np.float32)
        interpolate(block, matrix, (linear @ first + offset)[list(memory)], fine)
        if parts.max() > 1:
            fine = fine.reshape(count[2], parts[2], count[1], parts[1], count[0], parts[0]).mean(axis=(1, 3, 5))
        yield (slice(low[0], high[0]), slice(low[1], high[1]), slice(start, stop)), fine.transpose(2, 1, 0)
