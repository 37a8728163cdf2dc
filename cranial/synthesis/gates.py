"""Is this case fit to learn from? What a synthetic case must be, whoever made it; and if it is not, why."""

import numpy as np
from scipy import ndimage

MIN_DEFECT_MM3 = 500.0
MAX_DEFECT_SHARE = 0.5  # of the complete skull
MIN_CONTACT = 0.02  # of the defect's voxels: the share with bone beside them; a hole has a rim
MAX_PIECES = 4  # larger than a twentieth of the defect
MIN_WHOLE = 0.9  # share of the complete skull that its largest piece has


def refusal(defective: np.ndarray, defect: np.ndarray, *, voxel_mm3: float) -> str | None:
    """Why a case, bool (I, J, K) twice, is not to be used, in words that are the same for the same fault; or None.

    Neither part is empty, they are disjoint, the defect is neither tiny nor most of the skull, it touches the bone,
    it is in few pieces, and skull and defect together are one.
    """
    if not defective.any() or not defect.any():
        return f"empty {'skull' if not defective.any() else 'defect'}"
    if (defective & defect).any():
        return "skull and defect overlap"
    voxels = np.count_nonzero(defect)
    if voxels * voxel_mm3 < MIN_DEFECT_MM3:
        return f"defect below {MIN_DEFECT_MM3:g} mm3"
    if voxels > MAX_DEFECT_SHARE * (voxels + np.count_nonzero(defective)):
        return f"defect above {MAX_DEFECT_SHARE:.0%} of the skull"
    if np.count_nonzero(ndimage.binary_dilation(defective) & defect) < MIN_CONTACT * voxels:
        return "defect does not touch the skull"
    pieces, _ = ndimage.label(defect, np.ones((3, 3, 3)))
    if np.count_nonzero(np.bincount(pieces.ravel())[1:] > 0.05 * voxels) > MAX_PIECES:
        return f"defect in more than {MAX_PIECES} pieces"
    complete = defective | defect
    pieces, _ = ndimage.label(complete, np.ones((3, 3, 3)))
    if np.bincount(pieces.ravel())[1:].max() < MIN_WHOLE * np.count_nonzero(complete):
        return "skull in pieces"
    return None
