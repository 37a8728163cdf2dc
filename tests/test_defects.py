"""Defects: cut, disjoint, in the place their style names, the same hole at every resolution."""

import numpy as np
import pytest
from scipy import ndimage

from cranial.skulls.defects import SKULLBREAK_STYLES, STYLES, cut, draw_defect, find_vault
from cranial.skulls.hole import Vault, inside
from cranial.skulls.phantom import phantom
from cranial.volume import Volume, to_lps


@pytest.fixture(scope="module")
def skull():
    return phantom(3, spacing_mm=2.0, cut=False, mandible=False)


def _centre(case):
    """Middle of the implant relative to the middle of the head, mm."""
    where = case.implant.voxel_to_mm(np.argwhere(case.implant.mask))
    return where.mean(axis=0) - np.asarray(find_vault(case.complete).centre_mm)


@pytest.mark.parametrize("style", STYLES)
def test_defective_and_implant_are_disjoint_and_their_union_is_the_skull(skull, style):
    case = cut(skull, style, seed=1)
    assert not (case.defective.mask & case.implant.mask).any()
    assert np.array_equal(case.defective.mask | case.implant.mask, skull.mask)
    assert 700 < case.implant.volume_mm3 < 0.45 * skull.volume_mm3


@pytest.mark.parametrize("style", STYLES)
def test_the_same_seed_and_item_cut_the_same_hole_and_another_item_another(skull, style):
    one, again, other = cut(skull, style, seed=4), cut(skull, style, seed=4), cut(skull, style, seed=4, item=1)
    assert np.array_equal(one.implant.mask, again.implant.mask)
    assert not np.array_equal(one.implant.mask, other.implant.mask)


def test_bilateral_defects_have_a_piece_on_each_side(skull):
    for item in range(4):
        case = cut(skull, "bilateral", seed=0, item=item)
        x = case.implant.voxel_to_mm(np.argwhere(case.implant.mask))[:, 0] - find_vault(skull).centre_mm[0]
        assert 0.15 < np.mean(x > 0) < 0.85


def test_frontoorbital_defects_lie_in_front_and_parietotemporal_ones_at_the_side(skull):
    for item in range(4):
        front = _centre(cut(skull, "frontoorbital", seed=0, item=item))
        side = _centre(cut(skull, "parietotemporal", seed=0, item=item))
        assert front[1] < -30 and abs(side[0]) > 30


def test_skullfix_defects_lie_at_the_back(skull):
    assert all(_centre(cut(skull, "skullfix", seed=0, item=item))[1] > -15 for item in range(4))


def test_a_trephination_is_small_and_a_craniotomy_has_burr_holes(skull):
    small = cut(skull, "trephination", seed=0).implant.volume_mm3
    assert small < 8000 < cut(skull, "craniotomy", seed=0).implant.volume_mm3
    vault = find_vault(skull)
    defect = draw_defect("craniotomy", vault, np.random.default_rng(0))
    assert 3 <= len(defect.pieces[0].burr_holes) <= 6
    assert np.all(defect.pieces[0].burr_holes[:, 2] >= 5.5)


def test_edges_are_ragged():
    """The outline of a SkullBreak defect is no ellipse: its radius has high harmonics."""
    vault = Vault((0.0, 0.0, 0.0), 180.0, 142.0)
    rough = 0
    for item in range(20):
        outline = draw_defect("parietotemporal", vault, np.random.default_rng(item)).pieces[0].outline_mm
        spectrum = np.abs(np.fft.rfft(outline)) / outline.sum()
        rough += spectrum[3:8].max() > 0.01
    assert rough >= 15


@pytest.mark.parametrize("style", ["parietotemporal", "craniotomy", "bilateral"])
def test_the_hole_is_the_same_at_half_the_resolution(style):
    fine, coarse = phantom(3, spacing_mm=1.5, cut=False), phantom(3, spacing_mm=3.0, cut=False)
    vault = find_vault(fine)
    defect = draw_defect(style, vault, np.random.default_rng(1), probe=fine)
    volumes = [float((v.mask & inside(defect, v)).sum()) * v.voxel_mm3 for v in (fine, coarse)]
    assert volumes[1] == pytest.approx(volumes[0], rel=0.15)


def test_the_array_order_of_the_file_does_not_move_the_hole(skull):
    flipped_affine = skull.affine.copy()
    flipped_affine[:3, 1] *= -1
    flipped_affine[:3, 3] += skull.affine[:3, 1] * (skull.shape[1] - 1)
    flipped = Volume(skull.mask[:, ::-1], flipped_affine)
    straight, turned = cut(skull, "random_1", seed=0), cut(flipped, "random_1", seed=0)
    assert np.mean(to_lps(turned.implant).mask != straight.implant.mask) < 1e-4


def test_the_cut_goes_through_the_whole_thickness_of_the_bone(skull):
    """Nothing of the vault is left under the middle of the hole."""
    case = cut(skull, "parietotemporal", seed=2)
    vault = find_vault(skull)
    defect_centre = _centre(case)
    direction = defect_centre / np.linalg.norm(defect_centre)
    line = np.asarray(vault.centre_mm) + np.arange(45, 130, 0.5)[:, None] * direction
    index = np.rint(skull.mm_to_voxel(line)).astype(int)
    index = index[np.all((index >= 0) & (index < skull.shape), axis=1)]
    assert skull.mask[tuple(index.T)].any() and not case.defective.mask[tuple(index.T)].any()


@pytest.mark.parametrize("name", ["arothron_human", "mricrogl_ct", "keinos"])
@pytest.mark.parametrize("style", SKULLBREAK_STYLES)
def test_every_style_can_be_cut_into_a_real_head(real_skulls, name, style):
    from cranial import volume

    head = volume.read(real_skulls[name])
    case = cut(head, style, seed=0)
    assert case.implant.volume_mm3 > 700
    _, pieces = ndimage.label(case.implant.mask)
    assert pieces < 60


def test_an_unknown_style_names_the_known_ones(skull):
    with pytest.raises(ValueError, match="choose one of bilateral, frontoorbital"):
        cut(skull, "frontal", seed=0)
    with pytest.raises(ValueError, match="choose one of bilateral"):
        draw_defect("frontal", find_vault(skull), np.random.default_rng(0))


def test_an_empty_mask_is_refused(skull):
    with pytest.raises(ValueError, match="needs bone to be cut from"):
        cut(skull.with_mask(np.zeros_like(skull.mask)), "random_1", seed=0)


def test_a_skull_in_metres_is_refused():
    tiny = np.zeros((60, 60, 60), bool)
    tiny[10:50, 10:50, 10:50] = True
    with pytest.raises(ValueError, match="is it a complete vault in millimetres"):
        cut(Volume(tiny, np.diag([0.1, 0.1, 0.1, 1.0])), "random_1", seed=0)
