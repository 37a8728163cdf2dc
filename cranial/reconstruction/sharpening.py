"""A network on voxels of 2 mm knows what is missing; where the other side has the same, it knows the surfaces better.

The mean of both is nearer to the truth than either: of what the network says (blurred, but it saw both sides, the rim
and other heads) and of the mirrored skull (sharp, but no head is its own mirror image). A piece that the mirrored skull
has not got, or has got otherwise, stays as the network said. With the shipped model, mean DSC of the pieces that are
sharpened: twelve of twenty defects in a head that no training saw, 0.892 -> 0.923; six of twelve in held-out phantoms,
0.926 -> 0.940.
"""

import numpy as np
from scipy import ndimage

from ..resampling import Slices, bounding_box, sample
from ..volume import Volume, thinned
from .grid import HeadGrid
from .suggestions import Suggestions

ALIKE = 0.77  # least Dice of a piece and the mirrored bone around it: at most 0.72 where the other side lacks it too,
# at least 0.81 where it has it, in twenty defects of a real head and twelve of held-out phantoms
SHARE = 0.4  # of the mirrored skull in the mean
_REACH_MM = 3.0  # around a piece, along each axis, where its surface may come to lie
_PART = 200_000  # points at a time


def sharpened(
    proposal: np.ndarray,
    defective: Volume,
    *,
    probability: np.ndarray,
    occupancy: np.ndarray,
    grid: HeadGrid,
    suggestions: Suggestions,
) -> np.ndarray:
    """The proposal on the case's grid, bool (I, J, K), its pieces' surfaces drawn towards those of the mirrored skull.

    probability, occupancy: the network's answer and the skull in the cube `grid`, (n, n, n). Pieces are taken one by
    one, 6-connected.
    """
    result = proposal.copy(order="K")
    whole = bounding_box(proposal)
    if whole is None:
        return result
    around = _wider(whole, defective)
    skull = Volume(np.ascontiguousarray(defective.mask[around]), _moved(defective.affine, around))
    pieces, changed = np.ascontiguousarray(proposal[around]), result[around]
    labels, _ = ndimage.label(pieces)
    for number, found in enumerate(ndimage.find_objects(labels), start=1):
        box = _wider(found, skull)
        piece = labels[box] == number
        near = ndimage.maximum_filter(piece, size=2 * _reach(skull) + 1)
        near &= ~skull.mask[box] & ((labels[box] == 0) | piece)
        affine = _moved(skull.affine, box)
        if _alike(piece, near, affine, suggestions) < ALIKE:
            continue
        p, s = (sample(field, grid.affine, near.shape, affine) for field in (probability, occupancy))
        network = np.clip(p / (1 - np.minimum(s, 0.98)), 0, 1)  # of what is not skull: see predict.to_case
        open_ = near & (network >= (0.5 - SHARE) / (1 - SHARE)) & (network < 0.5 / (1 - SHARE))  # the mirror decides
        mean = (1 - SHARE) * network
        mean[open_] += SHARE * _mirrored(suggestions, np.argwhere(open_), affine)
        changed[box][near] = mean[near] >= 0.5
    return result


def _alike(piece: np.ndarray, near: np.ndarray, affine: np.ndarray, suggestions: Suggestions) -> float:
    """Dice of a piece and the mirrored bone near it, seen about every millimetre; both bool (I, J, K)."""
    rough, seen = (thinned(Volume(mask, affine), spacing_mm=1.0) for mask in (piece, near))
    voxels = np.argwhere(seen.mask)
    has, said = _mirrored(suggestions, voxels, seen.affine) >= 0.5, rough.mask[seen.mask]
    both = np.count_nonzero(has) + np.count_nonzero(said)
    return 2 * np.count_nonzero(has & said) / both if both else 0.0


def _reach(volume: Volume) -> np.ndarray:
    """_REACH_MM in voxels along each axis."""
    return np.ceil(_REACH_MM / np.asarray(volume.spacing_mm)).astype(int)


def _wider(box: Slices, volume: Volume) -> Slices:
    """A box and what is within reach of it, as far as the volume goes."""
    edges = zip(box, _reach(volume), volume.shape, strict=True)
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
