"""From a CT to its skull: the largest connected part at a threshold; table, headrest and leads fall away."""

import numpy as np

from cranial.resampling import bounding_box


def largest_part(mask: np.ndarray) -> np.ndarray:
    """The largest 6-connected part of a mask (I, J, K), same shape and memory order.

    Between bone and anything outside the head lies skin, which no bone threshold passes, so what is not of
    the head is a part of its own. What metal artefacts weld to the skull stays: raise the threshold.
    """
    from scipy.ndimage import label

    box = bounding_box(mask)
    if box is None:
        return mask
    labels, count = label(mask[box])
    if count < 2:
        return mask
    sizes = np.zeros(count + 1, dtype=np.int64)
    for plane in np.moveaxis(labels, 2, 0):  # bincount converts its input to int64: keep that copy small
        sizes += np.bincount(plane.ravel(), minlength=count + 1)
    sizes[0] = 0
    kept = np.zeros_like(mask)
    kept[box] = labels == sizes.argmax()
    return kept
