"""Surfaces drawn towards the mirrored skull: nearer to the truth where the other side has the piece, else untouched."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cranial.metrics import dice
from cranial.reconstruction.answer import Answer, to_case
from cranial.reconstruction.grid import lay_grid
from cranial.reconstruction.model import Model
from cranial.reconstruction.predict import brought_back, postprocess
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
    probability = np.clip(1.2 * gaussian_filter(grid.occupancy(case.implant), 0.7), 0, 1 - occupancy)
    answer, mirrored = Answer(probability, occupancy, grid.affine), suggestions.on(grid)[0]
    proposal = postprocess(to_case(answer, case.defective), case.defective)
    alike = agreement(answer, mirrored, grid.spacing_mm)
    return proposal, {"answer": answer, "suggestions": suggestions, "alike": alike, "grid": grid}


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
    _, asked = coarse(case)
    answer, grid, mirrored = asked["answer"], asked["grid"], asked["suggestions"].on(asked["grid"])[0]
    bulging = np.where(answer.probability > 0.5, mirrored, np.roll(mirrored, 2, axis=0))  # off by 9 mm beside the hole
    fits = [fit_around(answer, each, grid.spacing_mm) for each in (mirrored, bulging)]
    assert fits[0] > 0.8 and fits[1] < LEAST_FIT
    assert fit_around(replace(answer, probability=0 * answer.probability), mirrored, grid.spacing_mm) == 1
    model, scores = Model(None, 48, True, {}, suggested=True), []
    for each in (mirrored, bulging):
        seen = np.stack([answer.occupancy, each, 0 * each])
        found = brought_back(model, case.defective, answer.probability, seen, grid, asked["suggestions"])
        scores.append(dice(found, case.implant.mask))
        pieces = postprocess(to_case(answer, case.defective), case.defective)
        assert np.array_equal(found, pieces) == (each is bulging)
    assert scores[0] > scores[1]


def test_where_it_has_not_the_piece_stays_as_the_network_said(case):
    both = cut(case.complete, "bilateral", seed=5)
    proposal, asked = coarse(both)
    inner = lay_grid(both.defective, 48).occupancy(both.implant) > 0.5
    assert asked["alike"][inner].mean() < ALIKE
    unchanged = sharpened(proposal, both.defective, **asked)
    assert proposal.any() and dice(unchanged, proposal) > 0.97


def test_both_agree_where_they_are_one_and_not_where_one_is_nothing(symmetric):
    case = cut(symmetric, "parietotemporal", seed=5)
    _, asked = coarse(case)
    answer, spacing_mm = asked["answer"], asked["grid"].spacing_mm
    mirrored = asked["suggestions"].on(asked["grid"])[0]
    said = np.minimum(mirrored, 1 - answer.occupancy) * (answer.probability > 0.05)
    inner, answer = said > 0.5, replace(answer, probability=said)
    assert inner.any() and agreement(answer, mirrored, spacing_mm)[inner].min() > 0.8
    assert not agreement(answer, 0 * mirrored, spacing_mm).any()


def test_nothing_proposed_stays_nothing(case):
    nothing = np.zeros(case.defective.shape, bool)
    _, asked = coarse(case)
    assert not sharpened(nothing, case.defective, **asked).any()
