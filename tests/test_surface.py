"""Distances between surfaces are exact, in mm, and mean what other software means by the same names."""

import itertools

import numpy as np
import pytest
from mask_shapes import ISOTROPIC_MM, SPACING_MM, a_case, ball, box, lumps

from cranial.metrics import border_dice, dice
from cranial.surface import surface, surface_distances


def all_of(distances, tolerance_mm=1.0):
    """Every number that surface distances give."""
    return [
        distances.hausdorff_mm(),
        distances.hausdorff_mm(100),
        distances.hausdorff_monai_mm(),
        distances.surface_dice(tolerance_mm),
        distances.mean_mm(),
        distances.mean_of_means_mm(),
    ]


def brute_force(predicted, reference, spacing_mm):
    """Both directed sets by comparing every pair of surface voxels."""

    def points(mask):
        faces = [np.roll(np.pad(mask, 1), step, axis)[1:-1, 1:-1, 1:-1] for axis in range(3) for step in (1, -1)]
        return np.argwhere(mask & ~np.logical_and.reduce(faces)) * spacing_mm

    gap = np.linalg.norm(points(predicted)[:, None] - points(reference)[None], axis=-1)
    return gap.min(axis=1), gap.min(axis=0)


# Distances


def test_two_cubes_one_voxel_apart_have_hausdorff_of_one_spacing():
    for axis, side_mm in enumerate(SPACING_MM):
        cube = box((12, 12, 12), (3, 3, 3), (7, 7, 7))
        moved = np.roll(cube, 1, axis=axis)
        assert surface_distances(cube, moved, SPACING_MM).hausdorff_mm(100) == pytest.approx(side_mm)


def test_distances_equal_brute_force_over_all_pairs_of_surface_voxels(rng):
    for _ in range(15):
        shape = tuple(rng.integers(3, 13, size=3))
        spacing_mm = tuple(rng.uniform(0.3, 2.0, size=3))
        predicted, reference = lumps(rng, shape), lumps(rng, shape)
        ours = surface_distances(predicted, reference, spacing_mm)
        to_reference, to_predicted = brute_force(predicted, reference, spacing_mm)
        np.testing.assert_allclose(np.sort(ours.predicted_to_reference_mm), np.sort(to_reference), rtol=1e-12)
        np.testing.assert_allclose(np.sort(ours.reference_to_predicted_mm), np.sort(to_predicted), rtol=1e-12)


def test_distances_equal_scipys_distance_transform_to_the_bit_also_far_apart(rng):
    from scipy.ndimage import distance_transform_edt

    near = (lumps(rng, (40, 33, 27)), lumps(rng, (40, 33, 27)))
    far = (box((60, 50, 40), (0, 0, 0), (9, 9, 9)), box((60, 50, 40), (50, 30, 20), (60, 50, 40)))
    for predicted, reference in (near, far):
        field_mm = distance_transform_edt(~surface(reference), sampling=SPACING_MM)
        ours = surface_distances(predicted, reference, SPACING_MM)
        assert np.array_equal(ours.predicted_to_reference_mm, field_mm[surface(predicted)])


def test_surface_is_the_mask_minus_its_six_connected_erosion_with_background_outside_the_volume(rng):
    from scipy.ndimage import binary_erosion

    for shape in ((1, 1, 1), (2, 5, 1), (7, 9, 8)):
        mask = rng.random(shape) > 0.2
        assert np.array_equal(surface(mask), mask & ~binary_erosion(mask))
    filled = np.ones((5, 5, 5), dtype=bool)
    assert np.count_nonzero(surface(filled)) == 5**3 - 3**3


def test_distances_are_symmetric(rng):
    predicted, reference, _ = a_case(rng)
    one_way = surface_distances(predicted, reference, SPACING_MM)
    other_way = surface_distances(reference, predicted, SPACING_MM)
    assert np.array_equal(one_way.predicted_to_reference_mm, other_way.reference_to_predicted_mm)
    assert all_of(one_way) == pytest.approx(all_of(other_way), rel=1e-12)


def test_distances_scale_with_spacing(rng):
    predicted, reference, _ = a_case(rng)
    small = surface_distances(predicted, reference, SPACING_MM)
    large = surface_distances(predicted, reference, tuple(3 * side for side in SPACING_MM))
    assert large.diagonal_mm == pytest.approx(3 * small.diagonal_mm)
    for ours, scaled in zip(all_of(small, 1.0), all_of(large, 3.0), strict=True):
        assert scaled in (pytest.approx(3 * ours), pytest.approx(ours))  # mm scale, the surface Dice does not
    assert large.mean_mm() == pytest.approx(3 * small.mean_mm())


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_no_metric_minds_the_order_or_direction_of_axes(rng, order):
    predicted, reference, defective = a_case(rng)
    expected = all_of(surface_distances(predicted, reference, SPACING_MM))
    expected_border = border_dice(predicted, reference, defective, SPACING_MM, border_mm=2.0)
    spacing_mm = tuple(SPACING_MM[axis] for axis in order)
    for flips in itertools.product((1, -1), repeat=3):
        mirror = tuple(slice(None, None, flip) for flip in flips)
        turned = [mask.transpose(order)[mirror] for mask in (predicted, reference, defective)]
        assert all_of(surface_distances(*turned[:2], spacing_mm)) == pytest.approx(expected, rel=1e-12)
        assert border_dice(*turned, spacing_mm, border_mm=2.0) == expected_border


def test_masks_in_different_memory_orders_give_the_same(rng):
    predicted, reference, defective = a_case(rng)
    expected = all_of(surface_distances(predicted, reference, SPACING_MM))
    bdsc = border_dice(predicted, reference, defective, SPACING_MM, border_mm=2.0)
    for first, second, third in itertools.product((np.ascontiguousarray, np.asfortranarray), repeat=3):
        turned = first(predicted), second(reference), third(defective)
        assert all_of(surface_distances(*turned[:2], SPACING_MM)) == pytest.approx(expected, rel=1e-12)
        assert border_dice(*turned, SPACING_MM, border_mm=2.0) == bdsc


def test_a_mask_compared_with_itself_is_perfect(rng):
    mask, _, defective = a_case(rng)
    distances = surface_distances(mask, mask, SPACING_MM)
    assert all_of(distances) == [0, 0, 0, 1, 0, 0]
    assert dice(mask, mask) == border_dice(mask, mask, defective, SPACING_MM) == 1


def test_a_distance_equal_to_the_tolerance_is_within_it():
    cube = box((30, 30, 30), (2, 2, 2), (4, 4, 4))
    voxel = np.zeros_like(cube)
    voxel[10, 27, 3] = True
    one = np.zeros_like(cube)
    one[3, 3, 3] = True  # 7 and 24 voxels of 0.4 mm away: 10 mm, but not in floating point
    distances = surface_distances(voxel, one, (0.4, 0.4, 0.4))
    assert distances.hausdorff_mm(100) != 10.0
    assert distances.surface_dice(10.0) == 1.0
    assert distances.surface_dice(9.99) == 0.0
    assert border_dice(voxel, voxel, one, (0.4, 0.4, 0.4), border_mm=10.0) == 1.0
    assert border_dice(voxel, voxel, one, (0.4, 0.4, 0.4), border_mm=9.99) == 0.0


def test_pooled_and_directed_conventions_differ_where_a_piece_was_missed():
    found = box((50, 40, 40), (5, 5, 5), (25, 25, 25))  # 2168 surface voxels
    truth = found | box((50, 40, 40), (40, 10, 10), (46, 16, 16))  # and 152 that nobody found
    distances = surface_distances(found, truth, ISOTROPIC_MM)
    to_truth, to_found = distances.predicted_to_reference_mm, distances.reference_to_predicted_mm
    assert (len(to_truth), len(to_found)) == (2168, 2320)
    assert distances.hausdorff_mm(95) == 0  # 3.4 % of both surfaces
    assert distances.hausdorff_monai_mm(95) >= 16  # 6.6 % of the true one
    assert distances.mean_mm() == pytest.approx(to_found.sum() / (2168 + 2320))
    assert distances.mean_of_means_mm() == pytest.approx(to_found.mean() / 2)


# Other software


def test_monais_functions_give_the_same_numbers(rng):
    monai_metrics = pytest.importorskip("monai.metrics", reason="MONAI is not installed")
    torch = pytest.importorskip("torch", reason="torch is not installed")
    cases = [a_case(rng)[:2], (lumps(rng, (30, 24, 20)), lumps(rng, (30, 24, 20)))]
    for predicted, reference in cases:
        masks = [torch.from_numpy(mask)[None, None].float() for mask in (predicted, reference)]
        ours = surface_distances(predicted, reference, SPACING_MM)
        choices = {"include_background": True, "spacing": SPACING_MM}
        hd95 = monai_metrics.compute_hausdorff_distance(*masks, percentile=95, **choices)
        mean = monai_metrics.compute_average_surface_distance(*masks, symmetric=True, **choices)
        surface_dice = monai_metrics.compute_surface_dice(*masks, class_thresholds=[1.0], **choices)
        assert ours.hausdorff_monai_mm(95) == pytest.approx(hd95.item(), rel=1e-5)
        assert ours.mean_mm() == pytest.approx(mean.item(), rel=1e-5)
        assert dice(predicted, reference) == pytest.approx(monai_metrics.compute_dice(*masks).item(), rel=1e-6)
        assert ours.surface_dice(1.0) == pytest.approx(surface_dice.item(), rel=1e-6)


@pytest.fixture
def peer():
    """google-deepmind's package, of the extra `bench`."""
    return pytest.importorskip("surface_distance", reason="surface-distance is not installed: pip install -e .[bench]")


def test_surface_distance_agrees_exactly_on_the_hausdorff_distance_of_boxes(peer):
    shape = (40, 36, 30)
    reference = box(shape, (10, 9, 8), (25, 24, 22))
    for lower, upper in (((12, 9, 8), (27, 24, 22)), ((10, 9, 5), (25, 24, 19)), ((8, 7, 6), (27, 26, 24))):
        predicted = box(shape, lower, upper)
        theirs = peer.compute_surface_distances(reference, predicted, SPACING_MM)
        ours = surface_distances(predicted, reference, SPACING_MM)
        assert ours.hausdorff_mm(100) == pytest.approx(peer.compute_robust_hausdorff(theirs, 100))
        assert ours.surface_dice(5.0) == peer.compute_surface_dice_at_tolerance(theirs, 5.0) == 1


def test_surface_distance_reads_up_to_half_a_voxel_less_on_smooth_shapes(peer):
    shape, spacing_mm = (64, 64, 64), (0.5, 0.5, 0.5)
    reference = ball(shape, (32, 32, 32), 20)
    for centre, radius_vox in (((33.5, 31, 32), 20), ((32, 32, 32), 23), ((30, 33, 34), 17)):
        predicted = ball(shape, centre, radius_vox)
        theirs = peer.compute_surface_distances(reference, predicted, spacing_mm)
        ours = surface_distances(predicted, reference, spacing_mm)
        hd95_mm = peer.compute_robust_hausdorff(theirs, 95)
        mean_mm = np.mean(peer.compute_average_surface_distance(theirs))
        assert hd95_mm <= ours.hausdorff_monai_mm(95) <= hd95_mm + 0.25
        assert mean_mm <= ours.mean_of_means_mm() <= mean_mm + 0.25
        for tolerance_mm in (0.5, 1.0, 2.0):
            surface_dice = peer.compute_surface_dice_at_tolerance(theirs, tolerance_mm)
            assert ours.surface_dice(tolerance_mm) <= surface_dice <= ours.surface_dice(tolerance_mm + 0.25)


# Errors


def test_masks_that_are_not_bool_are_refused():
    mask = box((5, 5, 5), (1, 1, 1), (3, 3, 3))
    with pytest.raises(ValueError, match=r"predicted is float32 of shape \(5, 5, 5\), not bool .*pass predicted > 0"):
        surface_distances(mask.astype(np.float32), mask, ISOTROPIC_MM)
    with pytest.raises(ValueError, match="reference is bool of shape"):
        dice(mask, mask[0])


def test_masks_of_different_shapes_are_refused_and_told_about_resample():
    mask = box((5, 5, 5), (1, 1, 1), (3, 3, 3))
    with pytest.raises(ValueError, match=r"reference has shape \(4, 5, 5\), predicted \(5, 5, 5\).*volume.resample"):
        dice(mask, mask[1:])
    with pytest.raises(ValueError, match=r"defective has shape .*volume.resample"):
        border_dice(mask, mask, mask[1:], ISOTROPIC_MM)


def test_a_spacing_that_is_no_length_is_refused():
    mask = box((5, 5, 5), (1, 1, 1), (3, 3, 3))
    for spacing_mm in ((1, 1), (1, 0, 1), (1, -1, 1), (1, float("nan"), 1)):
        with pytest.raises(ValueError, match="give three voxel sides in mm, finite and above 0"):
            surface_distances(mask, mask, spacing_mm)
    with pytest.raises(ValueError, match="smallest voxel side 1e-05 mm, beyond 65535 to one; crop"):
        surface_distances(mask, mask, (1, 1, 1e-5))
