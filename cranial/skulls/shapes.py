"""The compiled alphabet of skulls and holes: value noise, smooth steps and bumps, capsules, ellipsoids (mm)."""

import numpy as np
from numba import njit


@njit(cache=True)
def value_noise(field, x, y, z, wavelength):
    """Periodic value noise: trilinear between the lattice's numbers, one number each `wavelength` mm."""
    n = field.shape[0]
    x, y, z = x / wavelength, y / wavelength, z / wavelength
    i, j, k = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
    u, v, w = x - i, y - j, z - k
    i, j, k = i % n, j % n, k % n
    i1, j1, k1 = (i + 1) % n, (j + 1) % n, (k + 1) % n
    near = (field[i, j, k] * (1 - u) + field[i1, j, k] * u) * (1 - v) + (
        field[i, j1, k] * (1 - u) + field[i1, j1, k] * u
    ) * v
    far = (field[i, j, k1] * (1 - u) + field[i1, j, k1] * u) * (1 - v) + (
        field[i, j1, k1] * (1 - u) + field[i1, j1, k1] * u
    ) * v
    return near * (1 - w) + far * w


@njit(cache=True)
def capsule(px, py, pz, ax, ay, az, bx, by, bz):
    """Distance of point p from the segment a-b."""
    dx, dy, dz = bx - ax, by - ay, bz - az
    t = ((px - ax) * dx + (py - ay) * dy + (pz - az) * dz) / (dx * dx + dy * dy + dz * dz)
    t = min(1.0, max(0.0, t))
    return np.sqrt((px - ax - t * dx) ** 2 + (py - ay - t * dy) ** 2 + (pz - az - t * dz) ** 2)


@njit(cache=True)
def ellipsoid(px, py, pz, cx, cy, cz, rx, ry, rz):
    """Below 1 inside the ellipsoid, 1 on it."""
    return np.sqrt(((px - cx) / rx) ** 2 + ((py - cy) / ry) ** 2 + ((pz - cz) / rz) ** 2)


@njit(cache=True)
def step(value, low, high):
    """0 below low, 1 above high, smooth between."""
    t = min(1.0, max(0.0, (value - low) / (high - low)))
    return t * t * (3 - 2 * t)


@njit(cache=True)
def bump(x, y, z, cx, cy, cz, width):
    return np.exp(-((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) / (2 * width * width))
