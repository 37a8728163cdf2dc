"""A dry skull's inner face with the thin walls that a scan of a living head loses: septum, ethmoid, conchae, sinuses.

In a CT thresholded for the vault they are below the threshold; in a dry skull, or one segmented with care, they are
there. They are drawn by place, as `dry` takes the jaw away: the numbers were measured on the head *mricrogl_ct* in its
own cube, as 256ths of its edge. How thick each is, how far it bends and whether it is there is drawn anew each time.
"""

import numpy as np
from scipy.ndimage import zoom

_LOW, _HIGH = (76, 24, 82), (180, 118, 192)  # the box that they lie in, of 256
_MIDDLE = 127.5
_THERE = 0.8  # chance of each wall
_HALF = (0.6, 2.0)  # of a wall's thickness, least and most
_PAPER = 0.9  # less of it, where walls are as thin as paper: between the ethmoid's cells


def with_thin_walls(occupancy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The head (n, n, n), uint8 0-255, in the cube of `grid`, with drawn walls and often without a frontal sinus."""
    n = occupancy.shape[-1]
    box = tuple(slice(int(low * n / 256), int(high * n / 256)) for low, high in zip(_LOW, _HIGH, strict=True))
    x, y, z = np.meshgrid(*[(np.arange(s.start, s.stop) + 0.5) * 256 / n - 0.5 for s in box], indexing="ij")
    skull = occupancy.copy()
    part = skull[box].astype(np.float32) / 255
    if rng.random() < 0.6:
        part = np.maximum(part, _frontal(part, np.abs(x - _MIDDLE), y, z, rng))
    rough = zoom(rng.normal(0, 1, (10, 10, 10)), [m / 10 for m in part.shape], order=1)
    depth = np.full(part.shape, -9.0)
    for wall in _walls(x - _MIDDLE, y, z, rng):
        if rng.random() < _THERE:
            depth = np.maximum(depth, rng.uniform(*_HALF) * (1 + 0.35 * rough) - wall)
    part = np.maximum(part, np.clip(depth * n / 256 + 0.5, 0, 1))
    skull[box] = np.rint(255 * part)
    return skull


def _walls(x: np.ndarray, y: np.ndarray, z: np.ndarray, rng: np.random.Generator):
    """Distance from the middle of one wall after the other, large where it ends."""
    side = np.abs(x)
    roof = 152 - 0.37 * (y - 52) + rng.normal(0, 1.5)
    floor = 104 + rng.normal(0, 1)
    lateral = 14.5 + rng.normal(0, 1) + 1.5 * np.sin(np.pi * (y - 46) / 40)
    up = np.clip((z - floor) / (150 - floor), 0, 1)
    front = rng.uniform(32, 42) + rng.uniform(6, 28) * np.sin(np.pi * up)
    bend = rng.normal(0, 2) * np.sin(np.pi * up) * np.sin(np.pi * np.clip((y - 35) / 60, 0, 1))
    nose = (z > floor - 1) & (z < roof + 1)
    yield _where(np.abs(x - bend), nose & (y > front) & (y < 94 + 0.3 * (floor - z)))  # septum
    yield _where(np.abs(z - roof), (side < lateral + 1) & (y > 49) & (y < 88))  # roof of the ethmoid
    yield _where(np.abs(side - lateral), (y > 45) & (y < 87) & (z > 117) & (z < roof + 2))  # lamina papyracea
    cells = (side > 3) & (side < lateral) & (y > 48) & (y < 87) & (z > rng.uniform(118, 136)) & (z < roof)
    for start in np.arange(rng.uniform(50, 56), 86, rng.uniform(6, 10)):
        yield _where(_PAPER + np.abs(y - start - rng.normal(0, 0.15) * (z - 135)), cells)
    for height in np.arange(rng.uniform(124, 130), 150, rng.uniform(6, 10)):
        yield _where(_PAPER + np.abs(z - height + rng.uniform(0, 0.3) * (y - 65)), cells & (y > rng.uniform(48, 56)))
    middle = np.abs(side - rng.uniform(4, 6) - 0.08 * (z - 135))
    yield _where(middle, (y > 52) & (y < 86) & (z > rng.uniform(112, 122)) & (z < roof))  # middle concha
    yield _where(_PAPER + np.abs(side - rng.uniform(8, 11)), cells)
    radius = np.hypot(side - rng.uniform(8, 10), (z - rng.uniform(113, 117)) * rng.uniform(0.6, 1))
    yield _where(np.abs(radius - rng.uniform(2.5, 4.5)), (y > 45) & (y < 80) & ~((side > 10) & (z < 114)))  # lower
    beside = (y > 45) & (y < 82) & (z > floor - 4) & (z < 120)
    yield _where(np.abs(side - 15 - 0.04 * (y - 60)), beside)  # between nose and sinus
    wide = 15 + 0.75 * (84 - y)
    orbit = 116 + 0.2 * (side - 15) + rng.normal(0, 1) - 2.5 * np.sin(np.pi * np.clip((side - 15) / 28, 0, 1))
    yield _where(np.abs(z - orbit), (side > 14) & (side < wide) & (y > 45) & (y < 82))  # floor of the orbit
    behind = (side > 14) & (side < 42) & (z > 96) & (z < 121)
    yield _where(np.abs((y - 82) * 0.77 + (side - 16) * 0.64), behind)  # behind the sinus
    outer = np.abs((side - 25) * 0.82 - (z - 92) * 0.57 - 2 * np.sin(np.pi * np.clip((z - 92) / 24, 0, 1)))
    yield _where(outer, (z > 88) & (z < 118) & (y > 47) & (y < 78))  # outer wall of the sinus
    yield _where(np.abs(y - 86 - rng.normal(0, 1)), (side < 15) & (z > 112) & (z < 142))  # front of the sphenoid
    yield _where(np.abs(side - 14), (y > 85) & (y < 104) & (z > 116) & (z < 138 - 0.2 * (y - 86)))  # its sides
    yield _where(np.abs(z - 113 + 0.35 * (y - 86)), (side < 14) & (y > 85) & (y < 108))  # its floor
    palate = (side < 16) & (y > 40) & (y < rng.uniform(68, 76))
    yield _where(np.maximum(0, np.abs(z - floor + 1.5) - 1), palate)
    arch = np.abs(y - 27 - 0.068 * side**2) / np.sqrt(1 + (0.136 * side) ** 2)
    ridge = np.maximum(0, arch - rng.uniform(3, 5))
    yield _where(ridge, (z > rng.uniform(84, 92)) & (z < floor - 1) & (side < 27))


def _frontal(part: np.ndarray, side: np.ndarray, y: np.ndarray, z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The frontal bone without its sinus: filled between its plates, beside the mid-plane and at the nose's root."""
    here = np.where((side < rng.uniform(14, 26)) & (y < 75) & (z > 148), part, 0)
    filled = np.minimum(np.maximum.accumulate(here, axis=1), np.maximum.accumulate(here[:, ::-1], axis=1)[:, ::-1])
    along = np.clip((150 - z) / 12, 0, 1)
    root = np.hypot(side, y - 48 - 6 * along)
    stump = (z > 150 - rng.uniform(2, 14)) & (z < 156)
    return np.maximum(filled, np.clip(rng.uniform(4, 8) - root + 0.5, 0, 1) * stump)


def _where(distance: np.ndarray, there: np.ndarray) -> np.ndarray:
    return np.where(there, distance, 99.0)
