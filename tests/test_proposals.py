"""Several reconstructions: each its own, all on the case's grid, and what they agree on."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from cranial import volume
from cranial.reconstruction import Model, propose, reconstruct
from cranial.reconstruction.cases import Strength
from cranial.reconstruction.familiar import RANGES, facts_of, unfamiliar
from cranial.reconstruction.grid import HeadGrid, lay_grid
from cranial.reconstruction.proposals import STREAM, gather, moved
from cranial.rng import generator
from cranial.skulls.defects import cut
from cranial.skulls.phantom import phantom
from cranial.volume import Volume

STILL = {"pitch_deg": 0, "tilt_deg": 0, "shift": 0, "scale": 0}


class HealthySide(torch.nn.Module):
    """A network that needs no training: where the mirror image has bone and the skull has none, there is implant."""

    def forward(self, x):
        return 30 * (x[:, 1:2] - x[:, :1] - 0.3)


@pytest.fixture(scope="module")
def case():
    return cut(phantom(3, spacing_mm=3.0), "parietotemporal", seed=1)


@pytest.fixture(scope="module")
def model():
    return Model(HealthySide(), side=48, symmetry=True, metadata={})


@pytest.fixture(scope="module")
def proposals(case, model):
    return propose(case.defective, count=4, seed=5, model=model, progress=False)


@pytest.fixture
def bare():
    """A grid with a single voxel of bone, far from everything."""
    mask = np.zeros((20, 20, 20), bool)
    mask[0, 0, 0] = True
    return Volume(mask, np.diag([2.0, 2.0, 2.0, 1.0]))


def boxes(bare: Volume, *places: slice) -> list[Volume]:
    """A bar along the first axis for each place."""
    made = [np.zeros_like(bare.mask) for _ in places]
    for mask, place in zip(made, places, strict=True):
        mask[place, 8:14, 8:14] = True
    return [bare.with_mask(mask) for mask in made]


# -- several reconstructions


def test_the_first_proposal_is_the_plain_reconstruction(case, model, proposals):
    assert np.array_equal(proposals.defects[0].mask, reconstruct(case.defective, model=model).defect.mask)


def test_a_proposal_depends_on_its_seed_and_number_alone(case, model, proposals):
    fewer = propose(case.defective, count=2, seed=5, model=model, progress=False)
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(fewer.defects, proposals.defects[:2], strict=True))
    other = propose(case.defective, count=2, seed=6, model=model, progress=False)
    assert np.array_equal(other.defects[0].mask, proposals.defects[0].mask)
    assert not np.array_equal(other.defects[1].mask, proposals.defects[1].mask)


def test_proposals_differ_and_are_on_the_grid_of_the_case(case, proposals):
    assert len({defect.mask.tobytes() for defect in proposals.defects}) == 4
    assert 0 < proposals.agreement < 0.99
    for defect in (*proposals.defects, proposals.vote):
        assert volume.same_grid(defect, case.defective)
        assert defect.mask.any() and not (defect.mask & case.defective.mask).any()


def test_a_mirrored_cube_gives_the_piece_on_the_same_side(case):
    """A sign that is wrong anywhere would put it on the other side of the head."""
    still = Model(HealthySide(), side=48, symmetry=True, metadata={"recipe": {"strength": STILL}})
    mirrored = [np.linalg.det(moved(lay_grid(case.defective, 48), generator(5, k, STREAM), Strength(**STILL)).affine)
                for k in (1, 2, 3)]  # fmt: skip
    assert min(mirrored) < 0 < max(mirrored)
    found = propose(case.defective, count=4, seed=5, model=still, progress=False)
    assert found.defects[0].mask.any() and found.agreement > 0.97


# -- the cube


def test_a_moved_cube_is_still_a_cube_about_nearly_the_same_place(case):
    grid = lay_grid(case.defective, 64)
    middle = grid.affine @ [31.5, 31.5, 31.5, 1]
    for item in range(30):
        other = moved(grid, generator(0, item), Strength())
        linear = other.affine[:3, :3] / other.spacing_mm
        assert np.allclose(linear.T @ linear, np.eye(3), atol=1e-9)
        assert np.linalg.norm(other.affine @ [31.5, 31.5, 31.5, 1] - middle) < 0.06 * 64 * grid.spacing_mm
        assert 0.85 < other.spacing_mm / grid.spacing_mm < 1.17
        upright = linear[:, 2] @ grid.affine[:3, 2] / grid.spacing_mm
        assert upright > np.cos(np.deg2rad(25))


def test_a_network_that_learnt_with_heads_at_rest_is_shown_none_that_moves(case):
    grid = lay_grid(case.defective, 64)
    still = Strength(**STILL)
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    flip[0, 3] = 63
    mirrored = 0
    for item in range(10):
        affine = moved(grid, generator(0, item), still).affine
        mirrored += np.linalg.det(affine) < 0
        assert np.allclose(affine, grid.affine @ flip if np.linalg.det(affine) < 0 else grid.affine)
    assert 0 < mirrored < 10


# -- what they agree on


def test_the_vote_is_what_more_than_half_have(bare):
    three = gather(bare, boxes(bare, slice(2, 10), slice(4, 12), slice(6, 14)), smallest_mm3=0)
    assert np.array_equal(np.flatnonzero(three.vote.mask.any(axis=(1, 2))), np.arange(4, 12))
    assert [int(three.votes[x, 10, 10]) for x in (1, 2, 4, 6, 10, 12, 14)] == [0, 1, 2, 3, 2, 1, 0]
    even = gather(bare, boxes(bare, slice(2, 10), slice(6, 14)), smallest_mm3=0)
    assert np.array_equal(np.flatnonzero(even.vote.mask.any(axis=(1, 2))), np.arange(6, 10))


def test_disagreement_is_nothing_where_all_agree_and_one_where_they_are_even(bare):
    four = gather(bare, boxes(bare, slice(2, 10), slice(2, 10), slice(6, 14), slice(6, 10)))
    along = four.disagreement[:, 10, 10]
    assert along.dtype == np.float32
    assert along[[0, 7, 15]].tolist() == [0, 0, 0] and along[3] == 1 and along[12] == pytest.approx(0.75)


def test_agreement_is_the_mean_dice_between_two(bare):
    assert gather(bare, boxes(bare, slice(2, 10))).agreement == 1
    assert gather(bare, boxes(bare, slice(2, 10), slice(2, 10))).agreement == 1
    assert gather(bare, boxes(bare, slice(2, 6), slice(8, 12))).agreement == 0
    three = gather(bare, boxes(bare, slice(2, 10), slice(2, 10), slice(6, 14)))
    assert three.agreement == pytest.approx((1 + 0.5 + 0.5) / 3)
    nothing = boxes(bare, slice(0, 0), slice(0, 0))
    assert gather(bare, nothing).agreement == 1


def test_the_vote_keeps_off_the_skull_and_has_no_crumbs(bare):
    skull = bare.with_mask(boxes(bare, slice(0, 4))[0].mask)
    crumb = np.zeros_like(bare.mask)
    crumb[17, 2, 2] = True
    pieces = [bare.with_mask(piece.mask | crumb) for piece in boxes(bare, slice(2, 10), slice(2, 10))]
    vote = gather(skull, pieces, smallest_mm3=100.0).vote.mask
    assert np.array_equal(np.flatnonzero(vote.any(axis=(1, 2))), np.arange(4, 10))


def test_a_count_and_shapes_that_cannot_be_are_refused(case, model, bare):
    for count in (0, 256):
        with pytest.raises(ValueError, match=f"count is {count}; give 1 to 255 proposals"):
            propose(case.defective, count=count, seed=0, model=model)
    with pytest.raises(ValueError, match="there are 0 proposals; give 1 to 255"):
        gather(bare, [])
    with pytest.raises(ValueError, match=r"proposal 1 has shape .*; bring it onto the case's grid with volume"):
        gather(bare, [bare, case.implant])


# -- warnings


def test_proposals_that_differ_much_or_find_nothing_are_a_warning(bare):
    bars = boxes(bare, slice(2, 10), slice(2, 10), slice(6, 14), slice(0, 0))
    assert gather(bare, bars[:2]).warnings == ()
    (said,) = gather(bare, bars[1:3], warnings=()).warnings
    assert "the proposals agree by 0.50 only" in said
    said = gather(bare, bars, warnings=["first"]).warnings
    assert said[0] == "first" and said[2] == "1 of 4 proposals find nothing missing; is there a hole in this skull?"


def said_of(skull: Volume) -> str:
    grid = lay_grid(skull, 96)
    return "\n".join(unfamiliar(grid.occupancy(skull), grid))


def test_a_head_like_the_others_is_no_warning(case):
    assert said_of(case.defective) == ""


def test_a_head_unlike_the_others_is_a_warning_that_says_what_to_look_at(case):
    small = Volume(case.complete.mask, np.diag([0.5, 0.5, 0.5, 1.0]) @ case.complete.affine)
    assert "unlike the training set: the edge of the cube around the head in mm is 9" in said_of(small)
    assert "check the spacing in the file" in said_of(small)
    solid = case.complete.with_mask(
        np.stack([ndimage.binary_fill_holes(part) for part in np.moveaxis(case.complete.mask, 2, 0)], axis=2)
    )
    assert "is the mask hollow" in said_of(solid)
    halved = case.complete.mask.copy()
    halved[: len(halved) // 2] = False
    assert "the mid-plane may be wrong" in said_of(case.complete.with_mask(halved))


def test_the_facts_are_those_of_a_ball_shell():
    x = np.ogrid[:64, :64, :64]
    radius = np.sqrt(sum((axis - 31.5) ** 2 for axis in x))
    shell = ((radius < 26) & (radius > 22)).astype(np.float32)
    grid = HeadGrid(64, np.diag([3.0, 3.0, 3.0, 1.0]))
    facts = facts_of(shell, grid)
    assert facts.keys() == RANGES.keys()
    assert facts["size_mm"] == 192 and facts["closed"] == facts["symmetry"] == facts["breadth"] == 1
    assert facts["lower_half"] == pytest.approx(0.5) and facts["loose"] == 0
    assert facts["thickness"] == pytest.approx(4 / 64, rel=0.15)
    assert facts["bone"] == pytest.approx(4 / 3 * np.pi * (26**3 - 22**3) / 64**3, rel=0.03)
    shell[:, :, 32:] = 0
    shell[:10, :10, :10] = 1
    facts = facts_of(shell, grid)
    assert facts["closed"] == 0 and facts["lower_half"] == 1
    assert facts["loose"] == pytest.approx(1000 / shell.sum())
