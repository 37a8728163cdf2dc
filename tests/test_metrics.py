"""Each case gets its scores: as defined, in mm, on any grid, and also where a prediction found nothing."""

import json
import subprocess
import sys

import numpy as np
import pytest
from mask_shapes import ISOTROPIC_MM, SPACING_MM, a_case, ball, box, lumps

from cranial import metrics
from cranial import volume as volumes
from cranial.metrics import border_dice, dice, evaluate, surface_distances
from cranial.volume import Volume


def volume(mask, spacing_mm=ISOTROPIC_MM, affine=None):
    return Volume(mask, np.diag([*spacing_mm, 1.0]) if affine is None else affine)


# Dice


def test_dice_counts_the_overlap_twice():
    first, second = box((9, 9, 9), (0, 0, 0), (4, 4, 4)), box((9, 9, 9), (2, 0, 0), (8, 4, 4))
    assert dice(first, second) == pytest.approx(2 * 32 / (64 + 96))
    assert dice(first, ~first) == 0


def test_border_dice_equals_dice_over_the_distance_transform_of_the_defective_skull(rng):
    from scipy.ndimage import distance_transform_edt

    for _ in range(8):
        shape = tuple(rng.integers(8, 26, size=3))
        spacing_mm, border_mm = tuple(rng.uniform(0.3, 2.0, size=3)), rng.uniform(0.5, 9.0)
        predicted, reference, defective = (lumps(rng, shape) for _ in range(3))
        near = distance_transform_edt(~defective, sampling=spacing_mm) <= border_mm
        found, truth = predicted & near, reference & near
        if found.any() or truth.any():
            expected = 2 * np.count_nonzero(found & truth) / (np.count_nonzero(found) + np.count_nonzero(truth))
            assert border_dice(predicted, reference, defective, spacing_mm, border_mm=border_mm) == expected


def test_border_dice_forgives_errors_far_from_the_skull_and_not_near_it():
    skull = box((60, 20, 20), (0, 0, 0), (5, 20, 20))
    truth = box((60, 20, 20), (5, 5, 5), (40, 15, 15))
    far, near = truth.copy(), truth.copy()
    far[30:40], near[5:15] = False, False
    assert dice(far, truth) == dice(near, truth)
    assert border_dice(far, truth, skull, ISOTROPIC_MM) == 1
    assert border_dice(near, truth, skull, ISOTROPIC_MM) == 0


# Cases on volumes


def test_evaluate_gives_what_the_functions_give_on_the_whole_grid(rng):
    predicted, reference, defective = a_case(rng)
    scores = evaluate(
        *(volume(mask, SPACING_MM) for mask in (predicted, reference)),
        defective=volume(defective, SPACING_MM),
        tolerance_mm=0.8,
        border_mm=1.5,
    )
    distances = surface_distances(predicted, reference, SPACING_MM)
    assert scores == metrics.Scores(
        dsc=dice(predicted, reference),
        bdsc=border_dice(predicted, reference, defective, SPACING_MM, border_mm=1.5),
        hd95_mm=distances.hausdorff_mm(95),
        hd95_monai_mm=distances.hausdorff_monai_mm(95),
        surface_dice=distances.surface_dice(0.8),
        msd_mm=distances.mean_mm(),
        msd_of_means_mm=distances.mean_of_means_mm(),
        tolerance_mm=0.8,
        border_mm=1.5,
        diagonal_mm=distances.diagonal_mm,
        empty="none",
        border_empty=False,
    )
    assert 0 < scores.bdsc != scores.dsc and 0 < scores.surface_dice < 1
    assert json.loads(json.dumps(scores.as_dict()))["hd95_mm"] == scores.hd95_mm


def test_turning_the_head_in_the_scanner_changes_no_score(rng):
    masks = a_case(rng)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    oblique = np.eye(4)
    oblique[:3, :3] = turn * SPACING_MM
    oblique[:3, 3] = (-90, 41, 7)
    straight = [volume(mask, SPACING_MM) for mask in masks]
    turned = [volume(mask, affine=oblique) for mask in masks]
    expected = evaluate(*straight[:2], defective=straight[2]).as_dict()
    scores = evaluate(*turned[:2], defective=turned[2]).as_dict()
    assert scores.pop("empty") == expected.pop("empty")
    assert scores == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("which", ["predicted", "reference"])
def test_one_empty_mask_scores_zero_and_is_a_volume_diagonal_away(rng, which):
    predicted, reference, defective = (volume(mask, SPACING_MM) for mask in a_case(rng))
    nothing = volume(np.zeros(reference.shape, dtype=bool), SPACING_MM)
    pair = (nothing, reference) if which == "predicted" else (predicted, nothing)
    scores = evaluate(*pair, defective=defective, tolerance_mm=1e6)
    diagonal_mm = np.linalg.norm(np.multiply(reference.shape, SPACING_MM))
    assert (scores.dsc, scores.bdsc, scores.surface_dice) == (0, 0, 0)
    distances_mm = (
        scores.hd95_mm,
        scores.hd95_monai_mm,
        scores.msd_mm,
        scores.msd_of_means_mm,
        scores.diagonal_mm,
    )
    assert distances_mm == pytest.approx([diagonal_mm] * 5)
    assert scores.empty == which


def test_two_empty_masks_agree(rng):
    defective = volume(a_case(rng)[2])
    nothing = defective.with_mask(np.zeros(defective.shape, dtype=bool))
    scores = evaluate(nothing, nothing, defective=defective)
    assert (scores.dsc, scores.bdsc, scores.surface_dice) == (1, 1, 1)
    assert (scores.hd95_mm, scores.hd95_monai_mm, scores.msd_mm, scores.msd_of_means_mm) == (0, 0, 0, 0)
    assert scores.empty == "both" and scores.border_empty


def test_masks_that_never_come_near_the_skull_score_no_border_dice_and_say_so():
    skull = box((50, 10, 10), (0, 0, 0), (3, 10, 10))
    implant = box((50, 10, 10), (40, 2, 2), (46, 8, 8))
    scores = evaluate(volume(implant), volume(implant), defective=volume(skull))
    assert scores.dsc == 1 and scores.bdsc == 0 and scores.border_empty and scores.empty == "none"


def test_a_real_head_with_a_piece_cut_out_scores_as_the_plain_definitions_do(real_skulls):
    from scipy.ndimage import binary_erosion, distance_transform_edt

    head = volumes.read(real_skulls["scct_template"])
    top = np.argwhere(head.mask)[-1]
    grid_mm = (np.indices(head.shape).reshape(3, -1).T - top) * head.spacing_mm
    hole = (np.linalg.norm(grid_mm, axis=1) < 25).reshape(head.shape)
    truth, skull = head.mask & hole, head.mask & ~hole
    found = np.roll(truth, (1, -1, 0), axis=(0, 1, 2)) & ~skull
    scores = evaluate(*(head.with_mask(mask) for mask in (found, truth)), defective=head.with_mask(skull))
    edges = [mask ^ binary_erosion(mask) for mask in (found, truth)]
    pooled = np.concatenate(
        [distance_transform_edt(~edges[1 - n], sampling=head.spacing_mm)[edges[n]] for n in range(2)]
    )
    near = distance_transform_edt(~skull, sampling=head.spacing_mm) <= 10
    assert scores.hd95_mm == pytest.approx(np.percentile(pooled, 95))
    assert scores.msd_mm == pytest.approx(pooled.mean())
    assert scores.surface_dice == pytest.approx(np.mean(pooled <= 1))
    assert scores.bdsc == dice(found & near, truth & near)
    assert 0.3 < scores.dsc < 1


# Errors


@pytest.mark.parametrize("which", ["predicted", "defective"])
def test_volumes_on_different_grids_are_refused_with_both_grids_named(rng, which):
    case = dict(zip(("predicted", "reference", "defective"), map(volume, a_case(rng)), strict=True))
    moved = np.diag([1.0, 1.0, 1.0, 1.0])
    moved[0, 3] = 5
    case[which] = volume(case[which].mask, affine=moved)
    message = (
        rf"{which} is on a grid of 24 x 21 x 19 voxels of 1 x 1 x 1 mm, axes LPS, first voxel at \(5, 0, 0\)"
        rf" mm; reference is on one of .* at \(0, 0, 0\) mm; .*volume.resample\({which}, like=reference\)"
    )
    with pytest.raises(ValueError, match=message):
        evaluate(case["predicted"], case["reference"], defective=case["defective"])


def test_a_sheared_grid_is_refused(rng):
    sheared = np.eye(4)
    sheared[1, 2] = 0.2  # gantry tilt
    predicted, reference, defective = (volume(mask, affine=sheared) for mask in a_case(rng))
    with pytest.raises(ValueError, match=r"axes of reference are not perpendicular \(cosine 0.196\).*volume.resample"):
        evaluate(predicted, reference, defective=defective)


def test_an_empty_defective_skull_is_refused(rng):
    predicted, reference, defective = map(volume, a_case(rng))
    with pytest.raises(ValueError, match="defective is empty; bDSC needs the skull with the hole"):
        evaluate(predicted, reference, defective=defective.with_mask(np.zeros(defective.shape, dtype=bool)))


@pytest.mark.parametrize("name", ["tolerance_mm", "border_mm"])
def test_a_tolerance_that_is_no_length_is_refused(rng, name):
    predicted, reference, defective = map(volume, a_case(rng))
    with pytest.raises(ValueError, match=f"{name} is -1.0; give a length of 0 mm or more"):
        evaluate(predicted, reference, defective=defective, **{name: -1.0})


# Benchmark


def test_the_benchmark_runs_on_a_given_head_and_agrees_with_the_challenges_definitions(repository, tmp_path):
    shape, centre = (64, 64, 64), (32, 32, 32)
    head = volume(ball(shape, centre, 28) & ~ball(shape, centre, 25), (2.5, 2.5, 2.5))
    volumes.write(head, tmp_path / "head.nrrd")
    options = ["--skull", str(tmp_path / "head.nrrd"), "--peers", "challenge", "--json"]
    command = [sys.executable, str(repository / "benchmarks" / "metrics.py"), *options]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    ours, theirs = result["scores"]["cranial"], result["scores"]["challenge"]
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs)
    assert 0.5 < theirs["dsc"] < 1
    assert result["ratios"]["metrics_vs_challenge"] > 0
