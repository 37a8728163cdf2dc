"""Channels through a field: every kernel has the reference's values, wherever the field leads."""

import math

import pytest
import torch
from torch.nn import functional as F
from triton_offline import compile_report, needs_triton, run_interpreted

from cranial.kernels.warp import reference, warp

SHAPES = [((1, 1, 1), (1, 1, 1)), ((7, 5, 9), (4, 6, 3)), ((20, 17, 23), (21, 9, 17)), ((64, 63, 65), (65, 64, 63))]


def some_channels(shape, out_shape, dtype=torch.float64, *, count=2, seed=0):
    """bool channels, a field that leaves the volume, an affine between two grids."""
    draw = torch.Generator().manual_seed(seed)
    channels = torch.rand((count, *shape), generator=draw) > 0.7
    field = 3 * torch.randn((3, *out_shape), generator=draw, dtype=dtype)
    affine = torch.eye(3, 4, dtype=dtype) + 0.3 * torch.randn((3, 4), generator=draw, dtype=dtype)
    return channels, field, affine


def test_the_reference_is_grid_sample_with_zeros_outside():
    draw = torch.Generator().manual_seed(1)
    image = torch.rand((2, 6, 7, 8), generator=draw, dtype=torch.float64)
    field = 2 * torch.randn((3, 6, 7, 8), generator=draw, dtype=torch.float64)
    sizes = torch.tensor(image.shape[1:]).view(3, 1, 1, 1)
    place = torch.stack(torch.meshgrid(*map(torch.arange, image.shape[1:]), indexing="ij")) + field
    grid = (2 * place / (sizes - 1) - 1).flip(0).permute(1, 2, 3, 0)[None]
    torch.testing.assert_close(reference.warp(image, field), F.grid_sample(image[None], grid, align_corners=True)[0])


@pytest.mark.parametrize("nearest", [False, True])
@pytest.mark.parametrize(("shape", "out_shape"), SHAPES, ids=str)
def test_the_cpu_kernel_has_the_references_values(shape, out_shape, nearest):
    channels, field, affine = some_channels(shape, out_shape)
    ours = warp(channels, field, affine, nearest=nearest, threads=2)
    theirs = reference.warp(channels, field, affine, nearest=nearest)
    assert ours.dtype == theirs.dtype == (torch.bool if nearest else torch.float64)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float32, torch.float64])
def test_channels_may_be_of_any_type(dtype):
    channels, field, _ = some_channels((9, 8, 7), (9, 8, 7))
    values = (channels * torch.arange(1, 3).view(2, 1, 1, 1)).to(dtype)
    for nearest in (False, True):
        ours, theirs = warp(values, field, nearest=nearest), reference.warp(values, field, nearest=nearest)
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_a_zero_field_is_the_identity():
    channels, field, _ = some_channels((9, 8, 7), (9, 8, 7))
    assert torch.equal(warp(channels, 0 * field, nearest=True), channels)
    assert torch.equal(warp(channels, 0 * field), channels.double())


def test_halves_go_upwards_and_a_whole_voxel_is_a_shift():
    image = torch.arange(5.0).view(1, 1, 1, 5)
    field = torch.zeros(3, 1, 1, 5)
    field[2] = 0.5
    assert warp(image, field, nearest=True).flatten().tolist() == [1, 2, 3, 4, 0]
    field[2] = -1
    assert warp(image, field).flatten().tolist() == [0, 0, 1, 2, 3]


def test_an_empty_channel_stays_empty_and_threads_change_no_bit():
    channels, field, affine = some_channels((9, 8, 7), (11, 10, 9), torch.float32)
    assert not warp(0 * channels, field, affine).any()
    assert torch.equal(warp(channels, field, affine, threads=1), warp(channels, field, affine, threads=4))


@pytest.mark.parametrize("value", [1e30, math.inf, math.nan])
def test_places_that_do_not_exist_are_empty(value):
    channels, field, _ = some_channels((6, 7, 8), (6, 7, 8))
    channels[:] = True
    field[:] = 0
    field[1, 2, 3, 4] = value
    for nearest in (False, True):
        warped = warp(channels, field, nearest=nearest)
        assert not warped[:, 2, 3, 4].any() and warped.sum() == channels.sum() - 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, f, a: (c[0], f, a), r"channels has shape \(6, 6, 6\)"),
        (lambda c, f, a: (c, f[:2], a), r"field \(2, 6, 6, 6\) of torch.float64"),
        (lambda c, f, a: (c, f.int(), a), "of torch.int32; give"),
        (lambda c, f, a: (c, f, a[0]), r"affine has shape \(4,\); give \(3, 4\)"),
        (lambda c, f, a: (c.to("meta"), f, a), "channels are on meta, field on cpu"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        warp(*change(*some_channels((6, 6, 6), (6, 6, 6))))


@needs_triton
def test_the_gpu_kernel_has_the_references_values():
    run_interpreted("""
        from cranial.kernels.warp import gpu, reference
        from test_kernels_warp import some_channels, torch

        for shape, out_shape in [((1, 1, 1), (1, 1, 1)), ((7, 5, 9), (4, 6, 3)), ((33, 17, 20), (21, 9, 33))]:
            channels, field, affine = some_channels(shape, out_shape)
            for nearest in (True, False):
                ours = gpu.warp_gpu(channels.view(torch.uint8), field, affine, nearest=nearest)
                theirs = reference.warp(channels, field, affine, nearest=nearest)
                torch.testing.assert_close(ours.to(theirs.dtype), theirs, rtol=0, atol=1e-12)
    """)


@needs_triton
@pytest.mark.parametrize("nearest", [True, False])
@pytest.mark.parametrize("arch", [80, 90])
def test_the_gpu_kernel_compiles_without_spilling(arch, nearest):
    from cranial.kernels.warp import gpu

    signature = {"channels": "*u8", "field": "*fp32", "affine": "*fp32", "out": "*u8" if nearest else "*fp32"}
    sizes = ("count", "size_i", "size_j", "size_k", "voxels", "out_j", "out_k")
    report = compile_report(
        gpu.warp_kernel, signature | dict.fromkeys(sizes, "i32"), {"NEAREST": nearest, "BLOCK": gpu.BLOCK}, arch
    )
    assert report["spills_bytes"] == 0 and 0 < report["registers"] <= 128
