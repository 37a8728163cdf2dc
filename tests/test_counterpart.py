"""What the other side has, and this one neither as bone nor as proposed, is missing beside a hole."""

import numpy as np

from cranial.reconstruction.counterpart import APART_MM, LEAST_MM3, LEAST_PROBABILITY, counterparts

N = 48


def plate(low=20, high=28):
    bone = np.zeros((N,) * 3, bool)
    bone[:, :, low:high] = True
    return bone


def bar(x0=10, x1=38):
    """A bar of 6 mm, a cheekbone's thickness, standing off a plate."""
    found = np.zeros((N,) * 3, bool)
    found[x0:x1, 21:27, 36:42] = True
    found[8:14, 21:27, 28:42] = found[34:40, 21:27, 28:42] = True
    return found


def found_in(skull, said, other, probability=0.5):
    """With a network that gives every voxel this probability, in voxels of 1 mm."""
    return counterparts(skull.astype(float), said, np.full(said.shape, probability), other.astype(float), 1.0)


def test_a_structure_of_the_other_side_beside_what_is_proposed_is_missing_too():
    other = plate() | bar()
    skull = plate() | (bar() & (np.arange(N) < 12)[:, None, None])
    said = bar() & ((np.arange(N) >= 12) & (np.arange(N) < 20))[:, None, None]
    found = found_in(skull, said, other)
    missing = other & ~skull & ~said
    assert (found & missing).sum() > 0.95 * missing.sum() and not (found & ~missing).any()
    far = found_in(skull, np.roll(said, 20, axis=1), other)
    assert not far.any(), "nothing is proposed beside it"
    assert not found_in(skull, said, other, 0.99 * LEAST_PROBABILITY).any(), "the network all but rules it out"
    assert np.array_equal(found_in(skull, said, other, 1.01 * LEAST_PROBABILITY), found)


def test_a_surface_that_lies_otherwise_on_the_other_side_is_no_structure():
    skull, other = plate(), plate(20, 28 + round(APART_MM) - 1)
    said = np.zeros_like(skull)
    said[16:32, 16:32, 20:28] = True
    skull &= ~said
    assert not found_in(skull, said, other).any()


def test_a_crumb_of_the_other_side_is_none_either():
    skull, said = plate(), np.zeros((N,) * 3, bool)
    said[20:26, 20:26, 28:31] = True
    other = plate() | said
    other[20:26, 20:26, 31:38] = True
    assert 6 * 6 * 7 < LEAST_MM3 < 6 * 6 * 13
    assert not found_in(skull, said, other).any()
    other[20:26, 20:26, 31:44] = True
    assert found_in(skull, said, other).any()


def test_a_mirrored_skull_that_does_not_fit_around_has_no_say():
    other = plate() | bar()
    skull = plate() | (bar() & (np.arange(N) < 12)[:, None, None])
    said = bar() & ((np.arange(N) >= 12) & (np.arange(N) < 20))[:, None, None]
    elsewhere = np.roll(skull & ~bar(), 7, axis=2) | (skull & bar())
    assert not found_in(elsewhere, said, other).any()
