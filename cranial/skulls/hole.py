"""Which voxels lie in a hole? A defect as a rule in millimetres: it is the same hole at every resolution.

Each piece is an outline on the vault around a direction seen from the middle of the head, cut through the bone
towards that middle, with burr holes on it and a ragged edge.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numba import njit

from ..volume import Volume
from .shapes import value_noise


class Vault(NamedTuple):
    """Where the vault lies: middle of the head (LPS mm), and the length and breadth of the vault (mm)."""

    centre_mm: tuple[float, float, float]
    length_mm: float
    breadth_mm: float


class Piece(NamedTuple):
    """One hole: direction from the middle of the head, outline radius over the angle (mm), ragged edge (mm)."""

    direction: np.ndarray  # (3,) unit
    turn: np.ndarray  # (3,) unit, orthogonal: where the outline's angle 0 points
    reach_mm: float  # distance from the middle of the head to the bone in that direction
    outline_mm: np.ndarray  # (360,) radius at each degree
    burr_holes: np.ndarray  # (n, 3) angle, distance from the outline's centre, radius
    ragged_mm: float
    ragged_wavelength_mm: float


@dataclass(frozen=True)
class Defect:
    """Pieces to be cut from a skull with this vault. `noise` (16,16,16) makes the edges ragged."""

    style: str
    vault: Vault
    pieces: tuple[Piece, ...]
    noise: np.ndarray

    def depth_mm(self, shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
        """Depth inside the defect at each voxel centre, float32 (I, J, K), negative outside; affine: voxel -> mm."""
        depth = np.full(shape, -1e3, dtype=np.float32)
        for p in self.pieces:
            _depth(
                depth,
                np.ascontiguousarray(affine, dtype=np.float64),
                np.asarray(self.vault.centre_mm, float),
                p.direction,
                p.turn,
                np.cross(p.direction, p.turn),
                p.reach_mm,
                p.outline_mm,
                p.burr_holes,
                p.ragged_mm,
                p.ragged_wavelength_mm,
                self.noise,
            )
        return depth


def inside(defect: Defect, skull: Volume) -> np.ndarray:
    """Which voxels of the skull's grid lie in the defect, bool (I, J, K); only the defect's own box is computed."""
    result = np.zeros(skull.mask.shape, dtype=bool)
    for piece in defect.pieces:
        one = replace(defect, pieces=(piece,))
        half = 1.25 * float(piece.outline_mm.max()) + 12
        middle = np.asarray(defect.vault.centre_mm) + piece.reach_mm * piece.direction
        corners = middle + half * 1.6 * np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)])
        index = skull.mm_to_voxel(corners)
        low = np.clip(np.floor(index.min(axis=0)).astype(int), 0, skull.mask.shape)
        high = np.clip(np.ceil(index.max(axis=0)).astype(int) + 1, 0, skull.mask.shape)
        if np.any(high <= low):
            continue
        affine = skull.affine.copy()
        affine[:3, 3] = skull.voxel_to_mm(low[None].astype(float))[0]
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        result[box] |= one.depth_mm(tuple(int(n) for n in high - low), affine) > 0
    return result


@njit(nogil=True, cache=True)
def _depth(depth, affine, centre, direction, turn, other, reach, outline, burrs, ragged, wavelength, noise):
    """depth <- max(depth, how deep each voxel lies inside this piece), mm along the vault."""
    widest = min(2.6, (outline.max() + 14 + 3 * ragged) / reach)
    cosine = np.cos(widest)
    for i in range(depth.shape[0]):
        for j in range(depth.shape[1]):
            for k in range(depth.shape[2]):
                x = affine[0, 0] * i + affine[0, 1] * j + affine[0, 2] * k + affine[0, 3] - centre[0]
                y = affine[1, 0] * i + affine[1, 1] * j + affine[1, 2] * k + affine[1, 3] - centre[1]
                z = affine[2, 0] * i + affine[2, 1] * j + affine[2, 2] * k + affine[2, 3] - centre[2]
                r = np.sqrt(x * x + y * y + z * z)
                along = x * direction[0] + y * direction[1] + z * direction[2]
                if r < 0.5 * reach or along < cosine * r:
                    continue
                a = x * turn[0] + y * turn[1] + z * turn[2]
                b = x * other[0] + y * other[1] + z * other[2]
                distance = reach * np.arccos(min(1.0, along / r))  # along the vault, from the outline's centre
                phi = np.arctan2(b, a)
                degree = (phi * 57.29577951308232) % 360.0
                d0 = int(degree) % 360
                t = degree - int(degree)
                edge = outline[d0] * (1 - t) + outline[(d0 + 1) % 360] * t
                value = edge - distance
                for h in range(burrs.shape[0]):
                    ux = distance * np.cos(phi) - burrs[h, 1] * np.cos(burrs[h, 0])
                    uy = distance * np.sin(phi) - burrs[h, 1] * np.sin(burrs[h, 0])
                    value = max(value, burrs[h, 2] - np.sqrt(ux * ux + uy * uy))
                if ragged > 0 and abs(value) < 4 * ragged:
                    value += ragged * value_noise(noise, x, y, z, wavelength)
                if value > depth[i, j, k]:
                    depth[i, j, k] = value
