"""Solids seen from anywhere: rays through occupancy, shaded by the surface's slope and by what stands around it.

All layers are brought to one grid along the patient's axes, so that flips, oblique grids and unequal voxels look
as they are in the patient, and every picture has a scale in millimetres.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numba import njit, prange

from ..resampling import bounding_box, sample
from ..volume import Volume

COLOURS = {
    "bone": "#f1e9d9",
    "implant": "#2f7fc1",
    "proposal": "#e2802b",
    "agreed": "#7fb685",
    "missed": "#6a4fa3",
    "extra": "#d1495b",
}
VIEWS = {"front": (0, 0), "left": (90, 0), "right": (-90, 0), "back": (180, 0), "top": (180, 90)}
_LEVEL = 0.45  # of occupancy; a little below 1/2, for the thinnest bone
_OVERSAMPLING = 2
_AMBIENT_MM = 18.0  # bone nearer than this takes light away


@dataclass(frozen=True)
class Laid:
    """Occupancy of each layer, float32 (layers, I, J, K), on a grid along L, P, S."""

    occupancy: np.ndarray
    first_mm: np.ndarray  # (3,) centre of voxel 0
    spacing_mm: float
    coarsest_mm: float  # edge of a voxel of the layers, at the most


@dataclass(frozen=True)
class Scene:
    """Occupancy of each layer, float32 (layers, I, J, K), on a grid along L, P, S; colours (layers, 3) in [0, 1]."""

    occupancy: np.ndarray
    total: np.ndarray  # of all layers together, (I, J, K)
    soft: np.ndarray  # the same, smoother: a surface's slope is not that of its voxels
    leaps: np.ndarray
    colours: np.ndarray
    first_mm: np.ndarray  # (3,) centre of voxel 0
    spacing_mm: float

    @property
    def extent_mm(self) -> np.ndarray:
        """(3,) size along L, P, S."""
        return (np.array(self.occupancy.shape[1:]) - 1) * self.spacing_mm


def build_scene(layers: Mapping[str, Volume], *, detail_vox: int = 240) -> Scene:
    """What `render` draws, of layers laid out as `lay_out` does, and raising as it does."""
    from scipy.ndimage import gaussian_filter

    laid = lay_out(layers, detail_vox=detail_vox)
    occupancy = laid.occupancy
    total = occupancy[0] if len(occupancy) == 1 else np.minimum(occupancy.sum(axis=0), 1)
    soft = gaussian_filter(total, 1.3 * max(laid.coarsest_mm / laid.spacing_mm, 1), truncate=2.0)
    colours = np.array([rgb(name) for name in layers])
    return Scene(occupancy, total, soft, _leaps(total), colours, laid.first_mm, laid.spacing_mm)


def lay_out(layers: Mapping[str, Volume], *, detail_vox: int) -> Laid:
    """Bring layers, named as in COLOURS, to a common grid of at most about `detail_vox` voxels a side.

    Raises ValueError for a name without a colour, and when all layers are empty.
    """
    from scipy.ndimage import gaussian_filter

    unknown = [name for name in layers if name not in COLOURS]
    if unknown:
        raise ValueError(f"layer {unknown[0]!r} has no colour; name it one of {', '.join(COLOURS)}")
    boxes = {name: box for name, volume in layers.items() if (box := bounding_box(volume.mask)) is not None}
    if not boxes:
        raise ValueError("there is nothing to draw: every layer is empty; give at least one mask with a voxel set")
    ends = np.concatenate([layers[name].voxel_to_mm(_corners(box)) for name, box in boxes.items()])
    spacing_mm = max(np.ptp(ends, axis=0).max() / detail_vox, min(min(layers[n].spacing_mm) for n in boxes))
    onto = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    onto[:3, 3] = ends.min(axis=0) - 3 * spacing_mm
    shape = tuple(int(n) for n in np.ceil(np.ptp(ends, axis=0) / spacing_mm) + 7)
    occupancy = np.zeros((len(layers), *shape), np.float32)
    for field, (name, volume) in zip(occupancy, layers.items(), strict=True):
        if name in boxes:
            gaussian_filter(sample(volume.mask, volume.affine, shape, onto), 0.7, output=field, truncate=2.5)
    coarsest_mm = max(max(layers[n].spacing_mm) for n in boxes)
    return Laid(occupancy, onto[:3, 3], float(spacing_mm), coarsest_mm)


def render(layers: Mapping[str, Volume] | Scene, *, view: tuple[float, float] | str = (30.0, 15.0), size: int = 360,
           span_mm: float | None = None, about_mm: np.ndarray | None = None) -> np.ndarray:
    """Parallel projection of layers, RGB float32 (size, size, 3) in [0, 1] on white; nearer layers hide farther ones.

    view: (azimuth, elevation) in degrees, azimuth from the front to the patient's left, or a name in VIEWS.
    span_mm: width and height of the picture; None: what holds the scene. about_mm: what is in its middle, (3,) LPS mm;
    None: the middle of what is seen.
    Raises ValueError for a view that is not one.
    """
    scene = layers if isinstance(layers, Scene) else build_scene(layers)
    axes = camera(view)
    middle, needed_mm = frame(scene, view)
    if about_mm is not None:
        middle = (np.asarray(about_mm, float) - scene.first_mm) / scene.spacing_mm
    count = size * _OVERSAMPLING
    pixels = np.ones((count, count, 3), np.float32)
    _draw(pixels, scene.total, scene.soft, scene.leaps, scene.occupancy, scene.colours, middle, axes,
          (span_mm or needed_mm) / count / scene.spacing_mm, _AMBIENT_MM / scene.spacing_mm, _sphere(20))
    return pixels.reshape(size, _OVERSAMPLING, size, _OVERSAMPLING, 3).mean(axis=(1, 3))


def frame(scene: Scene, view: tuple[float, float] | str) -> tuple[np.ndarray, float]:
    """Where a picture from this view is centred (3,), in voxels, and the span_mm that holds everything."""
    axes = camera(view)
    seen = (np.argwhere(scene.total[::3, ::3, ::3] > _LEVEL) * 3) @ axes[:2].T  # to the right and down
    if not len(seen):
        return 0.5 * np.array(scene.total.shape), float(scene.extent_mm.max())
    low, high = seen.min(axis=0), seen.max(axis=0)
    return 0.5 * (low + high) @ axes[:2], 1.04 * scene.spacing_mm * (float((high - low).max()) + 3)


def camera(view: tuple[float, float] | str) -> np.ndarray:
    """Unit vectors to the picture's right, down and away from the viewer, (3, 3) rows in LPS."""
    if isinstance(view, str):
        if view not in VIEWS:
            raise ValueError(f"view is {view!r}; choose one of {', '.join(VIEWS)} or (azimuth, elevation) in degrees")
        view = VIEWS[view]
    a, e = np.deg2rad(view)
    right = np.array([np.cos(a), np.sin(a), 0.0])
    forward = np.array([-np.sin(a) * np.cos(e), np.cos(a) * np.cos(e), -np.sin(e)])
    return np.stack([right, -np.cross(right, forward), forward])


def rgb(name: str) -> np.ndarray:
    """The colour of a layer, (3,) in [0, 1]."""
    return np.array([int(COLOURS[name][k : k + 2], 16) / 255 for k in (1, 3, 5)])


def _corners(box: tuple[slice, slice, slice]) -> np.ndarray:
    return np.array(np.meshgrid(*((s.start, s.stop - 1) for s in box), indexing="ij")).reshape(3, 8).T


def _leaps(total: np.ndarray) -> np.ndarray:
    """How many voxels a ray may leap from within each block of 4^3: as far as there is surely nothing."""
    from scipy.ndimage import distance_transform_cdt

    padded = np.pad(total, [(0, -n % 4) for n in total.shape])
    a, b, c = (n // 4 for n in padded.shape)
    empty = padded.reshape(a, 4, b, 4, c, 4).max(axis=(1, 3, 5)) < 0.5 * _LEVEL
    return np.maximum(4.0 * (distance_transform_cdt(empty, "chessboard") - 1), 0).astype(np.float32)


def _sphere(count: int) -> np.ndarray:
    """Directions spread evenly (Fibonacci), (count, 3)."""
    k = np.arange(count) + 0.5
    z, phi = 1 - 2 * k / count, np.pi * (1 + 5**0.5) * k
    return np.stack([np.sqrt(1 - z * z) * np.cos(phi), np.sqrt(1 - z * z) * np.sin(phi), z], axis=1)


@njit(cache=True)
def _at(field, x, y, z):
    """Trilinear, 0 outside."""
    if x < 0 or y < 0 or z < 0 or x >= field.shape[0] - 1 or y >= field.shape[1] - 1 or z >= field.shape[2] - 1:
        return 0.0
    i, j, k = int(x), int(y), int(z)
    u, v, w = x - i, y - j, z - k
    near = (field[i, j, k] * (1 - w) + field[i, j, k + 1] * w) * (1 - v) + (
        field[i, j + 1, k] * (1 - w) + field[i, j + 1, k + 1] * w) * v
    far = (field[i + 1, j, k] * (1 - w) + field[i + 1, j, k + 1] * w) * (1 - v) + (
        field[i + 1, j + 1, k] * (1 - w) + field[i + 1, j + 1, k + 1] * w) * v
    return near * (1 - u) + far * u


@njit(cache=True)
def _hit(total, leaps, start, forward, t, reach):
    """How far along the ray bone begins, in voxels; -1e9 where it never does."""
    while t < reach:
        x, y, z = start[0] + t * forward[0], start[1] + t * forward[1], start[2] + t * forward[2]
        i = min(max(int(x) >> 2, 0), leaps.shape[0] - 1)
        j = min(max(int(y) >> 2, 0), leaps.shape[1] - 1)
        k = min(max(int(z) >> 2, 0), leaps.shape[2] - 1)
        if leaps[i, j, k] > 0:
            t += leaps[i, j, k]
        elif _at(total, x, y, z) >= _LEVEL:
            low, high = t - 0.7, t
            for _ in range(5):
                m = 0.5 * (low + high)
                x, y, z = start[0] + m * forward[0], start[1] + m * forward[1], start[2] + m * forward[2]
                if _at(total, x, y, z) >= _LEVEL:
                    high = m
                else:
                    low = m
            return high
        else:
            t += 0.7
    return -1e9


@njit(cache=True)
def _entry(start, forward, shape):
    """Where along the ray the grid begins and ends; begins beyond the end where the ray misses it."""
    first, last = -1e9, 1e9
    for axis in range(3):
        if abs(forward[axis]) < 1e-9:
            if start[axis] < 0 or start[axis] > shape[axis] - 1:
                return 1.0, 0.0
            continue
        one, other = -start[axis] / forward[axis], (shape[axis] - 1 - start[axis]) / forward[axis]
        first, last = max(first, min(one, other)), min(last, max(one, other))
    return first, last


@njit(parallel=True, cache=True)
def _draw(pixels, total, soft, leaps, layers, colours, middle, axes, step, ambient_reach, directions):
    """Fill pixels (n, n, 3). step: voxels a pixel; ambient_reach: voxels."""
    count = pixels.shape[0]
    right, down, forward = axes[0], axes[1], axes[2]
    light = -0.45 * right - 0.55 * down - 0.75 * forward
    light /= np.sqrt((light * light).sum())
    for row in prange(count):
        for column in range(count):
            start = middle + (column - 0.5 * (count - 1)) * step * right + (row - 0.5 * (count - 1)) * step * down
            first, last = _entry(start, forward, total.shape)
            t = _hit(total, leaps, start, forward, first, last) if first < last else -1e9
            if t < first:
                continue
            x, y, z = start[0] + t * forward[0], start[1] + t * forward[1], start[2] + t * forward[2]
            nx = _at(soft, x - 1, y, z) - _at(soft, x + 1, y, z)
            ny = _at(soft, x, y - 1, z) - _at(soft, x, y + 1, z)
            nz = _at(soft, x, y, z - 1) - _at(soft, x, y, z + 1)
            length = max(np.sqrt(nx * nx + ny * ny + nz * nz), 1e-6)
            nx, ny, nz = nx / length, ny / length, nz / length
            sx, sy, sz = x + 2 * nx, y + 2 * ny, z + 2 * nz
            closed, weight = 0.0, 0.0  # ambient occlusion: how much of the sky is bone
            for d in range(directions.shape[0]):
                dx, dy, dz = directions[d, 0], directions[d, 1], directions[d, 2]
                cosine = dx * nx + dy * ny + dz * nz
                if cosine < 0.15:
                    continue
                weight += cosine
                hidden = 0.0
                for s in range(1, 5):
                    far = ambient_reach * (s / 4.0) ** 1.5
                    value = _at(soft, sx + far * dx, sy + far * dy, sz + far * dz)
                    value = (1.2 - 0.2 * s) * min(1.0, max(0.0, 2 * value - 0.4))
                    hidden = max(hidden, value)
                closed += cosine * hidden
            sky = 1 - 0.92 * closed / max(weight, 1e-6)
            lit = max(0.0, nx * light[0] + ny * light[1] + nz * light[2])
            facing = max(0.0, -(nx * forward[0] + ny * forward[1] + nz * forward[2]))
            shade = sky * (0.28 + 0.24 * facing) + (0.25 + 0.75 * sky) * 0.58 * lit
            best, layer = -1.0, 0
            for c in range(layers.shape[0]):
                value = _at(layers[c], x, y, z)
                if value > best:
                    best, layer = value, c
            for c in range(3):
                pixels[row, column, c] = min(1.0, shade * colours[layer, c])
