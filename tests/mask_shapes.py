"""Masks to measure: boxes, balls, lumps at random, and a case that has all three masks of one."""

import numpy as np

SPACING_MM = (0.4, 0.7, 1.1)
ISOTROPIC_MM = (1.0, 1.0, 1.0)


def box(shape, lower, upper):
    """A box of voxels lower <= index < upper."""
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))] = True
    return mask


def ball(shape, centre, radius_vox):
    grid = np.indices(shape) - np.reshape(centre, (3, 1, 1, 1))
    return (grid**2).sum(0) <= radius_vox**2


def lumps(rng, shape):
    """A few boxes at random: touching, apart, cut by the border."""
    mask = np.zeros(shape, dtype=bool)
    for _ in range(3):
        lower = [rng.integers(0, size - 1) for size in shape]
        upper = [rng.integers(low + 1, size + 1) for low, size in zip(lower, shape, strict=True)]
        mask |= box(shape, lower, upper)
    return mask


def a_case(rng, shape=(24, 21, 19)):
    """(predicted, reference, defective): two overlapping lumps of bone, and skull around them."""
    reference = ball(shape, (11, 10, 9), 6)
    predicted = np.roll(reference, (1, -1, 2), axis=(0, 1, 2)) & (rng.random(shape) > 0.05)
    defective = ball(shape, (11, 10, 9), 9) & ~ball(shape, (11, 10, 9), 7)
    return predicted, reference, defective
