"""A network on coarse voxels knows what is missing; where the other side has the same, it knows the surfaces better.

The mean of both is nearer to the truth than either: of what the network says (blurred, but it saw both sides, the rim
and other heads) and of the mirrored skull (sharp, but no head is its own mirror image). Where the mirrored skull has
not got what is missing, or has got it otherwise, all stays as the network said: a cheekbone may be sharpened while the
nose beside it, of which both halves are gone, is not. Where it does not fit the bone around the holes, it has no say
in them. Mean DSC of twenty defects in a head that no training saw, and of 29 in phantoms, whose sides are less alike:
0.867 -> 0.885 and 0.894 -> 0.902 with the shipped model's first network alone; with the one that looks closer, which
has learnt most of it, 0.888 -> 0.891 and 0.911 -> 0.912.
"""

import numpy as np
from scipy import ndimage

from ..resampling import bounding_box, box_affine, sample, widened
from ..volume import Volume
from .answer import Answer
from .grid import HeadGrid
from .suggestions import Suggestions

ALIKE = 0.6  # least Dice of both around a voxel, if its surface shall be drawn
LEAST_FIT = 0.6  # of the mirrored skull around the holes (Dice), if it shall have a say at all
AROUND_MM = 6.0  # standard deviation of the Gaussian that says what is around
SHARE = 0.3  # of the mirrored skull in the mean
_RIM_MM = 10.0  # what is around a hole
_REACH_MM = 3.0  # around a piece, along each axis, where its surface may come to lie
_PART = 200_000  # points at a time


def sharpened(
    proposal: np.ndarray,
    defective: Volume,
    answer: Answer,
    suggestions: Suggestions,
    *,
    alike: np.ndarray,
    grid: HeadGrid,
) -> np.ndarray:
    """The proposal on the case's grid, bool (I, J, K), its surfaces drawn towards those of the mirrored skull.

    answer: what it was made of. alike: the `agreement` in the cube `grid`, (n, n, n).
    """
    result = proposal.copy(order="K")
    found = bounding_box(proposal)
    if found is None:
        return result
    reach = _reach(defective.spacing_mm)
    box = widened(found, reach, proposal.shape)
    piece, affine = np.ascontiguousarray(proposal[box]), box_affine(defective.affine, box)
    near = ndimage.maximum_filter(piece, size=2 * reach + 1) & ~defective.mask[box]
    network = answer.share_on(piece.shape, affine)
    drawn = near & (sample(alike, grid.affine, piece.shape, affine) >= ALIKE)
    open_ = drawn & (network >= (0.5 - SHARE) / (1 - SHARE)) & (network < 0.5 / (1 - SHARE))  # the mirror decides
    mean = (1 - SHARE) * network
    mean[open_] += SHARE * _mirrored(suggestions, np.argwhere(open_), affine)
    result[box][drawn] = mean[drawn] >= 0.5
    return result


def agreement(answer: Answer, mirrored: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Soft Dice, around each voxel of a cube, of an answer and of the mirrored bone near it: (n, n, n)."""
    free = 1 - answer.occupancy
    said = np.minimum(answer.probability, free)
    near = ndimage.maximum_filter(answer.said, size=2 * _reach([spacing_mm] * 3) + 1)
    has = np.minimum(mirrored, free)
    both, all_ = (
        ndimage.gaussian_filter(np.where(near, field, 0), AROUND_MM / spacing_mm, truncate=2.5)
        for field in (np.minimum(said, has), said + has)
    )
    return 2 * both / np.maximum(all_, 1e-6)


def fit_around(answer: Answer, mirrored: np.ndarray, spacing_mm: float) -> float:
    """Soft Dice of skull and mirrored skull in the 10 mm around what an answer says is missing; 1 where nothing is.

    Where both differ around the holes, what the mirrored skull has in them is no better.
    """
    said, skull = answer.said, answer.occupancy
    near = ndimage.binary_dilation(said, iterations=max(1, round(_RIM_MM / spacing_mm)))
    rim = near & ~ndimage.binary_dilation(said)
    both, all_ = np.minimum(skull, mirrored)[rim].sum(), (skull + mirrored)[rim].sum()
    return float(2 * both / all_) if all_ > 0 else 1.0


def _reach(spacing_mm: np.ndarray) -> np.ndarray:
    """_REACH_MM in voxels along each axis."""
    return np.ceil(_REACH_MM / np.asarray(spacing_mm)).astype(int)


def _mirrored(suggestions: Suggestions, voxels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """At voxels (N, 3) of a grid, some at a time."""
    parts = np.array_split(voxels, len(voxels) // _PART + 1)
    return np.concatenate([suggestions.mirrored(part @ affine[:3, :3].T + affine[:3, 3]) for part in parts])
