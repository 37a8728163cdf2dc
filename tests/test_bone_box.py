"""The box around the bone: nothing of the skull is outside, it is symmetric, and the air left out is not missed."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from cranial.nets.residual_unet import ResidualUNet, ResidualUNetShape
from cranial.reconstruction.box import bone_box, boxed
from cranial.reconstruction.learner import network_input
from cranial.reconstruction.model import Model
from cranial.reconstruction.predict import infer
from cranial.reconstruction.recipe import Recipe


def head(side=64, *, channels=1):
    """A hollow ball in a cube, narrower from left to right, as heads are; (channels, side, side, side)."""
    x, y, z = np.mgrid[:side, :side, :side] - (side - 1) / 2
    radius = np.sqrt((1.6 * x) ** 2 + y**2 + z**2) / side
    return np.stack([((radius > 0.34) & (radius < 0.4)).astype(np.float32)] * channels)


def test_all_bone_is_inside_with_air_around_it():
    skull = head()
    box = bone_box(skull, 8)
    inside = skull[0][box]
    assert inside.sum() == skull.sum() and inside.size < 0.8 * skull[0].size
    assert not any(face.any() for face in (inside[0], inside[-1], inside[:, 0], inside[:, -1], inside[:, :, 0]))


@pytest.mark.parametrize("multiple", [4, 8, 16])
def test_its_sides_divide_and_its_middle_is_the_mid_plane(multiple):
    skull = head()
    skull[0, 40:] = 0  # a half of the head is all but gone
    box = bone_box(skull, multiple)
    assert box[0].start + box[0].stop == 64
    assert all((part.stop - part.start) % multiple == 0 and 0 <= part.start < part.stop <= 64 for part in box)
    mirrored = bone_box(skull[:, ::-1], multiple)
    assert mirrored == box


def test_a_missing_vertex_is_inside_if_an_atlas_shows_it():
    skull = head(channels=2)
    skull[0, :, :, 40:] = 0
    assert bone_box(skull[:1], 8)[2].stop < bone_box(head(), 8)[2].stop
    assert bone_box(skull, 8) == bone_box(head(), 8)


def test_downwards_it_ends_below_the_case_s_own_bone_whatever_the_atlas_has():
    skull = head(128, channels=2)
    skull[0, :, :, :64] = 0  # the scan ends there
    whole, own = bone_box(skull, 8), bone_box(skull, 8, own=skull[:1])
    assert whole == bone_box(head(128), 8)
    assert own[:2] == whole[:2] and own[2].stop >= whole[2].stop - 4, "to the sides and above as before"
    assert 64 - 16 <= own[2].start < 64, "some air below"
    assert bone_box(skull, 8, own=skull) == whole
    assert bone_box(skull, 8, own=0 * skull[:1]) == whole, "of no bone it cannot be said where it ends"


def test_speckle_does_not_widen_it():
    skull = head()
    flipped = np.random.default_rng(0).random(skull.shape) < 0.02
    assert bone_box(np.abs(skull - flipped), 8) == bone_box(skull, 8)


def test_nothing_seen_is_the_whole_cube():
    assert bone_box(np.zeros((1, 32, 32, 32), np.float32), 8) == (slice(0, 32),) * 3


def test_a_cube_that_no_box_fits_is_refused():
    with pytest.raises(ValueError, match="the cube has 48 voxels a side; a box in it needs a multiple of 32"):
        bone_box(head(48), 32)


def test_a_batch_keeps_the_bone_and_the_targets_of_all_its_cases():
    inputs, targets = np.stack([head(), 0 * head()]), np.stack([0 * head(), head()])
    targets[1, :, :, :40] = 0
    small, wanted = boxed(inputs, targets, 8)
    assert small.shape == wanted.shape and small.shape[2] < 64
    assert small.sum() == inputs.sum() and wanted.sum() == targets.sum()


def test_a_boxed_model_says_of_the_box_what_its_network_says_and_nothing_of_the_rest():
    torch.manual_seed(0)
    network = ResidualUNet(ResidualUNetShape(3, 1, (8, 16), 1, 2)).eval()
    seen = head(channels=2)
    box = bone_box(seen, network.shape.stride)
    probability = infer(Model(network, 64, True, {}, boxed=True), seen, both_sides=False)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        part = torch.from_numpy(np.ascontiguousarray(seen[(slice(None), *box)]))[None]
        alone = torch.sigmoid(network(network_input(part, symmetry=True)).float())[0, 0].numpy()
    assert np.allclose(probability[box], alone, atol=1e-2)
    outside = np.ones_like(probability, bool)
    outside[box] = False
    assert outside.any() and not probability[outside].any()


def test_a_boxed_model_says_of_a_mirrored_head_the_mirrored():
    torch.manual_seed(0)
    model = Model(ResidualUNet(ResidualUNetShape(2, 1, (8, 16), 1, 2)).eval(), 64, True, {}, boxed=True)
    seen = head()
    seen[0, 38:, 20:] = 0
    assert np.allclose(infer(model, seen)[::-1], infer(model, seen[:, ::-1]), atol=2e-2)


def test_a_recipe_does_not_box_what_has_no_atlas():
    with pytest.raises(ValidationError, match="boxed is true, but suggested is 0"):
        Recipe(side=16, steps=1, phantoms=1, boxed=True)
