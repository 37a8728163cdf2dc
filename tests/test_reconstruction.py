"""Reconstruction: the cube, the way in and back, and what may not happen to a patient's volume on the way."""

import numpy as np
import pytest
import torch

from cranial import volume
from cranial.checkpoint import CheckpointError, save_weights
from cranial.nets.residual_unet import ResidualUNet, ResidualUNetShape
from cranial.reconstruction import Model, load_model, reconstruct
from cranial.reconstruction.answer import Answer, best_level, to_case
from cranial.reconstruction.grid import lay_grid
from cranial.reconstruction.predict import infer, postprocess
from cranial.skulls.defects import cut
from cranial.skulls.phantom import phantom
from cranial.volume import Volume


class HealthySide(torch.nn.Module):
    """A network that needs no training: where the mirror image has bone and the skull has none, there is implant."""

    def forward(self, x):
        return 30 * (x[:, 1:2] - x[:, :1] - 0.3)


class Nothing(torch.nn.Module):
    def forward(self, x):
        return torch.full_like(x[:, :1], -20.0)


def dice(one, other):
    return 2 * np.count_nonzero(one & other) / max(1, np.count_nonzero(one) + np.count_nonzero(other))


@pytest.fixture(scope="module")
def skull():
    return phantom(3, spacing_mm=2.0)


@pytest.fixture(scope="module")
def case(skull):
    return cut(skull, "parietotemporal", seed=1)


@pytest.fixture(scope="module")
def healthy_side():
    return Model(HealthySide(), side=96, symmetry=True, metadata={})


def turned(v, angle_deg, axis=2):
    """The same voxels placed in a patient who turned the head."""
    a = np.deg2rad(angle_deg)
    rotation = np.eye(4)
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    rotation[[i, i, j, j], [i, j, i, j]] = np.cos(a), -np.sin(a), np.sin(a), np.cos(a)
    return Volume(v.mask, rotation @ v.affine)


# -- the cube


def test_the_cube_is_isotropic_and_its_first_axis_is_the_normal_of_the_midplane(skull):
    grid = lay_grid(skull, 64)
    linear = grid.affine[:3, :3] / grid.spacing_mm
    assert np.allclose(linear.T @ linear, np.eye(3), atol=1e-9) and np.linalg.det(linear) > 0
    assert linear[0, 0] > 0.98


def test_the_skull_lies_in_the_cube_with_a_margin_on_every_side():
    for item in range(4):
        skull = phantom(item, spacing_mm=2.0, mandible=False)
        grid = lay_grid(skull, 64)
        vault = grid.occupancy(skull)[:, :, 32:]
        where = np.argwhere(vault > 0.5)
        assert where[:, :2].min() >= 3 and where[:, :2].max() <= 60 and where[:, 2].max() <= 28


def test_a_turned_head_gets_the_same_cube_in_its_own_frame(skull):
    straight = lay_grid(skull, 64).occupancy(skull)
    other = turned(skull, 15)
    moved = lay_grid(other, 64).occupancy(other)
    assert dice(straight > 0.5, moved > 0.5) > 0.8


def test_another_number_of_voxels_is_the_same_cube(skull):
    grid = lay_grid(skull, 64)
    fine = grid.at(128)
    corners = [g.affine @ [-0.5, -0.5, -0.5, 1] for g in (grid, fine)]
    ends = [g.affine @ np.array([g.side - 0.5] * 3 + [1]) for g in (grid, fine)]
    assert np.allclose(corners[0], corners[1]) and np.allclose(ends[0], ends[1])


def test_occupancy_keeps_the_volume_of_the_bone(skull):
    grid = lay_grid(skull, 96)
    inside_mm3 = grid.occupancy(skull).sum() * grid.spacing_mm**3
    assert inside_mm3 == pytest.approx(skull.volume_mm3 * (1 - grid.share_outside(skull)), rel=0.02)


def test_what_lies_outside_the_cube_is_reported(skull):
    grid = lay_grid(skull, 64)
    far = skull.affine.copy()
    far[:3, 3] += [0, 0, 90]
    assert grid.share_outside(skull) < 0.02 < 0.2 < grid.share_outside(Volume(skull.mask, far))


@pytest.mark.parametrize("style", ["random_2", "bilateral", "frontoorbital", "skullfix"])
def test_no_implant_lies_outside_the_cube_of_its_defective_skull(style):
    for item in range(3):
        case = cut(phantom(item, spacing_mm=2.0), style, seed=0, item=item)
        assert lay_grid(case.defective, 64).share_outside(case.implant) < 0.01


def test_a_jaw_and_a_neck_do_not_shrink_the_head():
    plain, jawed = (phantom(6, spacing_mm=2.0, cut=False, mandible=m) for m in (False, True))
    assert lay_grid(jawed, 64).spacing_mm < 1.15 * lay_grid(plain, 64).spacing_mm


# -- there and back


@pytest.mark.parametrize(("side", "least"), [(64, 0.93), (96, 0.96), (128, 0.975)])
def test_a_perfect_network_loses_only_what_the_cube_loses(side, least):
    case = cut(phantom(3, spacing_mm=1.0), "parietotemporal", seed=1)
    grid = lay_grid(case.defective, side)
    perfect = Answer(grid.occupancy(case.implant), grid.occupancy(case.defective), grid.affine)
    proposal = to_case(perfect, case.defective)
    assert dice(postprocess(proposal, case.defective), case.implant.mask) > least


def level_of(probability, occupancy):
    return best_level(Answer(probability, occupancy, np.eye(4)))


def test_a_wall_that_is_known_to_a_few_voxels_only_is_cut_lower_than_one_that_is_sure():
    nothing, wall = np.zeros((2, 32, 32, 32), np.float32)
    wall[8:24, 8:24, 14:17] = 0.45  # it is one voxel thick, and may be in any of three
    level, sure = level_of(wall, nothing), level_of(np.where(wall > 0, 0.95, 0), nothing)
    assert level < 0.5 < sure
    of = {each: 2 * wall[wall >= each].sum() / ((wall >= each).sum() + wall.sum()) for each in (0.5, level)}
    assert of[level] > of[0.5] == 0, "the Dice that it can expect"
    bone = np.where(wall > 0, 0.52, 0).astype(np.float32)
    assert level_of(wall, bone) == sure, "it is nearly all of what is not bone"
    assert level_of(nothing, nothing) == level


def test_nothing_in_the_cube_is_nothing_in_the_case(case):
    grid = lay_grid(case.defective, 64)
    empty = np.zeros((64,) * 3, np.float32)
    assert not to_case(Answer(empty, grid.occupancy(case.defective), grid.affine), case.defective).any()


def test_postprocessing_removes_overlap_and_crumbs_but_keeps_both_sides(skull):
    proposal = np.zeros(skull.shape, bool)
    proposal[5:15, 20:30, 20:30] = proposal[-15:-5, 20:30, 20:30] = proposal[30, 5, 5] = True
    free = skull.with_mask(np.zeros_like(skull.mask))
    kept = postprocess(proposal, free)
    assert kept[10, 25, 25] and kept[-10, 25, 25] and not kept[30, 5, 5]
    assert not (postprocess(np.ones_like(proposal), skull) & skull.mask).any()


# -- a case


def test_a_one_sided_hole_is_filled_from_the_healthy_side(case, healthy_side):
    found = reconstruct(case.defective, model=healthy_side)
    assert dice(found.defect.mask, case.implant.mask) > 0.6


def test_the_defect_is_on_the_cases_own_grid_and_disjoint_from_the_skull(case, healthy_side):
    found = reconstruct(case.defective, model=healthy_side)
    assert volume.same_grid(found.defect, case.defective)
    assert not (found.defect.mask & case.defective.mask).any()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_the_array_order_of_the_file_does_not_change_the_defect(case, healthy_side, order):
    matrix = np.eye(4)[:, [*order, 3]]
    other = Volume(
        case.defective.mask.transpose(order)[:, ::-1],
        case.defective.affine
        @ matrix
        @ np.array([[1, 0, 0, 0], [0, -1, 0, case.defective.shape[order[1]] - 1], [0, 0, 1, 0], [0, 0, 0, 1]]),
    )
    straight = reconstruct(case.defective, model=healthy_side).defect
    again = volume.resample(reconstruct(other, model=healthy_side).defect, like=straight)
    assert dice(straight.mask, again.mask) > 0.97


def test_a_turned_head_gets_the_same_defect(case, healthy_side):
    straight = reconstruct(case.defective, model=healthy_side).defect
    again = reconstruct(turned(case.defective, 12), model=healthy_side).defect
    assert dice(straight.mask, again.mask) > 0.75


def test_a_network_that_finds_nothing_gives_an_empty_defect(case):
    found = reconstruct(case.defective, model=Model(Nothing(), 32, True, {}))
    assert not found.defect.mask.any() and found.report["volume_cm3"] == 0


@pytest.mark.parametrize("method", ["network", "mirror", "atlas"])
def test_progress_goes_from_nothing_to_all_and_what_it_raises_ends_the_work(case, method):
    told = []
    model = Model(Nothing(), 32, True, {}) if method == "network" else None
    reconstruct(case.defective, method=method, model=model, progress=lambda share, step: told.append((share, step)))
    shares = [share for share, _ in told]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] < 1 and len(told) >= 4
    assert all(step for _, step in told)

    def enough(share, step):
        raise InterruptedError(step)

    with pytest.raises(InterruptedError, match=told[0][1]):
        reconstruct(case.defective, method=method, model=model, progress=enough)


def test_the_mean_over_both_sides_commutes_with_the_mirror(case):
    torch.manual_seed(0)
    model = Model(ResidualUNet(ResidualUNetShape(2, 1, (8, 16), 1, 2)).eval(), 32, True, {})
    occupancy = lay_grid(case.defective, 32).occupancy(case.defective)
    assert np.allclose(infer(model, occupancy)[::-1], infer(model, occupancy[::-1]), atol=2e-2)


def test_the_report_says_how_and_how_much(case, healthy_side):
    report = reconstruct(case.defective, model=healthy_side).report
    assert report["method"] == "network" and report["side"] == 96 and report["volume_cm3"] > 1


def test_the_mirror_fills_a_one_sided_hole(case):
    found = reconstruct(case.defective, method="mirror")
    assert dice(found.defect.mask, case.implant.mask) > 0.5 and found.report["method"] == "mirror"


# -- weights and errors


def test_saved_weights_reconstruct_as_the_network_they_came_from(case, tmp_path):
    torch.manual_seed(0)
    shape = ResidualUNetShape(2, 1, (8, 16), 1, 2)
    network = ResidualUNet(shape).eval()
    path = tmp_path / "model.safetensors"
    save_weights(
        path,
        network,
        {"architecture": "residual_unet", "shape": shape.as_dict(), "side": 32, "symmetry": True},
        storage="float32",
    )
    model = load_model(path)
    occupancy = lay_grid(case.defective, 32).occupancy(case.defective)
    assert np.array_equal(infer(model, occupancy), infer(Model(network, 32, True, {}), occupancy))


def test_weights_of_something_else_are_refused(tmp_path):
    path = save_weights(
        tmp_path / "other.safetensors", torch.nn.Linear(2, 2), {"architecture": "critic"}, storage="float32"
    )
    with pytest.raises(CheckpointError, match="not a reconstruction network"):
        load_model(path)


def test_unknown_method_and_device_are_refused(case, healthy_side):
    with pytest.raises(ValueError, match="choose one of network, mirror"):
        reconstruct(case.defective, method="magic")
    with pytest.raises(ValueError, match="choose auto, cpu"):
        reconstruct(case.defective, model=healthy_side, device="abacus")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="torch sees no CUDA GPU"):
            reconstruct(case.defective, model=healthy_side, device="cuda")


def test_a_model_for_the_mirror_is_refused(case, healthy_side):
    with pytest.raises(ValueError, match="mirror uses no model"):
        reconstruct(case.defective, method="mirror", model=healthy_side)


def test_an_empty_skull_is_refused(case, healthy_side):
    with pytest.raises(ValueError, match="empty; there is nothing to reconstruct from"):
        reconstruct(case.defective.with_mask(np.zeros_like(case.defective.mask)), model=healthy_side)
