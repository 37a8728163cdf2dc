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
    order = np.argsort(mask.strides)[::-1]  # fastest axis last: label and its result walk memory in one line
    part, kept = mask[box].transpose(order), np.zeros_like(mask)
    labels, count = label(part)
    if count < 2:
        return mask
    sizes = np.zeros(count + 1, dtype=np.int64)
    for plane in labels:  # bincount converts its input to int64: keep that copy small
        sizes += np.bincount(plane.ravel(), minlength=count + 1)
    sizes[0] = 0
    np.equal(labels, sizes.argmax(), out=kept[box].transpose(order))
    return kept
