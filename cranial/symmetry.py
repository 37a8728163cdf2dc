"""The left-right symmetry of a head: its mid-plane, and the oldest reconstruction there is, the healthy side mirrored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.optimize import minimize

if TYPE_CHECKING:
    from cranial.volume import Volume

HEAD_MM = 160.0  # what lies further below the vertex (mandible, neck, shoulders) has a symmetry of its own


@dataclass(frozen=True)
class Midplane:
    """The plane {x : normal . (x - point) = 0} in patient LPS mm."""

    point_mm: np.ndarray  # (3,) on the plane, level with the middle of the bone
    normal_mm: np.ndarray  # (3,) unit, towards the patient's left (+L)
    agreement: float  # share of the bone that has bone within 2 mm of its mirror image, 0 to 1

    def reflect(self, xyz_mm: np.ndarray) -> np.ndarray:
        """Mirror images of points (N, 3) in mm."""
        return xyz_mm - 2 * ((xyz_mm - self.point_mm) @ self.normal_mm)[:, None] * self.normal_mm


def find_midplane(skull: Volume) -> Midplane:
    """The plane that best maps the bone of `skull` onto itself; a hole or a lost face hardly moves it.

    Searches +-35 degrees of yaw and roll about the file's own left-right axis, any offset.
    """
    spacing_mm = 2.0
    occupancy, origin_mm = _occupancy(skull, np.eye(3), spacing_mm, margin_mm=20.0)
    bone = _main_parts(occupancy > 0.3)
    if bone.sum() < 500:
        raise ValueError("too little")
    top_vox = np.flatnonzero(bone.any((0, 1)))[-1]
    bone[:, :, : max(0, top_vox - int(HEAD_MM / spacing_mm))] = False
    signed_mm = _signed_distance(bone, spacing_mm)
    near_mm = np.clip(signed_mm, -12, 12).astype(np.float32)

    surface = np.argwhere(bone & (signed_mm > -1.5 * spacing_mm)) * spacing_mm
    centre = np.median(surface, axis=0)
    surface = np.random.default_rng(0).permutation(surface)[:6000]
    few = surface[:1200]

    # a plane is (a, b, offset): normal (1, a, b) / |.|, offset along it from the centre
    def images(points, a, b, offset):
        normal = np.array([1, a, b]) / np.sqrt(1 + a * a + b * b)
        return points - 2 * ((points - centre) @ normal - offset)[:, None] * normal

    def misfit(plane, points, truncation_mm):
        at = images(points, *plane[:2], plane[2]).T / spacing_mm
        d = ndimage.map_coordinates(near_mm, at, order=1, mode="nearest") + 0.5 * spacing_mm
        return np.mean(d**2 / (d**2 + truncation_mm**2))

    coarse = np.minimum(np.abs(near_mm + 0.5 * spacing_mm), 10)
    tilts, offsets = np.tan(np.radians(np.arange(-35, 36, 5))), np.arange(-24, 25, 4.0)
    limit = np.array(coarse.shape) - 1
    starts = []
    for a in tilts:
        for b in tilts:
            normal = np.array([1, a, b]) / np.sqrt(1 + a * a + b * b)
            along = (few - centre) @ normal
            at = few - 2 * (along - offsets[:, None])[..., None] * normal
            at = np.clip(np.rint(at / spacing_mm).astype(np.int32), 0, limit)
            score = coarse[at[..., 0], at[..., 1], at[..., 2]].mean(1)
            starts += [(s, a, b, o) for s, o in zip(score, offsets, strict=True)]
    starts.sort()
    chosen = []
    for _, *plane in starts:
        if all(np.abs(np.array(plane) - c)[:2].max() > 0.13 or abs(plane[2] - c[2]) > 6 for c in chosen):
            chosen.append(np.array(plane))
        if len(chosen) == 4:
            break
    simplex = np.array([[0, 0, 0], [0.08, 0, 0], [0, 0.08, 0], [0, 0, 3]])

    def refine(plane, points, truncation_mm, size):
        return minimize(misfit, plane, (points, truncation_mm), method="Nelder-Mead",
                        options={"initial_simplex": plane + size * simplex, "xatol": 1e-4, "fatol": 1e-6, "maxiter": 150})

    best = min((refine(p, few, 6.0, 1.0) for p in chosen), key=lambda r: r.fun)
    a, b, offset = refine(best.x, surface, 3.0, 0.3).x
    normal = np.array([1, a, b]) / np.sqrt(1 + a * a + b * b)
    points = np.argwhere(bone) * spacing_mm
    at = np.rint(images(points, a, b, offset) / spacing_mm).astype(int)
    at = np.clip(at, 0, limit)
    agreement = float((signed_mm[tuple(at.T)] <= 2.0).mean())
    return Midplane(origin_mm + centre + offset * normal, normal, agreement)


def _main_parts(bone):
    label, n = ndimage.label(bone, np.ones((3, 3, 3)))
    size = np.bincount(label.ravel())
    size[0] = 0
    return (size >= 0.05 * size.max())[label] & bone if n else bone


def _signed_distance(bone, spacing_mm):
    return spacing_mm * (ndimage.distance_transform_edt(~bone) - ndimage.distance_transform_edt(bone)).astype(np.float32)


def _occupancy(skull: Volume, axes: np.ndarray, spacing_mm: float, *, margin_mm: float):
    """Share of bone in the cells of an isotropic grid with these unit axes (rows); also the mm (along axes) of its cell 0."""
    mask, affine = skull.mask, skull.affine
    box = []
    for axis in range(3):
        used = np.flatnonzero(mask.any(tuple(a for a in range(3) if a != axis)))
        if not len(used):
            raise ValueError("empty")
        box.append(slice(used[0], used[-1] + 1))
    block = np.maximum(1, np.rint(spacing_mm / np.linalg.norm(affine[:3, :3], axis=0))).astype(int)
    blocks = mask[tuple(box)].view(np.uint8)
    first = np.array([s.start for s in box], float)
    for axis in np.argsort(-np.abs(blocks.strides)):
        f = int(block[axis])
        blocks = np.moveaxis(blocks, axis, 0)
        n = -(-len(blocks) // f)
        total = np.zeros((n,) + blocks.shape[1:], np.uint16 if blocks.dtype != np.uint8 else np.uint8) if False else None
        acc = blocks[0::f].astype(np.uint16)
        for i in range(1, f):
            part = blocks[i::f]
            acc[: len(part)] += part
        blocks = np.moveaxis(acc, 0, axis)
    coarse = np.pad(blocks.astype(np.float32) / block.prod(), 1)
    to_mm = affine.copy()
    to_mm[:3, :3] = affine[:3, :3] * block
    to_mm[:3, 3] = affine[:3, :3] @ (first + (block - 1) / 2 - block) + affine[:3, 3]
    rotated = axes @ to_mm[:3, :3]
    shift = axes @ to_mm[:3, 3]
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in coarse.shape], indexing="ij")).reshape(3, -1)
    ends = rotated @ corners + shift[:, None]
    origin_mm = ends.min(1) - margin_mm
    shape = np.ceil((ends.max(1) + margin_mm - origin_mm) / spacing_mm).astype(int) + 1
    inverse = np.linalg.inv(rotated)
    grid = ndimage.affine_transform(coarse, inverse * spacing_mm, inverse @ (origin_mm - shift), tuple(shape), order=1)
    return grid, origin_mm
