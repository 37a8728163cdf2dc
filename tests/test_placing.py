"""A defect goes where it is put, at the size that is asked for, and is otherwise the style's own."""

import numpy as np
import pytest

from cranial.skulls.defects import cut, find_vault
from cranial.skulls.phantom import phantom
from cranial.skulls.placing import first_bone, place


@pytest.fixture(scope="module")
def skull():
    return phantom(3, spacing_mm=2.0, cut=False, mandible=False)


@pytest.fixture(scope="module")
def vertex_mm(skull):
    """The outermost bone straight above the middle of the head."""
    middle = np.array(find_vault(skull).centre_mm)
    return first_bone(skull, middle + (0, 0, 300), np.array([0, 0, -1]))


def middle_mm(case):
    return case.implant.voxel_to_mm(np.argwhere(case.implant.mask)).mean(axis=0)


def test_without_a_choice_it_is_the_defect_that_cut_makes(skull):
    ours, theirs = place(skull, "bilateral", seed=4), cut(skull, "bilateral", seed=4)
    assert np.array_equal(ours.implant.mask, theirs.implant.mask)
    assert np.array_equal(ours.defective.mask, theirs.defective.mask)


def test_it_lies_around_the_place_and_what_is_cut_out_is_the_skulls(skull, vertex_mm):
    case = place(skull, "parietotemporal", seed=1, at_mm=vertex_mm)
    assert np.linalg.norm(middle_mm(case)[:2] - vertex_mm[:2]) < 12
    assert np.array_equal(case.defective.mask ^ case.implant.mask, skull.mask)


def test_a_larger_one_takes_more_and_holds_the_smaller(skull, vertex_mm):
    small, large = (place(skull, "random_2", seed=2, at_mm=vertex_mm, size=size).implant.mask for size in (0.6, 1.0))
    assert large.sum() > 2 * small.sum()
    assert (small & ~large).sum() < 0.05 * small.sum()  # the ragged edge is the head's, not the hole's


def test_both_sides_of_a_bilateral_defect_follow_as_mirror_images(skull):
    centre = np.array(find_vault(skull).centre_mm)
    towards = np.array([0.7, 0.6, 0.5])
    case = place(skull, "bilateral", seed=4, at_mm=centre + 90 * towards / np.linalg.norm(towards))
    where = case.implant.voxel_to_mm(np.argwhere(case.implant.mask)) - centre
    left, right = where[where[:, 0] > 0].mean(axis=0), where[where[:, 0] < 0].mean(axis=0)
    assert left[1] > 15 and right[1] > 0 and left[2] > 15 and right[2] > 0


def test_a_ray_meets_the_near_side_of_the_head_or_nothing(skull, vertex_mm):
    assert vertex_mm[2] == pytest.approx(skull.voxel_to_mm(np.argwhere(skull.mask))[:, 2].max(), abs=12)
    assert first_bone(skull, vertex_mm + (500, 0, 0), np.array([0, 0, -1])) is None


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"size": 0}, "size is 0; give a factor from 0.1 to 4"),
        ({"size": 4}, "the defect would take .* of the bone, more than 45%; make it smaller"),
        ({"style": "square"}, "style is 'square'; choose one of bilateral"),
    ],
)
def test_what_cannot_be_cut_is_said(skull, choices, message):
    with pytest.raises(ValueError, match=message):
        place(skull, **{"style": "random_2", "seed": 2} | choices)


def test_where_there_is_no_bone_there_is_nothing_to_cut(skull, vertex_mm):
    vault = skull.with_mask(skull.mask.copy())
    vault.mask[:, :, : skull.shape[2] // 2] = False
    with pytest.raises(ValueError, match="there is no bone to cut at this place; choose one on the vault"):
        place(vault, "random_2", seed=2, at_mm=vertex_mm - (0, 0, 400), size=0.3)
