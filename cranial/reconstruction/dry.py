"""A head without jaw and neck, as dry skulls are: who sees patients only expects a jaw below every face.

What belongs to the jaw is told by place: the boxes below were measured on the head *mricrogl_ct* in its own cube (bite,
rami up to the zygomatic arches, condyles, spine). For another head look at the result before you train with it.
"""

import numpy as np

# farther than x from the mid-plane, from y to y behind the cube's front, below z: shares of the cube's edge
_NOT_SKULL = (
    (0.0, 0.0, 1.0, 0.318),  # jaw below the bite, spine
    (0.105, 0.27, 0.44, 0.41),  # rami
    (0.105, 0.44, 0.50, 0.365),  # condyles
    (0.15, 0.0, 0.36, 0.385),  # what metal in teeth throws out
)


def as_dry_skull(occupancy: np.ndarray) -> np.ndarray:
    """The head (n, n, n) in the cube of `grid`, any type, with 0 where jaw and neck were."""
    n = occupancy.shape[-1]
    x, y, z = np.ogrid[:n, :n, :n]
    x, y, z = np.abs(x - 0.5 * (n - 1)) / n, y / n, z / n
    skull = occupancy.copy()
    for off, front, behind, below in _NOT_SKULL:
        skull[(x >= off) & (y >= front) & (y < behind) & (z < below)] = 0
    return skull
