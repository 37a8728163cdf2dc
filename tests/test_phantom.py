"""Phantoms: are they skulls, the same ones every time and at every size?"""

import numpy as np
import pytest
from scipy import ndimage

from cranial.rng import generator
from cranial.skulls.anatomy import draw_anatomy
from cranial.skulls.phantom import phantom


@pytest.fixture(scope="module")
def whole():
    """A phantom whose scan was not cut, 2 mm."""
    return phantom(3, spacing_mm=2.0, cut=False)


def test_an_item_is_the_same_skull_every_time_and_another_item_another_skull():
    one, again, other = (phantom(i, spacing_mm=4.0) for i in (5, 5, 6))
    assert np.array_equal(one.mask, again.mask) and np.array_equal(one.affine, again.affine)
    assert one.mask.shape != other.mask.shape or not np.array_equal(one.mask, other.mask)


def test_another_seed_is_another_population():
    one, other = phantom(5, spacing_mm=4.0), phantom(5, seed=1, spacing_mm=4.0)
    assert one.mask.shape != other.mask.shape or not np.array_equal(one.mask, other.mask)


def test_the_same_skull_at_another_spacing_has_the_same_size_and_nearly_the_same_volume():
    fine, coarse = phantom(3, spacing_mm=1.0), phantom(3, spacing_mm=2.0)
    extents = [np.ptp(v.voxel_to_mm(np.argwhere(v.mask)), axis=0) for v in (fine, coarse)]
    assert np.abs(extents[0] - extents[1]).max() <= 4
    assert coarse.volume_mm3 == pytest.approx(fine.volume_mm3, rel=0.02)


def test_anisotropic_spacing_is_kept_in_the_affine():
    assert phantom(0, spacing_mm=(2.0, 3.0, 5.0)).spacing_mm == pytest.approx((2.0, 3.0, 5.0))


def test_adult_measures(whole):
    extent = np.ptp(whole.voxel_to_mm(np.argwhere(whole.mask)), axis=0)
    assert 125 < extent[0] < 190 and 150 < extent[1] < 230
    for item in range(200):
        anatomy = draw_anatomy(generator(0, item))
        assert 0.68 <= anatomy.half_breadth / anatomy.half_length <= 0.93
        assert 3.6 <= anatomy.thickness <= 10


def test_the_vault_is_closed_from_the_vertex_to_the_brow(whole):
    """Rays from the middle of the head upward and sideways all meet bone, exactly one wall of 2 to 25 mm."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(400, 3))
    directions[:, 2] = np.abs(directions[:, 2]) + 0.15
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    steps = np.arange(20, 140, 0.5)
    index = np.rint(whole.mm_to_voxel((steps[:, None, None] * directions + [0, 0, 10]).reshape(-1, 3))).astype(int)
    ok = np.all((index >= 0) & (index < whole.mask.shape), axis=1)
    bone = np.zeros(len(index), bool)
    bone[ok] = whole.mask[tuple(index[ok].T)]
    thickness_mm = 0.5 * bone.reshape(len(steps), -1).sum(axis=0)
    assert thickness_mm.min() > 0.5
    assert np.mean((thickness_mm > 2) & (thickness_mm < 25)) > 0.97


def test_the_temple_is_thinner_than_the_forehead_on_average():
    temple, brow = [], []
    for item in range(6):
        skull = phantom(item, spacing_mm=2.0, cut=False)
        for place, direction in ((temple, (1, -0.15, 0)), (brow, (0.1, -1, 0.35))):
            line = np.arange(40, 125, 0.5)[:, None] * np.asarray(direction) / np.linalg.norm(direction)
            index = np.rint(skull.mm_to_voxel(line)).astype(int)
            index = index[np.all((index >= 0) & (index < skull.mask.shape), axis=1)]
            place.append(0.5 * skull.mask[tuple(index.T)].sum())
    assert np.mean(temple) < np.mean(brow)


def test_the_foramen_magnum_is_open(whole):
    """Looking straight down inside the head there is a hole in the floor: the largest one of the posterior fossa."""
    low, high = whole.mm_to_voxel(np.array([[-25.0, -5.0, -85.0], [25.0, 55.0, -5.0]])).round().astype(int)
    floor = whole.mask[low[0] : high[0], low[1] : high[1], max(0, low[2]) : high[2]]
    spineless = phantom(3, spacing_mm=2.0, cut=False, mandible=False)
    assert spineless.mask.any() and not floor.any(axis=2).all()


def test_a_population_is_nearly_but_not_exactly_symmetric():
    from cranial.symmetry import find_midplane

    for item in range(3):
        skull = phantom(item, spacing_mm=2.0)
        plane = find_midplane(skull)
        assert plane.agreement > 0.6 and abs(plane.normal_mm[0]) > 0.98
        assert not np.array_equal(skull.mask, skull.mask[::-1])


def test_some_scans_have_a_mandible_some_end_above_it():
    with_jaw, without = (
        phantom(1, spacing_mm=3.0, cut=False, mandible=True),
        phantom(1, spacing_mm=3.0, cut=False, mandible=False),
    )
    assert with_jaw.volume_mm3 > without.volume_mm3
    heights = [np.ptp(np.argwhere(phantom(i, spacing_mm=4.0).mask)[:, 2]) * 4 for i in range(12)]
    assert max(heights) - min(heights) > 40


def test_bone_is_a_few_pieces_and_no_dust(whole):
    labels, count = ndimage.label(whole.mask)
    sizes = np.bincount(labels.ravel())[1:]
    assert count <= 12 and sizes.max() > 0.5 * sizes.sum()


@pytest.mark.parametrize("spacing", [0.0, -1.0, np.nan, 9.0, (1.0, 0.0, 1.0)])
def test_a_spacing_that_leaves_no_bone_is_refused(spacing):
    with pytest.raises(ValueError, match="above 0 and at most 8 mm"):
        phantom(0, spacing_mm=spacing)


def test_a_negative_item_is_refused():
    with pytest.raises(ValueError, match="must be >= 0"):
        phantom(-1, spacing_mm=4.0)
