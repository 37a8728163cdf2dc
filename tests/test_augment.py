"""Geometric augmentation: what is drawn is what Table 1 allows, and what is applied keeps the laws of a skull."""

import warnings
from collections import Counter
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from cranial.augment import SETTINGS, TRANSFORMS, Draw, Setting, apply, draw, rotation
from cranial.config import ConfigError, load
from cranial.rng import generator

MODES = ["nearest", "linear"]
SHAPE = (23, 31, 27)
ANGLES = [(90.0, 0.0, 0.0), (0.0, 90.0, 0.0), (0.0, 0.0, 90.0), (0.0, 0.0, -90.0), (180.0, 0.0, 90.0)]


def some_pair(shape=SHAPE, *, seed=0) -> np.ndarray:
    """uint8 (2, *shape): disjoint random lumps, as a skull and its defect."""
    rng = np.random.default_rng(seed)
    lumps = rng.integers(3, size=[-(-n // 4) for n in shape]).repeat(4, 0).repeat(4, 1).repeat(4, 2)
    label = lumps[tuple(slice(n) for n in shape)]
    return np.stack([label == 1, label == 2]).astype(np.uint8)


def some_draws(count=12, setting="extreme", shape=SHAPE) -> list[Draw]:
    """Draws without speckle."""
    return [replace(draw(SETTINGS[setting], shape, generator(0, item)), speckle=None) for item in range(count)]


def moved(volume: np.ndarray, by) -> np.ndarray:
    """The volume moved by whole voxels, 0 where nothing was."""
    out = np.zeros_like(volume)
    to = tuple(slice(max(0, n), min(size, size + n)) for n, size in zip(by, volume.shape, strict=True))
    of = tuple(slice(max(0, -n), min(size, size - n)) for n, size in zip(by, volume.shape, strict=True))
    out[to] = volume[of]
    return out


# -- laws


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", list(permutations(TRANSFORMS)))
def test_a_draw_of_nothing_is_the_identity(mode, order):
    pair = some_pair()
    assert np.array_equal(apply(Draw(order=order), pair, mode=mode), pair)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("flips", list(product((False, True), repeat=3))[1:])
def test_a_flip_turns_its_axes_and_twice_is_the_identity(mode, flips):
    pair = some_pair()
    once = apply(Draw(flips=flips), pair, mode=mode)
    assert np.array_equal(once, np.flip(pair, axis=[axis + 1 for axis in range(3) if flips[axis]]))
    assert np.array_equal(apply(Draw(flips=flips), once, mode=mode), pair)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize("axis", range(3))
def test_a_quarter_turn_of_a_cube_moves_every_voxel_onto_another(mode, side, axis):
    pair = some_pair((side,) * 3)
    angles = tuple(90.0 if each == axis else 0.0 for each in range(3))
    turned = apply(Draw(angles_deg=angles), pair, mode=mode)
    assert np.array_equal(turned, np.rot90(pair, axes=((axis + 1) % 3 + 1, (axis + 2) % 3 + 1)))


def test_rotations_are_about_axis_0_then_1_then_2():
    pair = some_pair((9, 9, 9))
    step_by_step = pair
    for axis in range(3):
        angles = tuple(90.0 if each == axis else 0.0 for each in range(3))
        step_by_step = apply(Draw(angles_deg=angles), step_by_step)
    assert np.array_equal(apply(Draw(angles_deg=(90.0, 90.0, 90.0)), pair), step_by_step)
    assert np.allclose(rotation((90, 0, 0)) @ [0, 1, 0], [0, 0, 1], atol=1e-15)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("by", [(3, 0, 0), (0, -5, 2), (-23, 0, 0), (22, 30, 26)])
def test_whole_voxels_of_translation_are_a_shift(mode, by):
    pair = some_pair()
    assert np.array_equal(
        apply(Draw(translation_vox=by), pair, mode=mode), np.stack([moved(channel, by) for channel in pair])
    )


def test_twice_the_size_makes_two_voxels_of_each_along_its_axis():
    pair = some_pair((8, 12, 16))
    doubled = apply(Draw(scale=(2.0, 2.0, 2.0)), pair)
    assert np.array_equal(doubled, pair[:, 2:6, 3:9, 4:12].repeat(2, 1).repeat(2, 2).repeat(2, 3))
    assert np.array_equal(apply(Draw(scale=(1.0, 2.0, 1.0)), pair), pair[:, :, 3:9].repeat(2, 2))


def test_scale_comes_before_rotation_and_translation_after_it():
    pair = np.pad(some_pair((4, 4, 4)), [(0, 0)] + [(6, 6)] * 3)  # so that no step loses bone at the grid's border
    step_by_step = apply(Draw(scale=(1.0, 2.0, 1.0)), pair)
    step_by_step = apply(Draw(angles_deg=(90.0, 0.0, 0.0)), step_by_step)
    step_by_step = apply(Draw(translation_vox=(0.0, 1.0, 2.0)), step_by_step)
    at_once = Draw(scale=(1.0, 2.0, 1.0), angles_deg=(90.0, 0.0, 0.0), translation_vox=(0.0, 1.0, 2.0))
    assert np.array_equal(apply(at_once, pair), step_by_step)


@pytest.mark.parametrize("order", list(permutations(TRANSFORMS)))
def test_transforms_act_in_their_order(order):
    pair = some_pair((12, 12, 12))
    parts = {
        "flip": {"flips": (True, False, True)},
        "crop": {"crop": ((1, 9), (0, 12), (4, 11))},
        "affine": {"angles_deg": (0.0, 90.0, 0.0), "translation_vox": (2.0, -1.0, 0.0)},
    }
    step_by_step = pair
    for transform in order:
        step_by_step = apply(Draw(**parts[transform]), step_by_step)
    at_once = Draw(order=order, **parts["flip"], **parts["crop"], **parts["affine"])
    assert np.array_equal(apply(at_once, pair), step_by_step)


@pytest.mark.parametrize("mode", MODES)
def test_outside_the_crop_every_channel_is_empty_and_inside_nothing_changes(mode):
    pair = some_pair()
    box = ((2, 20), (0, 31), (5, 6))
    inside = tuple(slice(*ends) for ends in box)
    cropped = apply(Draw(crop=box), pair, mode=mode)
    kept = np.zeros_like(pair)
    kept[(slice(None), *inside)] = pair[(slice(None), *inside)]
    assert np.array_equal(cropped, kept) and kept.any()


@pytest.mark.parametrize("mode", MODES)
def test_channels_stay_disjoint_and_their_union_is_the_moved_union(mode):
    pair = some_pair()
    union = pair.any(axis=0)[None]
    for drawn in some_draws():
        skull, defect = apply(drawn, pair, mode=mode).astype(bool)
        assert not (skull & defect).any()
        assert np.array_equal(skull | defect, apply(drawn, union, mode=mode)[0])


def test_an_affine_and_its_inverse_give_the_bone_back_but_for_its_surface():
    side = 48
    x, y, z = np.indices((side,) * 3) - (side - 1) / 2
    head = ((x / 14) ** 2 + (y / 17) ** 2 + (z / 12) ** 2 < 1)[None]
    there = Draw(angles_deg=(0.0, 0.0, 25.0), scale=(1.2,) * 3, translation_vox=(0.0, 0.0, 3.0))
    back = Draw(angles_deg=(0.0, 0.0, -25.0), scale=(1 / 1.2,) * 3, translation_vox=(0.0, 0.0, -3.0 / 1.2))
    for mode in MODES:
        again = apply(back, apply(there, head, mode=mode), mode=mode)
        assert 2 * (again & head).sum() / (again.sum() + head.sum()) > 0.98
        assert apply(there, head, mode=mode).sum() == pytest.approx(1.2**3 * head.sum(), rel=0.02)


# -- speckle


def test_speckle_reaches_the_input_only_and_in_the_share_that_its_threshold_says():
    pair = some_pair((64, 64, 64))
    assert Draw(speckle=1.8).speckle_share == pytest.approx(0.0359, abs=1e-4)
    for threshold, share in ((0.0, 0.5), (1.8, 0.03593), (2.2, 0.0139), (4.5, 3.4e-6)):
        loud = apply(Draw(speckle=threshold, seed=4), pair)
        assert np.array_equal(loud[1], pair[1])
        changed = np.count_nonzero(loud[0] != pair[0])
        assert abs(changed - share * 64**3) < 4 * (share * 64**3) ** 0.5 + 1


def test_speckle_does_not_ask_what_is_there():
    pair = some_pair()
    pattern = apply(Draw(speckle=1.0, seed=9), np.zeros_like(pair))[0]
    for drawn in some_draws(4):
        loud, still = apply(replace(drawn, speckle=1.0, seed=9), pair), apply(drawn, pair)
        assert np.array_equal(loud[0] ^ still[0], pattern)
        assert not np.array_equal(apply(replace(drawn, speckle=1.0, seed=10), pair), loud)


# -- what is drawn


# Table 1: axes that may flip, rotation, translation at 256 voxels, smallest and largest scale and threshold
TABLE = {
    "none": ((0, 0, 0), 0, 0, (1, 1), None),
    "basic": ((1, 0, 0), 7, 7, (0.7, 1.1), None),
    "heavy": ((1, 0, 0), 15, 10, (0.5, 1.2), (2.2, 4.5)),
    "extreme": ((1, 1, 1), 45, 15, (0.4, 1.3), (1.8, 4.5)),
}


@pytest.mark.parametrize("name", TABLE)
def test_draws_fill_the_ranges_of_table_1_and_leave_none(name):
    flips, degrees, voxels, scale, thresholds = TABLE[name]
    draws = [draw(SETTINGS[name], (256, 256, 256), generator(3, item)) for item in range(1500)]
    assert [any(d.flips[axis] for d in draws) for axis in range(3)] == [bool(may) for may in flips]
    for axis in range(3):
        for values, limit in (([d.angles_deg[axis] for d in draws], degrees),
                              ([d.translation_vox[axis] for d in draws], voxels)):
            assert -limit <= min(values) <= -0.98 * limit and 0.98 * limit <= max(values) <= limit
    sizes = [d.scale[0] for d in draws]
    assert scale[0] <= min(sizes) < scale[0] + 0.01 and scale[1] - 0.01 < max(sizes) <= scale[1]
    levels = [d.speckle for d in draws if d.speckle is not None]
    if thresholds:
        assert thresholds[0] <= min(levels) < thresholds[0] + 0.03 and thresholds[1] - 0.03 < max(levels)
        assert max(levels) <= thresholds[1]
    else:
        assert not levels
    crops = np.array([d.crop for d in draws if d.crop is not None])
    assert len(crops) == 0 if name in ("none", "basic") else crops.shape == (len(crops), 3, 2)
    if len(crops):
        lost = np.stack([crops[..., 0], 256 - crops[..., 1]])
        assert abs(np.corrcoef(lost.reshape(2, -1))[0, 1]) < 0.1  # each end for itself
        assert lost.min() == 0 and lost.max() == int(SETTINGS[name].crop * 256)


def test_each_transform_acts_three_times_in_four_and_every_order_comes_alike():
    count = 2000
    draws = [draw(SETTINGS["extreme"], SHAPE, generator(1, item)) for item in range(count)]
    acts = {f"flip {axis}": [d.flips[axis] for d in draws] for axis in range(3)}
    acts["crop"] = [d.crop is not None for d in draws]
    acts["affine"] = [d.scale != (1.0, 1.0, 1.0) for d in draws]
    acts["speckle"] = [d.speckle is not None for d in draws]
    spread = (0.75 * 0.25 / count) ** 0.5
    for name, each in acts.items():
        assert abs(np.mean(each) - 0.75) < 4 * spread, name
    # together or not, by chance: no transform hangs on another
    assert abs(np.corrcoef([np.array(each, float) for each in acts.values()]) - np.eye(6)).max() < 4 / count**0.5
    orders = Counter(d.order for d in draws)
    assert set(orders) == set(permutations(TRANSFORMS))
    assert max(orders.values()) - min(orders.values()) < 120
    affines = [d for d in draws if d.scale != (1.0, 1.0, 1.0)]
    assert all(all(d.angles_deg) and all(d.translation_vox) for d in affines)


def test_the_same_seed_and_item_are_the_same_draw_and_others_are_not():
    draws = [draw(SETTINGS["extreme"], SHAPE, generator(seed, item)) for seed, item in ((0, 1), (0, 1), (0, 2), (1, 1))]
    assert draws[0] == draws[1]
    assert len({d.seed for d in draws}) == len({d.angles_deg for d in draws[1:]}) == 3


def test_translations_grow_with_the_grid_and_nothing_else_does():
    small, large = (draw(SETTINGS["extreme"], (n, n, n), generator(0, 0)) for n in (64, 256))
    assert np.allclose(4 * np.array(small.translation_vox), large.translation_vox) and any(small.translation_vox)
    assert (small.angles_deg, small.scale, small.flips) == (large.angles_deg, large.scale, large.flips)
    flat = draw(SETTINGS["extreme"], (64, 256, 32), generator(0, 0))
    assert flat.translation_vox == large.translation_vox


def test_two_settings_turn_a_case_the_same_way():
    mild, wild = (draw(SETTINGS[name], SHAPE, generator(0, 0)) for name in ("basic", "extreme"))
    assert np.allclose(np.array(wild.angles_deg) / 45, np.array(mild.angles_deg) / 7) and all(mild.angles_deg)
    assert wild.order == mild.order


def test_a_scale_for_each_axis_is_an_option():
    free = Setting(scale=(0.5, 1.5), isotropic=False, probability=1.0)
    assert len(set(draw(free, SHAPE, generator(0, 0)).scale)) == 3
    assert len(set(draw(SETTINGS["extreme"], SHAPE, generator(0, 0)).scale)) == 1


# -- how it is asked


@pytest.mark.parametrize("mode", MODES)
def test_arrays_and_tensors_of_either_type_give_the_same_case(mode):
    drawn, pair = draw(SETTINGS["extreme"], SHAPE, generator(0, 4)), some_pair()
    expected = apply(drawn, pair, mode=mode)
    assert expected.dtype == np.uint8 and expected.shape == pair.shape and expected.any()
    boolean = apply(drawn, pair.astype(bool), mode=mode)
    assert boolean.dtype == bool and np.array_equal(boolean, expected)
    tensor = apply(drawn, torch.from_numpy(pair), mode=mode)
    assert isinstance(tensor, torch.Tensor) and tensor.dtype == torch.uint8
    assert np.array_equal(tensor.numpy(), expected)
    for threads in (1, 3):
        assert np.array_equal(apply(drawn, pair, mode=mode, threads=threads), expected)


def test_arrays_may_be_read_only_and_lie_in_memory_anyhow():
    drawn, pair = some_draws(1)[0], some_pair()
    expected = apply(drawn, pair)
    locked = pair.copy()
    locked.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for each in (locked, np.asfortranarray(pair), pair[:, ::-1][:, ::-1]):
            assert np.array_equal(apply(drawn, each), expected)


def test_a_case_of_one_voxel_survives_every_draw():
    one = np.ones((1, 1, 1, 1), np.uint8)
    for item in range(20):
        drawn = draw(SETTINGS["extreme"], (1, 1, 1), generator(0, item))
        assert apply(replace(drawn, translation_vox=(0.0, 0.0, 0.0), speckle=None), one).all()


# -- what is refused


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"order": ("flip", "affine")}, r"order is \('flip', 'affine'\); give flip, crop, affine in any order"),
        ({"order": ("flip", "flip", "crop")}, "in any order, each once"),
        ({"crop": ((0, 3), (2, 2), (0, 3))}, "give start < stop for each axis, or None"),
        ({"scale": (1.0, 0.0, 1.0)}, r"scale is \(1.0, 0.0, 1.0\); give three numbers above 0"),
        ({"scale": (1.0, float("nan"), 1.0)}, "give three numbers above 0"),
        ({"speckle": -0.1}, "speckle is -0.1; give a threshold of at least 0, or None"),
    ],
)
def test_a_draw_that_means_nothing_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Draw(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scale": (1.1, 0.9)}, "scale runs from 1.1 to 0.9; give 0 < smallest <= largest"),
        ({"scale": (0.0, 0.9)}, "give 0 < smallest <= largest"),
        ({"speckle": (3.0, 2.0)}, "speckle runs from 3 to 2; give 0 <= least <= most"),
        ({"crop": 0.5}, "less than 0.5"),
        ({"probability": 1.5}, "less than or equal to 1"),
    ],
)
def test_a_setting_with_an_empty_range_is_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        Setting(**values)


def test_a_setting_can_stand_in_a_yaml(tmp_path):
    path = tmp_path / "setting.yaml"
    path.write_text("flips: [true, false, false]\nrotation_deg: 7\ntranslation_vox: 7\nscale: [0.7, 1.1]\n")
    assert load(path, Setting) == SETTINGS["basic"]
    path.write_text("rotation: 7\n")
    with pytest.raises(ConfigError, match="did you mean 'rotation_deg'"):
        load(path, Setting)


def test_channels_that_overlap_have_no_linear_mode_and_floats_no_mode_at_all():
    pair = some_pair()
    loud = apply(Draw(speckle=1.0), pair)
    with pytest.raises(ValueError, match="give disjoint ones, such as defective skull and defect"):
        apply(Draw(), loud, mode="linear")
    with pytest.raises(ValueError, match=r"channels is torch.float64 .*; give bool or uint8 \(C, I, J, K\)"):
        apply(Draw(), pair.astype(float))
