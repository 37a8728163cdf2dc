"""A network on voxels of 2 mm knows what is missing; where the other side has the same, it knows the surfaces better.

The mean of both is nearer to the truth than either: of what the network says (blurred, but it saw both sides, the rim
and other heads) and of the mirrored skull (sharp, but no head is its own mirror image). Where the mirrored skull has
not got what is missing, or has got it otherwise, all stays as the network said: a cheekbone may be sharpened while the
nose beside it, of which both halves are gone, is not. Where it does not fit the bone around the holes, it has no say
in them. With the shipped model, mean DSC of twenty defects in a head that no training saw: 0.862 -> 0.874; of 29 in
phantoms, whose sides are less alike than a head's, 0.901 -> 0.901.
"""

import numpy as np
from scipy import ndimage

from ..resampling import Slices, bounding_box, sample
from ..volume import Volume
from .grid import HeadGrid
from .suggestions import Suggestions

ALIKE = 0.6  # least Dice of both around a voxel, if its surface shall be drawn
LEAST_FIT = 0.55  # of the mirrored skull around the holes (Dice), if it shall have a say at all
AROUND_MM = 6.0  # standard deviation of the Gaussian that says what is around
SHARE = 0.4  # of the mirrored skull in the mean
_RIM_MM = 10.0  # what is around a hole
_REACH_MM = 3.0  # around a piece, along each axis, where its surface may come to lie
_PART = 200_000  # points at a time


def sharpened(
    proposal: np.ndarray,
    defective: Volume,
    *,
    probability: np.ndarray,
    seen: np.ndarray,
    grid: HeadGrid,
    suggestions: Suggestions,
) -> np.ndarray:
    """The proposal on the case's grid, bool (I, J, K), its surfaces drawn towards those of the mirrored skull.

    probability: the network's answer in the cube `grid`, (n, n, n). seen: what it was shown there, (3, n, n, n), the
    skull and the mirrored skull first.
    """
    result = proposal.copy(order="K")
    found = bounding_box(proposal)
    if found is None or fit_around(probability, seen, grid.spacing_mm) < LEAST_FIT:
        return result
    box = _wider(found, defective)
    piece, affine = np.ascontiguousarray(proposal[box]), _moved(defective.affine, box)
    near = ndimage.maximum_filter(piece, size=2 * _reach(defective.spacing_mm) + 1) & ~defective.mask[box]
    alike = sample(agreement(probability, seen, grid.spacing_mm), grid.affine, piece.shape, affine)
    p, s = (sample(field, grid.affine, piece.shape, affine) for field in (probability, seen[0]))
    network = np.clip(p / (1 - np.minimum(s, 0.98)), 0, 1)  # of what is not skull: see predict.to_case
    drawn = near & (alike >= ALIKE)
    open_ = drawn & (network >= (0.5 - SHARE) / (1 - SHARE)) & (network < 0.5 / (1 - SHARE))  # the mirror decides
    mean = (1 - SHARE) * network
    mean[open_] += SHARE * _mirrored(suggestions, np.argwhere(open_), affine)
    result[box][drawn] = mean[drawn] >= 0.5
    return result


def agreement(probability: np.ndarray, seen: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Soft Dice, around each voxel of a cube, of what a network says and of the mirrored bone near it: (n, n, n)."""
    free = 1 - seen[0]
    said = np.minimum(probability, free)
    reach = 2 * _reach([spacing_mm] * 3) + 1
    near = ndimage.maximum_filter((said >= 0.5 * free) & (free > 0.02), size=reach)
    has = np.minimum(seen[1], free)
    both, all_ = (
        ndimage.gaussian_filter(np.where(near, field, 0), AROUND_MM / spacing_mm, truncate=2.5)
        for field in (np.minimum(said, has), said + has)
    )
    return 2 * both / np.maximum(all_, 1e-6)


def fit_around(probability: np.ndarray, seen: np.ndarray, spacing_mm: float) -> float:
    """Soft Dice of skull and mirrored skull in the 10 mm around what a network says is missing; 1 where nothing is.

    Where both differ around the holes, what the mirrored skull has in them is no better.
    """
    said = (probability >= 0.5 * (1 - seen[0])) & (probability > 0.02)
    near = ndimage.binary_dilation(said, iterations=max(1, round(_RIM_MM / spacing_mm)))
    rim = near & ~ndimage.binary_dilation(said)
    both, all_ = np.minimum(seen[0], seen[1])[rim].sum(), (seen[0] + seen[1])[rim].sum()
    return float(2 * both / all_) if all_ > 0 else 1.0


def _reach(spacing_mm: np.ndarray) -> np.ndarray:
    """_REACH_MM in voxels along each axis."""
    return np.ceil(_REACH_MM / np.asarray(spacing_mm)).astype(int)


def _wider(box: Slices, volume: Volume) -> Slices:
    """A box and what is within reach of it, as far as the volume goes."""
    edges = zip(box, _reach(volume.spacing_mm), volume.shape, strict=True)
    return tuple(slice(max(0, part.start - more), min(edge, part.stop + more)) for part, more, edge in edges)


def _moved(affine: np.ndarray, box: Slices) -> np.ndarray:
    """The affine of a box of the grid."""
    moved = affine.copy()
    moved[:3, 3] += moved[:3, :3] @ np.array([part.start for part in box], float)
    return moved


def _mirrored(suggestions: Suggestions, voxels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """At voxels (N, 3) of a grid, some at a time."""
    parts = np.array_split(voxels, len(voxels) // _PART + 1)
    return np.concatenate([suggestions.mirrored(part @ affine[:3, :3].T + affine[:3, 3]) for part in parts])
