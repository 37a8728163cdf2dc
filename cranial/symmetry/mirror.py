"""The classical reconstruction, nothing learned: the skull mirrored, bent onto itself, minus itself, cleaned.

No head is its own mirror image, so after the reflection a smooth displacement, cubic in the coordinates,
brings the mirrored skull onto the skull around the hole. What is missing on both sides stays missing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from scipy import ndimage

from cranial.resampling import bounding_box, sample, sample_mask
from cranial.symmetry.bone import checked, cover, lowest_slice, main_parts, signed_distance, without_slices
from cranial.symmetry.midplane import find_midplane
from cranial.volume import Volume

SPACING_MM = 1.5
FLIP = np.array([-1.0, 1.0, 1.0])
CORE_MM = 2.0  # somewhere a defect is this far from all bone; what is thinner is asymmetry
CORE_MM3 = 200.0
RIM_MM = 4.5  # from the core to the rim
LOWEST_DEG = -40.0  # seen from the middle of the head, the base begins here
FACE_DEG = -18.0  # and here, in front, the face: septum and turbinates are never alike on both sides


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


def mirror_defect(defective: Volume, *, progress: Callable[[float, str], None] | None = None) -> Volume:
    """The missing bone as the other side shows it, on the grid of `defective` and disjoint from it.

    It is empty where no hole has a counterpart in bone. progress: called between the steps with the share of the work
    that is done and what comes next; what it raises ends the work. Raises ValueError as find_midplane does.
    """
    tell = progress or (lambda share, step: None)
    tell(0.0, "finding the mid-plane")
    head = lay_head(defective)
    tell(0.3, "bending the mirror image onto the skull")
    bend = fit_bend(head)
    tell(0.6, "mirroring the healthy side")
    mirrored = mirrored_vault(head, bend)
    tell(0.8, "looking for holes")
    missing = (mirrored > 0.5) & ~head.bone
    core = fills_a_hole(head, missing & (head.signed_mm > CORE_MM), missing | head.bone)
    core = plausible_parts(head, core)
    if not core.any():
        return defective.with_mask(np.zeros(defective.shape, dtype=bool))
    region = ndimage.binary_dilation(core, iterations=round(RIM_MM / SPACING_MM), mask=missing)
    # the field goes on beyond the region, so that interpolation erodes no surface; bone is taken away last
    around = ndimage.binary_dilation(region, np.ones((3, 3, 3))) & (region | ~missing)
    proposal = np.where(around, np.maximum(mirrored, head.bone), np.float32(0))
    filled = sample_mask(proposal, head.affine, defective.shape, defective.affine)
    return defective.with_mask(filled & ~defective.mask)


def lay_head(skull: Volume) -> Head:
    """Find the mid-plane and lay the skull's grid along it."""
    midplane = find_midplane(skull)
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


def fit_bend(head: Head) -> np.ndarray:
    """Coefficients (20, 3) of the displacement u that brings surface points x to the mirrored surface.

    Gauss-Newton on distances to the surface. Points far off it, and those where the two surfaces face
    different ways, count little: so neither the hole nor the other table of the bone pulls.
    """
    smooth = ndimage.gaussian_filter(head.signed_mm, 1.0 / SPACING_MM)
    slopes = np.gradient(smooth, SPACING_MM)

    def facing(slope: np.ndarray) -> np.ndarray:
        return slope / (np.linalg.norm(slope, axis=1, keepdims=True) + 1e-6)

    points = head.points(np.argwhere(head.bone & (head.signed_mm > -SPACING_MM)))
    points = np.random.default_rng(0).permutation(points)[:15000]
    own_mm = head.at(head.signed_mm, points)
    normals = facing(np.stack([head.at(slope, points) for slope in slopes], axis=1))
    terms = cubic_terms(points)
    bend = np.zeros((terms.shape[1], 3))
    for forgiven_mm in np.geomspace(8, 2, 16):
        images = (points + terms @ bend) * FLIP
        off_mm = head.at(head.signed_mm, images) - own_mm
        slope = np.stack([head.at(slope, images) for slope in slopes], axis=1) * FLIP
        alike = np.clip(np.sum(facing(slope) * normals, axis=1), 0, 1)
        weight = alike**2 / (1 + (off_mm / forgiven_mm) ** 2) ** 2
        jacobian = (slope[:, :, None] * terms[:, None, :]).reshape(len(points), -1)
        ridge = 3e-4 * weight.sum()
        curvature = (jacobian.T * weight) @ jacobian + ridge * np.eye(bend.size)
        step = np.linalg.solve(curvature, -(jacobian.T @ (weight * off_mm)) - ridge * bend.T.ravel())
        bend = bend + step.reshape(bend.T.shape).T
    return bend


def cubic_terms(points: np.ndarray) -> np.ndarray:
    """The monomials of points (N, 3) up to degree 3, in units of 80 mm: (N, 20)."""
    axes = [which for degree in range(4) for which in combinations_with_replacement(range(3), degree)]
    scaled = points / 80
    return np.stack([np.prod(scaled[:, list(which)], axis=1) for which in axes], axis=1)


def mirrored_vault(head: Head, bend: np.ndarray) -> np.ndarray:
    """Occupancy of the mirrored and bent skull where the vault may be and no bone is, else 0: (I, J, K)."""
    voxels = np.argwhere(~head.bone)
    points = head.points(voxels)
    distance = np.linalg.norm(points, axis=1)
    vault = (distance > 0.25 * head.length_mm) & (distance < 0.75 * head.length_mm)
    vault &= points[:, 2] > np.sin(np.radians(LOWEST_DEG)) * distance
    # a head tilted in the scanner was cut off tilted: what the mirror shows below the scan is no defect
    down = -head.affine[2, :3]
    vault &= voxels @ down < (np.argwhere(head.bone) @ down).max()
    mirrored = np.zeros_like(head.occupancy)
    for part in np.array_split(np.flatnonzero(vault), 16):
        images = (points[part] + cubic_terms(points[part]) @ bend) * FLIP
        mirrored[tuple(voxels[part].T)] = head.at(head.occupancy, images)
    return mirrored


def fills_a_hole(head: Head, candidates: np.ndarray, complete: np.ndarray) -> np.ndarray:
    """The candidates that close a hole in the shell around the middle of the head: bool (I, J, K).

    On the ray from the middle through a candidate no bone lies within 15 mm of it: else the bone is there,
    only elsewhere. And `complete` has nothing more than 25 mm nearer: else it lies behind the vault, in face
    or base.
    """
    voxels = np.argwhere(candidates)
    points = head.points(voxels)
    distance = np.linalg.norm(points, axis=1, keepdims=True)

    def met(mask: np.ndarray, steps_mm: np.ndarray) -> np.ndarray:
        hits = [head.at(mask, points * np.maximum(1 + step / distance, 0), order=0) for step in steps_mm]
        return np.any(hits, axis=0)

    elsewhere = met(head.bone, np.arange(-15, 15.1, SPACING_MM))
    behind = met(complete, np.arange(-60, -25, 2.5))
    kept = np.zeros_like(candidates)
    kept[tuple(voxels[~elsewhere & ~behind].T)] = True
    return kept


def plausible_parts(head: Head, core: np.ndarray) -> np.ndarray:
    """The connected parts of the core that are large enough and not in the face: bool (I, J, K)."""
    parts, count = ndimage.label(core, np.ones((3, 3, 3)))
    kept = np.bincount(parts.ravel(), minlength=count + 1) * SPACING_MM**3 > CORE_MM3
    kept[0] = False
    for part in np.flatnonzero(kept):
        _, back, up = head.points(np.argwhere(parts == part)).mean(axis=0)
        in_front = back < -0.25 * head.length_mm
        kept[part] = not in_front or up > np.tan(np.radians(FACE_DEG)) * abs(back)
    return kept[parts]
