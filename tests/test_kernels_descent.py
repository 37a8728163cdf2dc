"""One iteration of registration: every kernel has the reference's values, gradients and steps."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from triton_offline import compile_report, needs_triton, run_interpreted

from cranial.kernels.descent import Rates, cpu, descend, reference
from cranial.kernels.threads import Team
from cranial.kernels.warp import reference as warp_reference

SHAPES = [(1, 1, 1), (7, 7, 7), (63, 63, 63), (64, 64, 64), (65, 65, 65), (1, 8, 3), (20, 17, 23), (2, 1, 40)]
RATES = Rates((0.1, 0.2, 0.3), (1e-8, 1e-7, 1e-9))


def a_pair(shape, dtype=torch.float64, *, reach=3.0, seed=0):
    """moving (with much emptiness), fixed, a field that leaves the volume, weights as of unequal voxels."""
    draw = torch.Generator().manual_seed(seed)
    moving = (torch.rand(shape, generator=draw, dtype=dtype) - 0.8).clamp(min=0) * 5
    moving[: shape[0] // 2] = 0
    fixed = torch.rand(shape, generator=draw, dtype=dtype)
    field = reach * torch.randn((3, *shape), generator=draw, dtype=dtype)
    spacing = torch.tensor([0.4, 0.7, 1.1], dtype=torch.float64)
    weights = 0.01 * (spacing[:, None] / spacing[None, :]) ** 2
    return moving, fixed, field, weights


def test_the_reference_is_the_objective_as_the_study_writes_it():
    moving, fixed, field, weights = a_pair((5, 6, 7))
    sizes = torch.tensor(fixed.shape).view(3, 1, 1, 1)
    place = torch.stack(torch.meshgrid(*map(torch.arange, fixed.shape), indexing="ij")) + field
    grid = (2 * place / (sizes - 1) - 1).flip(0).permute(1, 2, 3, 0)[None]
    warped = F.grid_sample(moving[None, None], grid, align_corners=True)[0, 0]
    mse, roughness = reference.loss(moving, fixed, field, weights)
    assert mse.item() == pytest.approx(((warped - fixed) ** 2).mean().item(), rel=1e-12)
    by_hand = sum(
        weights[c, a] * ((field[c].roll(-1, a) - field[c]).narrow(a, 0, fixed.shape[a] - 1) ** 2).mean()
        for c in range(3)
        for a in range(3)
    )
    assert roughness.item() == pytest.approx(by_hand.item(), rel=1e-12)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradient_are_the_references(shape):
    pair = a_pair(shape)
    with Team(2) as team:
        ours, theirs = (
            cpu.Descent(*pair, RATES, team).gradient(),
            reference.Descent(*pair, RATES).gradient(),
        )
    assert ours[:2] == pytest.approx(theirs[:2], rel=1e-12)
    torch.testing.assert_close(ours[2], theirs[2], rtol=1e-10, atol=1e-16)


@pytest.mark.parametrize("shape", [(7, 7, 7), (20, 17, 23), (1, 8, 3)], ids=str)
def test_steps_are_those_of_adam_on_the_references_gradient(shape):
    moving, fixed, field, weights = a_pair(shape)
    theirs = field.clone().requires_grad_()
    adam = torch.optim.Adam([theirs], lr=0.1, eps=1e-8)
    with Team(2) as team:
        ours = descend(moving, fixed, field, weights, Rates((0.1, 0.1, 0.1)), team)
        for _ in range(6):
            adam.zero_grad()
            loss = sum(reference.loss(moving, fixed, theirs, weights))
            loss.backward()
            adam.step()
            assert sum(ours.step()) == pytest.approx(loss.item(), rel=1e-9)
    torch.testing.assert_close(ours.field, theirs.detach(), rtol=0, atol=1e-9)


def test_each_component_has_its_own_rate_and_epsilon():
    pair = a_pair((6, 7, 8))
    moving, fixed, field, weights = pair
    theirs = reference.Descent(moving, fixed, field.clone(), weights, RATES)
    with Team(1) as team:
        ours = cpu.Descent(*pair, RATES, team)
        for _ in range(4):
            assert ours.step() == pytest.approx(theirs.step(), rel=1e-9)
    torch.testing.assert_close(ours.field, theirs.field, rtol=0, atol=1e-9)


def test_float32_is_as_near_as_float32_can_be():
    pair = a_pair((33, 30, 31), torch.float32)
    exact = reference.Descent(*a_pair((33, 30, 31), torch.float32)[:3], pair[3], RATES)
    with Team(2) as team:
        ours = cpu.Descent(*pair, RATES, team).gradient()
    wanted = exact.gradient()
    assert ours[:2] == pytest.approx(wanted[:2], rel=1e-5)
    torch.testing.assert_close(ours[2], wanted[2], rtol=1e-4, atol=1e-9)


def test_the_number_of_threads_changes_no_bit():
    results = []
    for threads in (1, 2, 5):
        with Team(threads) as team:
            descent = cpu.Descent(*a_pair((9, 8, 7), torch.float32), RATES, team)
            sums = [descent.step() for _ in range(3)]
            results.append((sums, descent.field))
    for sums, field in results[1:]:
        assert sums == results[0][0]
        assert torch.equal(field, results[0][1])


def test_the_field_that_is_given_is_not_changed():
    moving, fixed, field, weights = a_pair((6, 6, 6))
    before = field.clone()
    with Team(1) as team:
        descend(moving, fixed, field, weights, RATES, team).step()
    assert torch.equal(field, before)


def test_two_equal_images_and_no_displacement_stay_where_they_are():
    _, fixed, field, weights = a_pair((8, 9, 10))
    with Team(2) as team:
        descent = cpu.Descent(fixed, fixed, 0 * field, weights, RATES, team)
        assert descent.step() == pytest.approx((0, 0), abs=1e-15)
    assert torch.equal(descent.field, 0 * field)


@pytest.mark.parametrize("value", [1e30, -1e30, math.inf, math.nan])
def test_a_field_gone_mad_reads_no_memory_of_others(value):
    moving, fixed, field, weights = a_pair((6, 7, 8))
    field[1, 2, 3, 4] = value
    with Team(2) as team:
        mse, roughness, _ = cpu.Descent(moving, fixed, field, weights, RATES, team).gradient()
    assert math.isfinite(mse)
    assert not math.isfinite(roughness) or abs(value) == 1e30


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, f, u, w: (m[:-1], f, u, w), r"moving has shape \(5, 6, 6\), fixed \(6, 6, 6\)"),
        (lambda m, f, u, w: (m, f, u[:2], w), r"field \(2, 6, 6, 6\)"),
        (lambda m, f, u, w: (m, f, u, w[0]), r"weights \(3,\); give"),
        (lambda m, f, u, w: (m.float(), f, u, w), "moving is torch.float32, fixed torch.float64"),
        (lambda m, f, u, w: (m.int(), f.int(), u.int(), w), "give one type, float32 or float64"),
        (lambda m, f, u, w: (m.to("meta"), f, u, w), "moving is on meta, fixed on cpu"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    with Team(1) as team, pytest.raises(ValueError, match=message):
        descend(*change(*a_pair((6, 6, 6))), RATES, team)


def test_a_team_shares_all_the_work_once_and_in_order():
    for threads, size in ((1, 5), (2, 5), (3, 2), (4, 0)):
        with Team(threads) as team:
            parts = team.slabs(lambda start, stop: list(range(start, stop)), size)
        assert sum(parts, []) == list(range(size))
    with pytest.raises(ValueError, match="threads is 0; give at least 1"):
        Team(0)


def test_an_error_in_any_thread_is_the_callers():
    def fail(start, stop):
        if start:
            raise RuntimeError("second slab")

    with Team(2) as team, pytest.raises(RuntimeError, match="second slab"):
        team.slabs(fail, 4)


@needs_triton
def test_the_gpu_kernel_has_the_references_values_gradient_and_steps():
    run_interpreted("""
        from cranial.kernels.descent import gpu, reference
        from test_kernels_descent import RATES, a_pair, pytest, torch

        gpu.BLOCK = 2048  # the interpreter's time goes by programs
        for shape in [(1, 1, 1), (7, 7, 7), (1, 8, 3), (20, 17, 23), (33, 33, 33)]:
            moving, fixed, field, weights = pair = a_pair(shape)
            ours = gpu.Descent(*pair, RATES)
            theirs = reference.Descent(moving, fixed, field.clone(), weights, RATES)
            one, other = ours.gradient(), theirs.gradient()
            assert one[:2] == pytest.approx(other[:2], rel=1e-12)
            torch.testing.assert_close(one[2], other[2], rtol=1e-10, atol=1e-16)
            for _ in range(3):
                assert ours.step() == pytest.approx(theirs.step(), rel=1e-9)
            torch.testing.assert_close(ours.field, theirs.field, rtol=0, atol=1e-9)
    """)


@needs_triton
@pytest.mark.parametrize("update", [True, False])
@pytest.mark.parametrize("arch", [80, 90])
def test_the_gpu_kernel_compiles_without_spilling(arch, update):
    from cranial.kernels.descent import gpu

    pointers = dict.fromkeys(("field", "out", "moments", "moving", "fixed", "numbers", "sums"), "*fp32")
    sizes = dict.fromkeys(("size_i", "size_j", "size_k"), "i32")
    report = compile_report(gpu.descent_kernel, pointers | sizes, {"UPDATE": update, "BLOCK": gpu.BLOCK}, arch)
    assert report["spills_bytes"] == 0 and 0 < report["registers"] <= 128


def test_warp_reference_moves_a_voxel_by_a_voxel():
    image = torch.zeros(1, 4, 4, 4, dtype=torch.float64)
    image[0, 2, 1, 3] = 1
    field = torch.zeros(3, 4, 4, 4, dtype=torch.float64)
    field[0] += 1
    assert np.argwhere(warp_reference.warp(image, field)[0].numpy()).tolist() == [[1, 1, 3]]
