"""Figures show the patient as the patient lies, at the scale they say."""

import io
import json
from itertools import permutations, product

import matplotlib.pyplot
import numpy as np
import pytest
from matplotlib.image import imread
from matplotlib.text import Text

from cranial import figures
from cranial.figures.render import rgb
from cranial.figures.sections import PLANES, bounds_mm, middle_mm
from cranial.skulls.defects import Case
from cranial.volume import Volume

SPAN_MM, SIZE = 120.0, 120  # a pixel a millimetre


def solid(inside, *, spacing_mm=(2.0, 2.0, 2.0), half_mm=50.0, turn=None) -> Volume:
    """The points (x, y, z), L P S mm, for which `inside` holds, on a grid about the origin, turned or not."""
    shape = tuple(int(2 * half_mm / step) + 1 for step in spacing_mm)
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if turn is None else turn) * spacing_mm
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    grid = Volume(np.zeros(shape, bool), affine)
    points = grid.voxel_to_mm(np.argwhere(~grid.mask))
    return grid.with_mask(inside(*points.T).reshape(shape))


def box(centre, half) -> Volume:
    inside = [lambda v, c=c, h=h: np.abs(v - c) <= h for c, h in zip(centre, half, strict=True)]
    return solid(lambda x, y, z: inside[0](x) & inside[1](y) & inside[2](z))


def ball(radius_mm: float, **grid) -> Volume:
    return solid(lambda x, y, z: x**2 + y**2 + z**2 <= radius_mm**2, **grid)


def covered(picture) -> np.ndarray:
    return (picture < 0.99).any(axis=2)


def render(layers, view):
    return figures.render(layers, view=view, size=SIZE, span_mm=SPAN_MM)


@pytest.fixture(scope="module")
def case() -> Case:
    """A hollow ball whose front is cut out, which serves as a skull."""
    skull = solid(lambda x, y, z: (36**2 <= x**2 + y**2 + z**2) & (x**2 + y**2 + z**2 <= 44**2))
    front = solid(lambda x, y, z: (y < 0) & (x**2 + z**2 < 20**2)).mask & skull.mask
    return Case(skull, skull.with_mask(skull.mask & ~front), skull.with_mask(front), "trephination")


@pytest.fixture(scope="module")
def proposal(case) -> Volume:
    """The missing piece, with nothing on its right side and too much on its left."""
    kept = solid(lambda x, y, z: x > -8)
    extra = solid(lambda x, y, z: (x > 8) & (y < 0) & (x**2 + z**2 < 20**2) & (x**2 + y**2 + z**2 < 50**2))
    hollow = solid(lambda x, y, z: x**2 + y**2 + z**2 > 44**2)
    return case.implant.with_mask(case.implant.mask & kept.mask | extra.mask & hollow.mask)


def words(figure) -> list[str]:
    figure.canvas.draw()
    return [text.get_text() for text in figure.findobj(Text)]


def test_a_ball_covers_the_area_of_its_circle_from_every_side_whatever_its_voxels():
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    for grid in ({}, {"spacing_mm": (1.0, 2.0, 4.0)}, {"spacing_mm": (1.5, 2.5, 2.0), "turn": turn}):
        for view in ("front", "top", (33, 21)):
            shown = covered(render({"bone": ball(40.0, **grid)}, view))
            assert shown.sum() == pytest.approx(np.pi * 40**2, rel=0.06)
            assert np.ptp(np.argwhere(shown), axis=0) == pytest.approx(80, abs=4)


def test_every_order_and_sense_of_the_axes_gives_the_same_picture():
    def inside(x, y, z):  # an egg that looks different from every side
        return (x - 10) ** 2 / 900 + (y + 5) ** 2 / 400 + (z - x / 3) ** 2 / 1000 <= 1

    egg = solid(inside, spacing_mm=(4.0, 4.0, 4.0))
    expected = figures.render({"bone": egg}, view=(30, 20), size=50)
    assert 0.2 < covered(expected).mean() < 0.9
    for axes, flips in product(permutations(range(3)), product((1, -1), repeat=3)):
        affine = egg.affine.copy()
        affine[:3, :3] = egg.affine[:3, axes] * flips
        ends = [n - 1 if flip < 0 else 0 for n, flip in zip(np.array(egg.shape)[list(axes)], flips, strict=True)]
        affine[:3, 3] = egg.affine[:3, 3] - affine[:3, :3] @ ends
        mask = egg.mask.transpose(axes)[tuple(slice(None, None, flip) for flip in flips)]
        turned = figures.render({"bone": Volume(mask, affine)}, view=(30, 20), size=50)
        assert np.abs(turned - expected).max() < 1e-3


@pytest.mark.parametrize(
    ("view", "where"),
    [("front", "right"), ("back", "left"), ("top", "left"), ("left", "nearer"), ("right", "farther")],
)
def test_the_patients_left_is_where_an_onlooker_sees_it(view, where):
    head = box((0, 0, 0), (40, 40, 40))
    badge = box((44, 0, 0), (4, 10, 10))  # sticks out to the left
    picture = render({"bone": head, "implant": badge}, view)
    blue = picture[..., 2] > picture[..., 0] + 0.1
    if where in ("nearer", "farther"):
        assert blue.any() == (where == "nearer")
    else:
        assert (np.argwhere(blue)[:, 1].mean() > SIZE / 2) == (where == "right")


def test_the_top_of_the_head_is_up_and_the_nose_is_up_in_the_view_from_above():
    head = ball(30.0)
    crown, nose = box((0, 0, 36), (6, 6, 8)), box((0, -36, 0), (6, 8, 6))
    for view, badge in (("front", crown), ("left", crown), ("top", nose)):
        picture = render({"bone": head, "implant": badge}, view)
        blue = np.argwhere(picture[..., 2] > picture[..., 0] + 0.1)
        assert blue[:, 0].mean() < SIZE / 3
    faces_left = render({"bone": head, "implant": nose}, "left")
    assert np.argwhere(faces_left[..., 2] > faces_left[..., 0] + 0.1)[:, 1].mean() < SIZE / 3


def test_light_comes_from_above_and_hollows_are_darker():
    picture = render({"bone": ball(40.0)}, "front").mean(axis=2)
    assert picture[35, 60] > picture[85, 60] + 0.1
    bowl = solid(lambda x, y, z: (x**2 + y**2 + z**2 <= 44**2) & ((x**2 + z**2 > 12**2) | (y > 20)))
    plate = solid(lambda x, y, z: (x**2 + y**2 + z**2 <= 44**2) & (y > 20))
    assert render({"bone": bowl}, "front")[60, 60].mean() < render({"bone": plate}, "front")[60, 60].mean() - 0.1


def test_what_fits_tightly_shows_no_seam(case):
    whole = render({"bone": case.complete}, "front")
    filled = render({"bone": case.defective, "implant": case.implant}, "front")
    assert (covered(whole) == covered(filled)).mean() > 0.999
    edge = np.abs(filled - whole).max(axis=2)
    blue = filled[..., 2] > filled[..., 0] + 0.1
    assert edge[~blue].max() < 0.35  # pixels shared by both colours


def test_a_layer_without_a_colour_and_a_view_without_a_place_are_refused(case):
    with pytest.raises(ValueError, match="layer 'skin' has no colour; name it one of bone, implant"):
        figures.render({"skin": case.complete})
    with pytest.raises(ValueError, match="view is 'below'; choose one of front, left, right, back, top or"):
        figures.render({"bone": case.complete}, view="below")


def test_nothing_at_all_is_refused_and_one_empty_layer_is_not(case):
    empty = case.implant.with_mask(np.zeros_like(case.implant.mask))
    for draw in (figures.render, figures.slices, bounds_mm):
        with pytest.raises(ValueError, match="nothing to draw: every layer is empty; give at least one"):
            draw({"bone": empty, "implant": empty})
    alone, beside = {"bone": case.complete}, {"bone": case.complete, "proposal": empty}
    assert np.allclose(render(alone, "front"), render(beside, "front"), atol=1e-6)
    figures.views({"bone": case.defective, "proposal": empty})
    figures.slices({"bone": case.defective, "proposal": empty})


def test_the_view_on_a_hole_is_from_outside_straight_at_it(case):
    for azimuth, elevation in ((0, 0), (90, 10), (-120, 40)):
        a, e = np.radians((azimuth, elevation))
        place = 38 * np.array([np.sin(a) * np.cos(e), -np.cos(a) * np.cos(e), np.sin(e)])
        found = figures.facing(box(place, (6, 6, 6)), case.complete)
        assert found == pytest.approx((azimuth, elevation), abs=8)
    both = box((40, 0, 10), (4, 6, 6))
    opposite = both.with_mask(both.mask | both.mask[::-1])
    azimuth, elevation = figures.facing(opposite, case.complete)
    assert azimuth in (0, 180) and elevation > 10
    large, small = box((25, -25, 15), (8, 8, 8)).mask, box((-25, -25, 15), (5, 5, 5)).mask
    assert figures.facing(both.with_mask(large | small), case.complete)[0] == pytest.approx(0, abs=6)
    assert figures.facing(both.with_mask(np.zeros_like(both.mask)), case.complete) == (0, 0)


def test_sections_follow_the_radiologists(case):
    """What is left, in front and above shows at the right, the top and the top."""
    badge = box((30, -20, 10), (4, 4, 4))
    figure = figures.slices({"bone": ball(44.0), "implant": badge})
    expected = {"axial": (30, -20), "coronal": (30, -10), "sagittal": (-20, -10)}
    for axes, plane in zip(figure.axes, PLANES, strict=True):
        picture = np.asarray(axes.images[0].get_array())
        mm_a_pixel = 88 * 1.15 / len(picture)
        blue = np.argwhere(picture[..., 2] > picture[..., 0] + 0.05)
        right, down = (blue.mean(axis=0)[::-1] - (len(picture) - 1) / 2) * mm_a_pixel
        assert (right, down) == pytest.approx(expected[plane], abs=2.5)
        assert axes.get_title().startswith(plane)
        assert [t.get_text() for t in axes.texts][:4] == list(PLANES[plane][3])


def test_a_section_is_to_scale_and_its_bar_too():
    for spacing_mm in ((2.0, 2.0, 2.0), (1.0, 3.0, 2.0)):
        axes = figures.slices({"bone": ball(40.0, spacing_mm=spacing_mm)}, across_mm=130).axes[0]
        picture = np.asarray(axes.images[0].get_array())
        bone = picture.mean(axis=2) > 0.5
        mm2_a_pixel = (130 / len(picture)) ** 2
        assert bone.sum() * mm2_a_pixel == pytest.approx(np.pi * 40**2, rel=0.04)
        bar = axes.lines[0].get_xdata()
        assert np.ptp(bar) * 130 / len(picture) == pytest.approx(50, rel=0.02)


def test_sections_meet_within_the_piece_even_if_it_is_a_ring():
    ring = solid(lambda x, y, z: (np.abs(np.hypot(x, y) - 30) < 5) & (np.abs(z) < 5))
    at = middle_mm({"bone": ball(44.0), "implant": ring})
    assert ring.mask[tuple(np.rint(ring.mm_to_voxel(at[None])[0]).astype(int))]
    assert middle_mm({"bone": ball(44.0)}) == pytest.approx((0, 0, 0), abs=2)


def test_four_sides_say_where_left_and_right_are(case):
    figure = figures.views({"bone": case.defective, "implant": case.implant}, title="A head")
    assert [axes.get_title() for axes in figure.axes] == ["front", "left", "back", "right", "top"]
    sides = {axes.get_title(): [text.get_text() for text in axes.texts][:2] for axes in figure.axes}
    sides = {side: "".join(edges) for side, edges in sides.items()}
    assert sides == {"front": "RL", "left": "AP", "back": "LR", "right": "PA", "top": "LR"}
    assert {"A head", "50 mm", "missing piece"} <= set(words(figure))


def test_a_population_has_a_name_for_each_and_one_scale_for_all():
    skulls = {"large": ball(44.0), "small": ball(22.0), "third": ball(30.0)}
    figure = figures.population(skulls, columns=2)
    assert [axes.get_title() for axes in figure.axes] == ["large", "small", "third", ""]
    large, small = (covered(figure.axes[k].images[0].get_array()).sum() for k in (0, 1))
    assert large / small == pytest.approx(4, rel=0.1)


def test_cases_show_the_hole_above_and_the_piece_below_with_its_size(case):
    figure = figures.cases([case, case], titles=["seed 0", "seed 1"])
    above, below = figure.axes[0], figure.axes[2]
    assert above.get_title() == "seed 0" and below.get_xlabel() == f"{case.implant.volume_mm3 / 1000:.0f} cm³"
    blue = [(p[..., 2] > p[..., 0] + 0.1).sum() for p in (above.images[0].get_array(), below.images[0].get_array())]
    assert blue[0] == 0 and blue[1] > 1000
    assert figures.cases([case]).axes[0].get_title() == "trephination"


def test_proposals_stand_beside_the_truth_with_their_scores(case, proposal):
    figure = figures.proposals([case, case], {"mirror": [proposal] * 2}, {"mirror": [0.123, 0.456]})
    assert [axes.get_title() for axes in figure.axes[:3]] == ["defective skull", "truth", "mirror"]
    assert [figure.axes[k].get_xlabel() for k in (2, 5)] == ["DSC 0.12", "DSC 0.46"]


def test_a_comparison_colours_what_agrees_what_is_missed_and_what_is_extra(case, proposal):
    figure = figures.comparison(case.implant, proposal, case.defective, score="DSC 0.80", title="a ball")
    picture = figure.axes[2].images[0].get_array()
    hue = picture / np.maximum(picture.sum(axis=2, keepdims=True), 1e-6)
    hues = {name: rgb(name) / rgb(name).sum() for name in ("agreed", "missed", "extra")}
    near = {name: np.abs(hue - pure).max(axis=2) < 0.04 for name, pure in hues.items()}
    seen = {name: np.argwhere(where & covered(picture)) for name, where in near.items()}
    assert all(len(where) > 50 for where in seen.values())
    left_to_right = [seen[name][:, 1].mean() for name in ("missed", "agreed", "extra")]
    assert left_to_right == sorted(left_to_right)
    assert {"a ball   DSC 0.80", "in both", "in the truth only"} <= set(words(figure))
    with pytest.raises(ValueError, match=r"have shapes .* bring them onto one grid with volume.resample"):
        figures.comparison(case.implant, ball(30.0, half_mm=40.0), case.defective)


def test_a_score_chart_has_a_dot_a_case_and_a_line_at_each_mean():
    figure = figures.score_chart({"mirror": [0.2, 0.8], "network": [0.7, 0.9]}, ["bilateral", "skullfix"])
    dots = [line.get_xdata() for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert np.allclose(dots, [[0.2, 0.8], [0.7, 0.9]])
    assert {"mirror, mean 0.50", "network, mean 0.80", "bilateral"} <= set(words(figure))
    with pytest.raises(ValueError, match="'mirror' has 1 scores for 2 cases; give one a case"):
        figures.score_chart({"mirror": [0.2]}, ["bilateral", "skullfix"])


def test_training_curves_read_the_log_that_training_writes(tmp_path):
    lines = [{"step": 10 * k, "unet/loss": 1 / k, "unet/dice": 0.5 / k, "unet/gradient_norm": 9.0} for k in range(1, 6)]
    lines[2]["unet/loss"] = None  # not finite
    lines += [{"step": 20 * k, "validation/dsc": value} for k, value in ((1, 0.3), (2, 0.6), (3, 0.5))]
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    losses, scores = figures.training_curves(log).axes
    curves = {line.get_label(): line.get_xydata() for line in losses.lines}
    assert set(curves) == {"loss", "dice"}
    assert curves["dice"].tolist() == [[10 * k, 0.5 / k] for k in range(1, 6)] and len(curves["loss"]) == 4
    assert scores.lines[0].get_xydata().tolist() == [[20, 0.3], [40, 0.6], [60, 0.5]]
    assert scores.get_ylabel() == "validation DSC"
    assert [text.get_text() for text in scores.texts] == ["best 0.60"]
    log.write_text("")
    with pytest.raises(ValueError, match=r"log\.jsonl has no line; train for some steps first"):
        figures.training_curves(log)


def test_training_cases_show_occupancies_as_they_are(case):
    fine = np.stack([v.mask[None].astype(np.float32) for v in (case.defective, case.implant)])
    coarse = fine[:, :, :48, :48, :48].reshape(2, 1, 12, 4, 12, 4, 12, 4).mean(axis=(3, 5, 7))
    figure = figures.training_cases(fine[:1], fine[1:], coarse[:1], coarse[1:])
    assert figure.axes[1].images[0].get_array().shape == (12, 12, 3)
    assert figure.axes[1].get_ylabel() == "what is seen, 12³"
    nothing = np.zeros_like(coarse[:1])
    shown = figures.training_cases(fine[:1], np.zeros_like(fine[:1]), coarse[:1], nothing).axes[1].images[0].get_array()
    bone = coarse[0, 0, :, :, 6].T
    assert np.allclose(shown, bone[..., None] * rgb("bone") + (1 - bone[..., None]) * np.array((0.10, 0.11, 0.13)))


def test_a_picture_about_a_point_has_it_in_its_middle():
    spot = box((20, 0, 10), (6, 6, 6))
    picture = figures.render({"bone": spot}, view="front", size=SIZE, span_mm=SPAN_MM, about_mm=np.zeros(3))
    down, right = np.argwhere(covered(picture)).mean(axis=0) - (SIZE - 1) / 2
    assert (right, down) == pytest.approx((20, -10), abs=1.5)  # the patient's left is to the right, and up is up


def test_variants_keep_the_place_of_each_in_its_cube(case):
    moved = Volume(case.defective.mask, case.defective.affine + [[0, 0, 0, 30], [0] * 4, [0] * 4, [0] * 4])
    shifted = Case(moved, moved, moved.with_mask(case.implant.mask), "")
    drawn = figures.variants({"one": [case, shifted], "other": [case]}, titles=["here", "there"], span_mm=160)
    here, there, other, blank = drawn.axes
    assert [axes.get_title() for axes in (here, there)] == ["here", "there"]
    assert (here.get_ylabel(), other.get_ylabel(), blank.axison) == ("one", "other", False)
    columns = [np.argwhere(covered(axes.images[0].get_array()))[:, 1].mean() for axes in (here, there)]
    assert columns[1] - columns[0] > 10


@pytest.fixture(scope="module")
def pairs(case) -> dict:
    """The same pair at three stiffnesses, small."""
    from cranial.registration import register

    target = solid(lambda x, y, z: (34**2 <= x**2 + (y / 1.1) ** 2 + z**2) & (x**2 + (y / 1.1) ** 2 + z**2 <= 43**2))
    return {
        alpha: register(case.complete, target, alpha=alpha, side=16, iterations=(8, 8, 8), affine=np.eye(4),
                        common=False)
        for alpha in (100.0, 10_000.0, 1e6)
    }


def test_a_bent_case_stands_between_what_it_was_and_what_it_was_bent_to(case, pairs):
    carried = {f"{alpha:g}": found.carry(case.defective, case.implant) for alpha, found in pairs.items()}
    drawn = figures.bent(case, carried, case.complete, notes={"100": "Dice 0.9"})
    above, below = drawn.axes[:5], drawn.axes[5:]
    assert [axes.get_title() for axes in above] == ["moving", "100", "10000", "1e+06", "fixed"]
    assert [axes.get_xlabel() for axes in below][:2] == ["", "Dice 0.9"]
    assert all(covered(axes.images[0].get_array()).any() for axes in drawn.axes)


def test_field_maps_show_millimetres_and_folds(case, pairs):
    names = {f"{alpha:g}": found for alpha, found in pairs.items()}
    drawn = figures.field_maps(names, {name: found.carry(case.complete)[0] for name, found in names.items()})
    maps = [axes for axes in drawn.axes if axes.images]
    assert [axes.get_title() for axes in maps[:3]] == list(names)
    level = maps[0].images[0].get_array()
    lengths = pairs[100.0].displacement_mm
    assert any(np.allclose(level, lengths[:, :, k].T) for k in range(16))
    folded = [axes.get_xlabel() for axes in maps if axes.get_xlabel()]
    assert folded == [f"{100 * found.quality.folded_share:.2f} % folded" for found in pairs.values()]
    soft, stiff = (maps[row].images[0].get_array() for row in (3, 5))
    assert np.ptp(soft) > 3 * np.ptp(stiff)


def test_descent_curves_run_through_all_levels(pairs):
    drawn = figures.descent_curves(pairs[100.0])
    (axes,) = drawn.axes
    assert [text.get_text() for text in axes.texts] == ["4³", "8³", "16³"]
    assert axes.get_xlim() == (0, 24)
    lines = {line.get_label() for line in axes.lines}
    assert {"objective", "squared difference", "regulariser"} <= lines


def test_a_trade_off_has_a_point_a_stiffness(pairs):
    drawn = figures.trade_off(pairs)
    dice = drawn.axes[0].lines[0]
    assert list(dice.get_xdata()) == sorted(pairs)
    assert list(dice.get_ydata()) == [pairs[alpha].quality.dice_after for alpha in sorted(pairs)]


def test_trainings_are_compared_by_loss_and_score():
    log = [{"step": step, "unet/dice": 1 / step, "validation/dsc": step / 10} for step in (1, 2, 4)]
    drawn = figures.training_comparison({"none": log, "basic": [dict(line, **{"unet/dice": 0.5}) for line in log]})
    left, right = drawn.axes
    assert [line.get_label() for line in left.lines] == ["none", "basic"]
    assert list(left.lines[0].get_ydata()) == [1, 0.5, 0.25] and list(right.lines[1].get_ydata()) == [0.1, 0.2, 0.4]
    assert [text.get_text() for text in right.texts] == ["0.40", "0.40"]


def a_set(training: int, held_out: int, synthetic: int) -> dict:
    rng, sizes = np.random.default_rng(0), {"training": training, "held_out": held_out, "synthetic": synthetic}
    return {
        group: {"defect_mm3": rng.uniform(1000, 9000, size), "skull_pieces": rng.integers(1, 5, size).astype(float)}
        for group, size in sizes.items()
    }


def test_facts_of_a_set_are_shares_of_each_group_in_the_same_bins():
    facts = a_set(30, 5, 200)
    drawn = figures.fact_distributions(facts, kolmogorov_smirnov={"defect_mm3": 0.25})
    volume, pieces = drawn.axes[:2]
    assert volume.get_xlabel() == "volume of the defect, cm³" and pieces.get_xlabel() == "pieces of the skull"
    assert volume.get_title(loc="right") == "KS distance 0.25" and pieces.get_title(loc="right") == ""
    values = [facts[group]["defect_mm3"] / 1000 for group in ("training", "synthetic")]  # cm3
    low, high = (side(np.concatenate([*values, facts["held_out"]["defect_mm3"] / 1000])) for side in (np.min, np.max))
    for patch, shown in zip(volume.patches, values, strict=True):
        outline = patch.get_xy()
        assert (outline[:, 0].min(), outline[:, 0].max()) == pytest.approx((low, high))
        count, edges = np.histogram(shown, 20, (low, high))
        np.testing.assert_allclose(outline[1:41:2, 1], 100 * count / len(shown))
        np.testing.assert_allclose(outline[0:41:2, 0], edges)
    np.testing.assert_allclose(volume.lines[0].get_xdata(),
                               np.quantile(facts["held_out"]["defect_mm3"] / 1000, [0.05, 0.5, 0.95]))
    assert {"training cases (30)", "held-out cases (5)", "synthetic cases (200)"} <= set(words(drawn))


def test_whole_numbers_have_a_bin_each():
    drawn = figures.fact_distributions({"training": {"skull_pieces": np.array([1.0, 1, 2, 4])}})
    outline = drawn.axes[0].patches[0].get_xy()
    assert set(outline[:, 0]) == {0.5, 1.5, 2.5, 3.5, 4.5} and set(outline[:, 1]) == {0, 25, 50}
    assert len([axes for axes in drawn.axes if axes.axison]) == 1


def test_a_fact_that_never_varies_and_many_pieces_can_be_drawn():
    same = {"contact": np.full(9, 0.2), "defect_pieces": np.array([1.0] * 8 + [500])}
    figures.fact_distributions({"training": same, "synthetic": same})._repr_png_()


def test_nearest_dice_says_how_many_are_beyond_the_threshold():
    synthetic = {"complete": np.linspace(0, 1, 11), "defect": np.zeros(11), "lesser": np.full(11, 0.96)}
    thresholds = {"complete": 0.75, "defect": 0.8, "lesser": 0.9}
    drawn = figures.nearest_dice({"synthetic": synthetic, "held_out": {name: [0.5, 0.6] for name in thresholds}},
                                 thresholds)
    said = [axes.texts[0].get_text() for axes in drawn.axes]
    assert said == [f"{count} of 11 memorised" for count in (3, 0, 11)]
    assert [axes.lines[0].get_xdata()[0] for axes in drawn.axes] == list(thresholds.values())
    assert "held-out cases (2)" in words(drawn)
    assert not figures.nearest_dice({"held_out": {"defect": [0.5]}}, thresholds).axes[0].texts


def test_groups_and_values_that_a_set_does_not_have_are_refused():
    with pytest.raises(ValueError, match=r"facts has \['real'\]; give groups named training, held_out, synthetic"):
        figures.fact_distributions({"real": {}})
    with pytest.raises(ValueError, match="nearest has nothing; give groups named"):
        figures.nearest_dice({}, {})
    with pytest.raises(ValueError, match="facts has no values of one name in all groups; give some of skull_mm3"):
        figures.fact_distributions({"training": {"contact": [1]}, "synthetic": {"skull_mm3": [1]}})


def test_a_figure_shows_itself_in_a_notebook_and_leaves_nothing_open(case):
    png = figures.cases([case])._repr_png_()
    assert imread(io.BytesIO(png)).std() > 10 / 255
    assert matplotlib.pyplot.get_fignums() == []


def test_every_quantity_of_a_training_has_a_panel_and_players_share_it(tmp_path):
    lines = [{"step": step, "seconds": 1.0, "encoder/kl": 1.0 / step, "decoder/kl": 2.0, "decoder/gradient_norm": 9.0}
             for step in (1, 2)] + [{"step": 2, "validation/dice": 0.5}]
    figure = figures.loss_panels({"one": lines}, title="A training")
    shown = {axes.get_title(): axes for axes in figure.axes if axes.lines}
    assert set(shown) == {"kl", "dice"} and len(shown["kl"].lines) == 2
    assert [text.get_text() for text in shown["kl"].get_legend().get_texts()] == ["decoder", "encoder"]
    both = figures.loss_panels({"one": lines, "two": lines})
    assert {axes.get_title() for axes in both.axes if axes.lines} == {"kl, one", "kl, two", "dice, one", "dice, two"}


def test_latents_in_the_plane_are_shown_at_one_scale_with_their_circle():
    points = {"sd": np.array([[0.0, 1.0], [2.0, 0.0]]), "uds": np.array([[3.0, 0.0], [0.0, -3.0]])}
    figure = figures.plane(points, radius=3.0)
    assert [axes.get_title() for axes in figure.axes] == ["sd", "uds"]
    assert len({axes.get_xlim() for axes in figure.axes}) == 1 and figure.axes[0].get_xlim()[1] >= 3.0
    np.testing.assert_allclose(np.hypot(*figure.axes[1].lines[0].get_data()), 3.0)
    np.testing.assert_allclose(figure.axes[1].collections[0].get_offsets(), points["uds"])


def test_lengths_and_distances_of_latents_share_their_axes():
    latents = {"sd": np.eye(3), "ud": 2 * np.eye(3)}
    figure = figures.lengths_and_distances(latents, nearest={"sd": np.full(3, 1.4), "ud": np.full(3, 2.8)})
    left, right = figure.axes
    assert [sum(patch.get_height() for patch in bars) for bars in left.containers] == [3, 3]
    assert left.get_xlabel() == "length of a latent" and right.get_xlabel() == "to the nearest neighbour"


def test_a_case_without_a_voxel_leaves_its_place_empty(case):
    nothing = case.complete.with_mask(np.zeros_like(case.complete.mask))
    empty = Case(nothing, nothing, nothing, "empty skull")
    for figure in (figures.cases([case, empty]), figures.variants({"drawn": [case, empty]}, span_mm=200.0)):
        pictures = [axes.images[0].get_array() for axes in figure.axes if axes.images]
        assert len(pictures) in (2, 4) and pictures[1].min() == 1.0 and pictures[0].min() < 1.0


@pytest.mark.parametrize(("layers", "label"), [(["bone", "implant"], "missing piece"),
                                               (["bone", "implant", "proposal"], "missing piece (truth)")])
def test_a_missing_piece_is_the_truth_only_beside_what_is_proposed(layers, label):
    from cranial.figures.style import figure, key

    with figure(3, 2) as drawn:
        key(drawn, iter(layers))
    assert [text.get_text() for text in drawn.legends[0].get_texts()][1] == label
