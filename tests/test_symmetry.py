"""The mid-plane follows the head and not the file, and the mirror fills what the other side still has."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cranial.skulls.defects import cut
from cranial.symmetry import Midplane, find_midplane, mirror_defect
from cranial.volume import Volume, read

SPACING_MM = 2.0
MIDDLE_MM = np.array([110.0, 120.0, 110.0])
UPRIGHT = Rotation.identity()


def skull_in_pose(
    turn: Rotation = UPRIGHT, shift_mm=(0.0, 0.0, 0.0), *, spacing_mm=(SPACING_MM,) * 3, holes=()
) -> tuple[Volume, np.ndarray]:
    """A symmetric skull-like shell in a pose, and a point of its mid-plane.

    holes: (centre in the head's own mm, radius): balls of bone taken away.
    """
    spacing = np.array(spacing_mm)
    shape = np.ceil(np.array([220, 240, 220]) / spacing).astype(int)
    centre = MIDDLE_MM + shift_mm
    places = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1) * spacing - centre
    x, y, z = np.moveaxis(places @ turn.as_matrix(), -1, 0)  # the head's own axes
    breadth = 70 + 0.08 * y  # wider at the back
    vault = (x / breadth) ** 2 + (y / 88) ** 2 + (z / 66) ** 2
    hollow = ((x / (breadth - 7)) ** 2 + (y / 81) ** 2 + (z / 59) ** 2 < 1) & (z > -43)
    shell = (vault < 1) & ~hollow & (z > -50)
    orbits = (np.abs(x) - 32) ** 2 + (y + 78) ** 2 + (z + 25) ** 2 < 18**2
    cheeks = (np.abs(x) - 60) ** 2 + (y + 45) ** 2 + (z + 45) ** 2 < 12**2
    bone = (shell & ~orbits) | cheeks
    for (a, b, c), radius in holes:
        bone &= (x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2 > radius**2
    return Volume(bone, np.diag([*spacing, 1.0])), centre


def assert_same_plane(found: Midplane, normal, point_mm, *, degrees: float, mm: float) -> None:
    """Normals differ by less than `degrees`; the point lies within `mm` of the plane found."""
    cosine = float(np.clip(found.normal_mm @ normal, -1, 1))
    assert np.degrees(np.arccos(cosine)) < degrees
    assert abs((point_mm - found.point_mm) @ found.normal_mm) < mm


def moved(volume: Volume, turn: Rotation, shift_mm) -> Volume:
    """The same voxels, elsewhere in the patient's space, turned about the middle of the grid."""
    motion = np.eye(4)
    motion[:3, :3] = turn.as_matrix()
    middle = volume.voxel_to_mm(np.array([volume.shape]) / 2)[0]
    motion[:3, 3] = middle + shift_mm - turn.as_matrix() @ middle
    return Volume(volume.mask, motion @ volume.affine)


def dice(one: Volume, other: Volume) -> float:
    return 2 * np.count_nonzero(one.mask & other.mask) / (one.mask.sum() + other.mask.sum())


POSES = [  # yaw, roll, pitch in degrees, shift in mm
    ((0, 0, 0), (0, 0, 0)),
    ((30, 0, 0), (-15, 5, 0)),
    ((0, -30, 10), (10, 0, 5)),
    ((-20, 20, -15), (12, -8, 4)),
]


@pytest.mark.parametrize(("angles", "shift_mm"), POSES)
def test_the_plane_of_a_symmetric_skull_follows_its_pose(angles, shift_mm):
    turn = Rotation.from_euler("zyx", angles, degrees=True)
    skull, point_mm = skull_in_pose(turn, shift_mm)
    found = find_midplane(skull)
    assert_same_plane(found, turn.as_matrix()[:, 0], point_mm, degrees=0.5, mm=0.5)
    assert found.agreement > 0.99


def test_the_plane_is_the_patients_and_not_the_arrays():
    skull, point_mm = skull_in_pose(Rotation.from_euler("z", 12, degrees=True))
    permuted = skull.affine[:, [2, 0, 1, 3]].copy()
    permuted[:3, 3] += permuted[:3, 1] * (skull.shape[0] - 1)
    permuted[:3, 1] *= -1
    shuffled = Volume(skull.mask.transpose(2, 0, 1)[:, ::-1], permuted)
    plain, turned = find_midplane(skull), find_midplane(shuffled)
    assert_same_plane(turned, plain.normal_mm, plain.point_mm, degrees=0.01, mm=0.01)
    assert plain.normal_mm[0] > 0.9


def test_thick_slices_do_not_tilt_the_plane():
    turn = Rotation.from_euler("zyx", (8, -6, 5), degrees=True)
    skull, point_mm = skull_in_pose(turn, spacing_mm=(1.5, 1.5, 5.0))
    assert_same_plane(find_midplane(skull), turn.as_matrix()[:, 0], point_mm, degrees=1, mm=1)


def test_a_large_hole_on_one_side_moves_the_plane_by_less_than_a_degree_and_a_millimetre():
    turn = Rotation.from_euler("zyx", (10, 5, 0), degrees=True)
    complete, point_mm = skull_in_pose(turn)
    defective, _ = skull_in_pose(turn, holes=[((55, 10, 30), 50)])
    assert defective.volume_mm3 < 0.93 * complete.volume_mm3
    found = find_midplane(defective)
    assert_same_plane(found, turn.as_matrix()[:, 0], point_mm, degrees=1, mm=1)
    assert found.agreement < find_midplane(complete).agreement - 0.1


def test_the_tilted_edge_where_the_scan_ends_does_not_tilt_the_plane():
    turn = Rotation.from_euler("zyx", (5, 15, 0), degrees=True)
    skull, point_mm = skull_in_pose(turn)
    skull.mask[:, :, :38] = False
    assert_same_plane(find_midplane(skull), turn.as_matrix()[:, 0], point_mm, degrees=1, mm=1)


def test_speckle_and_a_neck_bent_to_one_side_do_not_move_the_plane(rng):
    skull, point_mm = skull_in_pose(shift_mm=(0, 0, 40))
    mask = skull.mask.copy()
    lower = mask[:, :, :15]
    lower[70:85, 50:65] = True  # starts 100 mm below the vertex, on the left only
    mask |= rng.random(mask.shape) < 0.002
    found = find_midplane(skull.with_mask(mask))
    assert_same_plane(found, [1, 0, 0], point_mm, degrees=1, mm=1)


def test_reflecting_twice_is_nothing_and_points_of_the_plane_stay(rng):
    plane = Midplane(np.array([3.0, -2.0, 5.0]), np.array([0.96, 0.0, 0.28]), 1.0)
    points = rng.normal(0, 50, (20, 3))
    images = plane.reflect(points)
    np.testing.assert_allclose(plane.reflect(images), points, atol=1e-9)
    halfway = (points + images) / 2
    np.testing.assert_allclose(plane.reflect(halfway), halfway, atol=1e-9)
    assert not np.allclose(images, points)


def test_the_axes_of_a_plane_are_left_posterior_superior():
    axes = Midplane(np.zeros(3), np.array([0.96, 0.0, 0.28]), 1.0).axes
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(axes) > 0 and np.all(np.diag(axes) > 0.9)


@pytest.mark.parametrize("name", ["arothron_human", "mricrogl_ct", "keinos"])
def test_the_plane_of_a_real_head_moves_with_the_head(real_skulls, name):
    if name not in real_skulls:
        pytest.skip(f"{name} is not among the real skulls at hand")
    skull = read(real_skulls[name])
    at_rest = find_midplane(skull)
    middle = skull.voxel_to_mm(np.array([skull.shape]) / 2)[0]
    on_plane = middle - ((middle - at_rest.point_mm) @ at_rest.normal_mm) * at_rest.normal_mm
    for angles, shift_mm in POSES[2:]:
        turn = Rotation.from_euler("zyx", np.multiply(angles, 0.8), degrees=True)
        found = find_midplane(moved(skull, turn, shift_mm))
        expected_point = turn.apply(on_plane - middle) + middle + shift_mm
        assert_same_plane(found, turn.apply(at_rest.normal_mm), expected_point, degrees=1, mm=1)
        assert abs(found.agreement - at_rest.agreement) < 0.05


def test_a_one_sided_hole_is_filled_from_the_other_side():
    turn = Rotation.from_euler("zyx", (8, -5, 0), degrees=True)
    complete, _ = skull_in_pose(turn, spacing_mm=(1.6, 2.0, 3.0))
    defective, _ = skull_in_pose(turn, spacing_mm=(1.6, 2.0, 3.0), holes=[((50, 10, 30), 30)])
    proposal = mirror_defect(defective)
    assert proposal.shape == defective.shape and np.array_equal(proposal.affine, defective.affine)
    assert not (proposal.mask & defective.mask).any()
    assert dice(proposal, complete.with_mask(complete.mask & ~defective.mask)) > 0.85


def test_a_complete_skull_gets_nothing_even_if_the_scan_cut_it_off_tilted():
    skull, _ = skull_in_pose(Rotation.from_euler("z", 10, degrees=True))
    assert mirror_defect(skull).volume_mm3 < 100
    tilted, _ = skull_in_pose(Rotation.from_euler("y", 12, degrees=True))
    tilted.mask[:, :, :35] = False  # the scan ends 40 mm below the middle of the head: the mirror sees further
    assert mirror_defect(tilted).volume_mm3 < 100


def test_what_is_missing_on_both_sides_stays_missing():
    defective, _ = skull_in_pose(holes=[((50, 10, 30), 25), ((-50, 10, 30), 25)])
    assert not mirror_defect(defective).mask.any()


def test_a_one_sided_defect_of_a_real_head_is_filled(real_skulls):
    if "arothron_human" not in real_skulls:
        pytest.skip("arothron_human is not among the real skulls at hand")
    case = cut(read(real_skulls["arothron_human"]), "parietotemporal", seed=0)
    proposal = mirror_defect(case.defective)
    assert not (proposal.mask & case.defective.mask).any()
    assert dice(proposal, case.implant) > 0.6


def test_a_complete_real_head_gets_next_to_nothing(real_skulls):
    if "mricrogl_ct" not in real_skulls:
        pytest.skip("mricrogl_ct is not among the real skulls at hand")
    assert mirror_defect(read(real_skulls["mricrogl_ct"])).volume_mm3 < 1500


def test_a_septum_bent_to_one_side_is_no_defect(real_skulls):
    if "inv0051" not in real_skulls:
        pytest.skip("inv0051, a real frontal craniectomy, is not among the real skulls at hand")
    skull = read(real_skulls["inv0051"])
    proposal = mirror_defect(skull)
    heights_mm = skull.voxel_to_mm(np.argwhere(proposal.mask))[:, 2]
    vertex_mm = skull.voxel_to_mm(np.argwhere(skull.mask))[:, 2].max()
    assert 5000 < proposal.volume_mm3 < 15000
    assert vertex_mm - heights_mm.min() < 80  # the hole ends above the orbits, the nose lies 100 mm down


@pytest.mark.parametrize("find", [find_midplane, mirror_defect])
def test_a_mask_without_symmetry_is_refused_with_the_reason(find):
    empty = Volume(np.zeros((20, 20, 20), bool), np.eye(4))
    with pytest.raises(ValueError, match="the mask is empty and has no symmetry; segment it again"):
        find(empty)


def test_a_crumb_of_bone_is_refused():
    mask = np.zeros((40, 40, 40), bool)
    mask[10:20, 10:20, 10:20] = True
    with pytest.raises(ValueError, match="1 cm3 of connected bone are too little for a mid-plane; check the thre"):
        find_midplane(Volume(mask, np.eye(4)))


def test_a_single_slice_is_refused():
    mask = np.zeros((100, 100, 1), bool)
    mask[10:90, 10:90] = True
    with pytest.raises(ValueError, match="the bone measures 160 x 160 x 2 mm, too flat for a mid-plane; give the"):
        find_midplane(Volume(mask, np.diag([2.0, 2.0, 2.0, 1.0])))


def test_a_skull_of_two_metres_is_refused():
    mask = np.zeros((40, 40, 40), bool)
    mask[10:30, 10:30, 10:30] = True
    with pytest.raises(ValueError, match="spans 1900 mm, too much for a head; crop it, .* 100 x 100 x 100, is in mm"):
        find_midplane(Volume(mask, np.diag([100.0, 100.0, 100.0, 1.0])))
