"""The classical reconstruction, nothing learned: the skull mirrored, bent onto itself, minus itself, cleaned.

No head is its own mirror image, so after the reflection a smooth displacement, cubic in the coordinates,
brings the mirrored skull onto the skull around the hole. What is missing on both sides stays missing.
"""

from collections.abc import Callable
from itertools import combinations_with_replacement

import numpy as np
from scipy import ndimage

from cranial.symmetry.head import FLIP, SPACING_MM, Head, lay_head
from cranial.symmetry.holes import free_vault, missing_bone
from cranial.volume import Volume


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
    return missing_bone(head, mirrored, defective)


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
    voxels = free_vault(head)
    mirrored = np.zeros_like(head.occupancy)
    for part in np.array_split(voxels, 16):
        points = head.points(part)
        images = (points + cubic_terms(points) @ bend) * FLIP
        mirrored[tuple(part.T)] = head.at(head.occupancy, images)
    return mirrored
