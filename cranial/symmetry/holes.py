"""What of a complete head that somebody suggests is missing in this one? Only what closes a hole of the vault."""

import numpy as np
from scipy import ndimage

from cranial.resampling import sample_mask
from cranial.symmetry.head import SPACING_MM, Head
from cranial.volume import Volume

CORE_MM = 2.0  # somewhere a defect is this far from all bone; what is thinner is asymmetry
CORE_MM3 = 200.0
RIM_MM = 4.5  # from the core to the rim
LOWEST_DEG = -40.0  # seen from the middle of the head, the base begins here
FACE_DEG = -18.0  # and here, in front, the face: septum and turbinates are never alike on both sides


def missing_bone(head: Head, suggested: np.ndarray, defective: Volume) -> Volume:
    """What is missing in the skull that `head` was laid from, on its grid, disjoint from it, empty without a hole.

    suggested: occupancy of a complete skull on the head's grid, float32 (I, J, K), 0 where the vault can't be.
    """
    missing = (suggested > 0.5) & ~head.bone
    core = fills_a_hole(head, missing & (head.signed_mm > CORE_MM), missing | head.bone)
    core = plausible_parts(head, core)
    if not core.any():
        return defective.with_mask(np.zeros(defective.shape, dtype=bool))
    region = ndimage.binary_dilation(core, iterations=round(RIM_MM / SPACING_MM), mask=missing)
    # the field goes on beyond the region, so that interpolation erodes no surface; bone is taken away last
    around = ndimage.binary_dilation(region, np.ones((3, 3, 3))) & (region | ~missing)
    proposal = np.where(around, np.maximum(suggested, head.bone), np.float32(0))
    filled = sample_mask(proposal, head.affine, defective.shape, defective.affine)
    return defective.with_mask(filled & ~defective.mask)


def free_vault(head: Head) -> np.ndarray:
    """The voxels (N, 3) without bone in which bone of the vault may be missing."""
    voxels = np.argwhere(~head.bone)
    points = head.points(voxels)
    distance = np.linalg.norm(points, axis=1)
    vault = (distance > 0.25 * head.length_mm) & (distance < 0.75 * head.length_mm)
    vault &= points[:, 2] > np.sin(np.radians(LOWEST_DEG)) * distance
    # a head tilted in the scanner was cut off tilted: what lies below the scan is no defect
    down = -head.affine[2, :3]
    vault &= voxels @ down < (np.argwhere(head.bone) @ down).max()
    return voxels[vault]


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
