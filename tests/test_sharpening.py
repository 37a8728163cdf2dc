"""Surfaces drawn towards the mirrored skull: nearer to the truth where the other side has the piece, else untouched."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cranial.metrics import dice
from cranial.reconstruction.grid import lay_grid
from cranial.reconstruction.predict import postprocess, to_case
from cranial.reconstruction.sharpening import ALIKE, LEAST_FIT, agreement, fit_around, sharpened
from cranial.reconstruction.suggestions import find_suggestions
from cranial.skulls.defects import Case, cut
from cranial.skulls.phantom import phantom
from cranial.skulls.splits import phantom_items


@pytest.fixture(scope="module")
def case():
    return cut(phantom(phantom_items("test")[0], spacing_mm=2.0), "parietotemporal", seed=5)


def coarse(case, side=48):
    """What a coarse network may say, too thick, brought back: (proposal, what `sharpened` wants besides)."""
    grid, suggestions = lay_grid(case.defective, side), find_suggestions(case.defective)
    occupancy = grid.occupancy(case.defective)
    seen = np.concatenate([occupancy[None], suggestions.on(grid)])
    probability = np.clip(1.2 * gaussian_filter(grid.occupancy(case.implant), 0.7), 0, 1 - occupancy)
    proposal = postprocess(to_case(probability, occupancy, grid, case.defective), case.defective)
    return proposal, {"probability": probability, "seen": seen, "grid": grid, "suggestions": suggestions}


@pytest.fixture(scope="module")
def symmetric(case):
    whole = case.complete.mask
    left = np.arange(len(whole))[:, None, None] < len(whole) / 2
    return case.complete.with_mask(np.where(left, whole, whole[::-1]))


@pytest.mark.parametrize("style", ["parietotemporal", "random_2"])
def test_where_the_other_side_has_the_piece_it_comes_nearer_to_the_truth(symmetric, style):
    case = cut(symmetric, style, seed=5)
    proposal, asked = coarse(case)
    sharp = sharpened(proposal, case.defective, **asked)
    assert dice(sharp, case.implant.mask) > dice(proposal, case.implant.mask) + 0.01
    assert not (sharp & case.defective.mask).any()


def test_of_one_piece_the_half_that_the_other_side_has_is_sharpened_and_the_rest_stays(symmetric):
    one = cut(symmetric, "parietotemporal", seed=5).implant.mask
    behind = np.arange(one.shape[1])[None, :, None] > np.median(np.argwhere(one)[:, 1])
    missing = one | (one & behind)[::-1]  # on the other side the half behind is missing too
    case = Case(symmetric, symmetric.with_mask(symmetric.mask & ~missing), symmetric.with_mask(missing), "halves")
    proposal, asked = coarse(case)
    sharp = sharpened(proposal, case.defective, **asked)
    far = 20 / case.defective.spacing_mm[1]  # of the line between the halves: further than what is around
    line = np.median(np.argwhere(one)[:, 1])
    front, rear = np.arange(one.shape[1]) < line - far, np.arange(one.shape[1]) > line + far
    assert proposal[:, rear].any() and np.array_equal(sharp[:, rear], proposal[:, rear])
    before, after = (dice(mask[:, front], missing[:, front]) for mask in (proposal, sharp))
    assert after > before + 0.01


def test_a_mirrored_skull_that_does_not_fit_around_the_hole_has_no_say_in_it(symmetric):
    case = cut(symmetric, "parietotemporal", seed=5)
    proposal, asked = coarse(case)
    skull, mirrored, atlas = asked["seen"]
    spacing_mm = asked["grid"].spacing_mm
    there = asked["probability"] > 0.5
    bulging = np.where(there, mirrored, np.roll(mirrored, 2, axis=0))  # as before in the hole, beside it off by 9 mm
    fits = [fit_around(asked["probability"], np.stack([skull, m, atlas]), spacing_mm) for m in (mirrored, bulging)]
    assert fits[0] > 0.8 and fits[1] < LEAST_FIT
    assert not np.array_equal(sharpened(proposal, case.defective, **asked), proposal)
    off = asked | {"seen": np.stack([skull, bulging, atlas])}
    assert np.array_equal(sharpened(proposal, case.defective, **off), proposal)
    assert fit_around(0 * asked["probability"], asked["seen"], spacing_mm) == 1


def test_where_it_has_not_the_piece_stays_as_the_network_said(case):
    both = cut(case.complete, "bilateral", seed=5)
    proposal, asked = coarse(both)
    inner = lay_grid(both.defective, 48).occupancy(both.implant) > 0.5
    assert agreement(asked["probability"], asked["seen"], asked["grid"].spacing_mm)[inner].mean() < ALIKE
    unchanged = sharpened(proposal, both.defective, **asked)
    assert proposal.any() and dice(unchanged, proposal) > 0.97


def test_both_agree_where_they_are_one_and_not_where_one_is_nothing(symmetric):
    case = cut(symmetric, "parietotemporal", seed=5)
    _, asked = coarse(case)
    seen, spacing_mm = asked["seen"], asked["grid"].spacing_mm
    said = np.minimum(seen[1], 1 - seen[0]) * (asked["probability"] > 0.05)
    inner = said > 0.5
    assert inner.any() and agreement(said, seen, spacing_mm)[inner].min() > 0.8
    seen = np.stack([seen[0], 0 * seen[1], seen[2]])
    assert not agreement(said, seen, spacing_mm).any()


def test_nothing_proposed_stays_nothing(case):
    nothing = np.zeros(case.defective.shape, bool)
    _, asked = coarse(case)
    assert not sharpened(nothing, case.defective, **asked).any()
