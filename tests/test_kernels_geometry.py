"""Binary channels in one resample: every kernel has the reference's bits, whatever the draw, threads and shape."""

import sys

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from triton_offline import compile_report, needs_triton, run_interpreted

from cranial.kernels import geometry as kernels
from cranial.kernels.geometry import Geometry, Speckle, below, reference, resample

MODES = ["nearest", "linear"]
SHAPES = [(1, 1, 1), (7, 7, 7), (63, 63, 63), (64, 64, 64), (65, 65, 65), (5, 70, 9), (130, 2, 17), (3, 1, 200)]


def some_channels(shape, *, count=2, share=0.2, seed=0) -> torch.Tensor:
    """bool (count, *shape): disjoint channels that fill this share of the voxels, in lumps."""
    rng = np.random.default_rng(seed)
    lumps = rng.random([-(-n // 3) for n in shape]) < share
    lumps = lumps.repeat(3, 0).repeat(3, 1).repeat(3, 2)[tuple(slice(n) for n in shape)]
    label = rng.integers(count, size=shape)
    return torch.from_numpy(np.stack([lumps & (label == channel) for channel in range(count)]))


def some_geometry(shape, *, seed=0, cropped=True, spread=0.7) -> Geometry:
    """A random affine about the middle of the grid, and another one to the frame of a crop."""
    rng = np.random.default_rng(seed)
    middle = (np.array(shape) - 1) / 2

    def affine():
        linear = rng.normal(0, spread, (3, 3))
        return np.column_stack([linear, middle - linear @ middle + rng.normal(0, 2, 3)])

    box = tuple((int(0.1 * n), max(1, int(0.95 * n))) for n in shape)
    if not cropped:
        return Geometry.of(affine(), shape)
    return Geometry.of(affine(), shape, crop=affine(), box=box)


def shifted(shape, by) -> Geometry:
    """out[x] = in[x + by]."""
    return Geometry.of(np.column_stack([np.eye(3), by]), shape)


# -- the reference


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # kat_vectors of Random123, philox4x32 with 10 rounds
        ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_has_its_published_words(counter, key, words):
    found = reference.philox(tuple(torch.tensor([word]) for word in counter), key[0] + (key[1] << 32))
    assert [int(word) for word in found] == [int(word, 16) for word in words.split()]


def test_a_voxels_bits_depend_on_seed_and_voxel_and_not_on_the_grid():
    small, large = torch.zeros(1, 3, 4, 5), torch.zeros(2, 6, 7, 11)
    assert torch.equal(reference.random_bits(9, small), reference.random_bits(9, large)[:3, :4, :5])
    assert not torch.equal(reference.random_bits(9, small), reference.random_bits(10, small))
    assert not torch.equal(reference.random_bits(9, small), reference.random_bits(9 + (1 << 40), small))
    bits = reference.random_bits(9, torch.zeros(1, 20, 20, 20))
    assert len(bits.unique()) > 7990 and abs(bits.double().mean() / 2**32 - 0.5) < 0.02


def test_rounding_a_matrix_moves_no_voxel_of_512_cubed_by_a_thousandth():
    shape = (512, 512, 512)
    corners = np.stack(np.meshgrid(*[(0, 511)] * 3, indexing="ij")).reshape(3, -1)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        linear = np.linalg.qr(rng.normal(size=(3, 3)))[0] * 2.5
        matrix = np.column_stack([linear, 255.5 - linear @ np.full(3, 255.5)])
        rows = np.array(Geometry.of(matrix, shape).source) / reference.ONE
        moved = np.abs((rows - matrix) @ np.vstack([corners, np.ones(8)]))
        assert 0 < moved.max() < 0.001
        assert np.allclose(rows @ [255.5, 255.5, 255.5, 1], 255.5, rtol=0, atol=1e-6)


def test_linear_is_the_thresholded_trilinear_value_of_all_channels_and_the_largest_of_them():
    shape = (9, 10, 11)
    channels = some_channels(shape, count=3, share=0.5)
    # multiples of 1/256 are exact, in the weights and in float64
    linear = np.array([[1.0, 0.5, 0.0], [-0.25, 1.0, 0.125], [0.0, 0.25, -1.0]])
    matrix = np.column_stack([linear, np.array([-3.0, 1.0, 10.0]) + np.array([3, 77, 200]) / 256])
    ours = resample(channels, Geometry(tuple(map(tuple, (matrix * reference.ONE).astype(int)))), mode="linear")
    places = matrix[:, :3] @ np.indices(shape).reshape(3, -1) + matrix[:, 3:]
    sizes = np.array(shape)[:, None]
    grid = torch.from_numpy((2 * places + 1) / sizes - 1).flip(0).T.reshape(1, *shape, 3)
    values = F.grid_sample(channels.double()[None], grid, align_corners=False)[0]
    total, largest = values.sum(dim=0), values.max(dim=0).values
    others = torch.stack([values[[d for d in range(3) if d != c]].max(dim=0).values for c in range(3)])
    clear = (total - 0.5).abs() > 1e-9  # exactly a half is bone, which float64 does not hit
    for channel in range(3):
        won = clear & (values[channel] == largest) & ((values[channel] - others[channel]).abs() > 1e-9)
        assert torch.equal(ours[channel][won], total[won] > 0.5) and won.sum() > 100
        lost = clear & (others[channel] - values[channel] > 1e-9)
        assert not ours[channel][lost].any()


def test_half_is_bone_and_equals_go_to_the_first_channel():
    channels = torch.zeros(2, 1, 1, 4, dtype=torch.bool)
    channels[0, ..., 2] = channels[1, ..., 1] = True
    moved = resample(channels, shifted((1, 1, 4), (0, 0, 0.5)), mode="linear")
    # between 0 and 1: half of the second; between 1 and 2: a half of each; between 2 and 3: half of the first
    assert moved.flatten().tolist() == [False, True, True, False, True, False, False, False]
    assert resample(channels, shifted((1, 1, 4), (0, 0, 0.5))).flatten().tolist() == [0, 1, 0, 0, 1, 0, 0, 0]
    assert not resample(channels, shifted((1, 1, 4), (0, 0, 0.75)), mode="linear")[1, ..., 1:].any()


# -- the CPU's bits


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_cpu_kernel_has_the_references_bits(shape, mode):
    for seed in range(4):
        channels = some_channels(shape, count=seed % 3 + 1, share=(0.03, 0.6)[seed % 2], seed=seed)
        motion = some_geometry(shape, seed=seed, cropped=seed > 1)
        speckle = Speckle(seed << 40 | 77, below(0.05)) if seed % 2 else None
        ours = resample(channels, motion, mode=mode, speckle=speckle, threads=2)
        assert torch.equal(ours, reference.resample(channels, motion, mode=mode, speckle=speckle))
        assert ours.dtype == torch.bool


@pytest.mark.parametrize("mode", MODES)
def test_no_lone_voxel_is_passed_over_however_long_the_steps(mode):
    shape = (90, 100, 110)
    found = 0
    for seed in range(8):
        channels = torch.zeros(1, *shape, dtype=torch.bool)
        rng = np.random.default_rng(seed)
        for n in shape:
            channels[0, *(int(rng.integers(size)) for size in shape)] = n
        channels[0, 40:43, 50:53, 50:53] = True
        motion = some_geometry(shape, seed=seed, cropped=False, spread=(0.2, 1, 4, 10)[seed % 4])
        ours = resample(channels, motion, mode=mode)
        assert torch.equal(ours, reference.resample(channels, motion, mode=mode))
        found += int(ours.sum())
    assert found > 100


@pytest.mark.parametrize("mode", MODES)
def test_places_exactly_at_a_border_are_on_the_references_side_of_it(mode):
    shape = (9, 10, 11)
    channels = torch.ones(1, *shape, dtype=torch.bool)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        source, crop = rng.integers(-2, 3, (2, 3, 4)) / 2
        source[:, 3] += np.where(source[:, :3].sum(axis=1) < 0, shape, 0)
        crop[:, 3] += np.where(crop[:, :3].sum(axis=1) < 0, shape, 0)
        motion = Geometry.of(source, shape, crop=crop, box=((1, 8), (0, 9), (2, 12)))
        ours = resample(channels, motion, mode=mode)
        assert torch.equal(ours, reference.resample(channels, motion, mode=mode))


def test_eight_channels_keep_apart_and_overlaps_stay_in_nearest_mode():
    channels = some_channels((20, 21, 22), count=8, share=0.7)
    motion = some_geometry((20, 21, 22), cropped=False)
    for mode in MODES:
        ours = resample(channels, motion, mode=mode)
        assert torch.equal(ours, reference.resample(channels, motion, mode=mode)) and ours.sum(dim=0).max() == 1
    channels[:4] |= channels[4:]
    assert torch.equal(resample(channels, motion), reference.resample(channels, motion, mode="nearest"))


@pytest.mark.parametrize("mode", MODES)
def test_numbers_of_threads_and_slabs_change_no_bit(mode):
    channels, motion = some_channels((37, 20, 41)), some_geometry((37, 20, 41))
    one = resample(channels, motion, mode=mode, speckle=Speckle(3, below(0.1)), threads=1)
    for threads in (2, 3, 7, 64):
        again = resample(channels, motion, mode=mode, speckle=Speckle(3, below(0.1)), threads=threads)
        assert torch.equal(one, again)


def test_any_number_but_0_is_bone_and_the_layout_of_memory_does_not_matter():
    channels, motion = some_channels((12, 13, 14)), some_geometry((12, 13, 14))
    ours = resample(channels, motion)
    numbers = (channels * torch.tensor([255, 4]).view(2, 1, 1, 1)).to(torch.uint8)
    turned = numbers.permute(0, 3, 2, 1).contiguous().permute(0, 3, 2, 1)
    assert not turned.is_contiguous()
    for each in (numbers, turned):
        moved = resample(each, motion)
        assert moved.dtype == torch.uint8 and torch.equal(moved, ours.to(torch.uint8))


def test_the_input_is_not_changed():
    channels = some_channels((12, 13, 14))
    before = channels.clone()
    moved = resample(channels, shifted((12, 13, 14), (0, 0, 0)), speckle=Speckle(0, below(0.5)))
    assert torch.equal(channels, before) and not torch.equal(moved, before)


# -- speckle


def test_speckle_changes_its_share_of_the_first_channel_and_nothing_of_the_second():
    channels = some_channels((64, 64, 64))
    still = resample(channels, shifted((64, 64, 64), (3, -2, 1)))
    loud = resample(channels, shifted((64, 64, 64), (3, -2, 1)), speckle=Speckle(5, below(0.036)))
    assert torch.equal(still[1], loud[1])
    changed = still[0] ^ loud[0]
    assert abs(changed.double().mean() - 0.036) < 4 * (0.036 * 0.964 / 64**3) ** 0.5
    assert torch.equal(changed, reference.random_bits(5, channels) < below(0.036))


def test_the_share_is_a_share_of_all_numbers_of_32_bits():
    assert [below(share) for share in (0, 0.5, 1 - 2**-40)] == [0, 1 << 31, (1 << 32) - 1]
    channels = torch.zeros(1, 5, 6, 7, dtype=torch.uint8)
    still = shifted((5, 6, 7), (0, 0, 0))
    assert not resample(channels, still, speckle=Speckle(1, 0)).any()
    assert resample(channels, still, speckle=Speckle(1, (1 << 32) - 1)).all()


# -- what is refused


@pytest.mark.parametrize(
    ("channels", "options", "message"),
    [
        (torch.zeros(2, 4, 4, 4), {}, r"channels is torch.float32 of shape \(2, 4, 4, 4\); give bool or uint8"),
        (torch.zeros(4, 4, 4, dtype=torch.bool), {}, r"of shape \(4, 4, 4\); give bool or uint8 \(C, I, J, K\)"),
        (torch.zeros(9, 4, 4, 4, dtype=torch.bool), {}, "give 1 to 8 channels"),
        (torch.zeros(0, 4, 4, 4, dtype=torch.bool), {}, "give 1 to 8 channels"),
        (torch.zeros(1, 4, 0, 4, dtype=torch.bool), {}, "1 to 1024 voxels a side"),
        (torch.zeros(1, 4, 1025, 4, dtype=torch.bool), {}, "1 to 1024 voxels a side"),
        (torch.zeros(1, 4, 4, 4, dtype=torch.bool), {"mode": "cubic"}, "mode is 'cubic'; choose 'nearest' or 'linear'"),
        (torch.ones(2, 4, 4, 4, dtype=torch.bool), {"mode": "linear"}, 'channels overlap, so mode="linear" cannot say'),
    ],
)
def test_channels_that_do_not_fit_are_refused(channels, options, message):
    with pytest.raises(ValueError, match=message):
        resample(channels, shifted((4, 4, 4), (0, 0, 0)), **options)


def test_the_reference_refuses_overlaps_too():
    with pytest.raises(ValueError, match="give disjoint ones"):
        reference.resample(torch.ones(2, 4, 4, 4, dtype=torch.bool), shifted((4, 4, 4), (0, 0, 0)), mode="linear")


@pytest.mark.parametrize(
    ("matrix", "options", "message"),
    [
        (np.eye(3), {}, r"affine has shape \(3, 3\); give \(3, 4\), in voxels"),
        (np.eye(3, 4) * 33, {}, "it may pass over 32 voxels of the source"),
        (np.eye(3, 4) * np.nan, {}, "scale by more, or take a smaller source"),
        (np.column_stack([np.eye(3), [0, 2e6, 0]]), {}, "no further than 1e\\+06 away"),
        (np.eye(3, 4), {"box": ((0, 1),) * 3}, "crop and box belong together"),
    ],
)
def test_a_geometry_that_does_not_fit_is_refused(matrix, options, message):
    with pytest.raises(ValueError, match=message):
        Geometry.of(matrix, (4, 4, 4), **options)


@pytest.mark.parametrize(("seed", "limit"), [(-1, 0), (1 << 63, 0), (0, -1), (0, 1 << 32)])
def test_speckle_beyond_its_bits_is_refused(seed, limit):
    with pytest.raises(ValueError, match="give 0 <= seed < 2\\^63 and 0 <= below < 2\\^32"):
        Speckle(seed, limit)


# -- other devices


def test_on_a_device_without_a_kernel_the_reference_does_it():
    channels = some_channels((4, 5, 6)).to("meta")
    assert resample(channels, some_geometry((4, 5, 6))).device.type == "meta"


def test_without_triton_a_gpu_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "cranial.kernels.geometry.gpu", raising=False)
    with pytest.raises(ImportError, match=r"the GPU kernel needs triton .*; pip install 'cranial\[gpu\]'"):
        kernels._gpu_kernel()


@needs_triton
def test_the_gpu_kernel_has_the_references_bits():
    run_interpreted("""
        from cranial.kernels.geometry import gpu, reference
        from test_kernels_geometry import MODES, Speckle, below, some_channels, some_geometry, torch

        def compare(shape, seed):
            channels = some_channels(shape, count=seed % 3 + 1, seed=seed)
            motion = some_geometry(shape, seed=seed, cropped=seed != 1)
            speckle = Speckle(seed << 40 | 77, below(0.05)) if seed else None
            for mode in MODES:
                ours = gpu.resample_gpu(channels, motion, mode=mode, speckle=speckle)
                assert ours.dtype == channels.dtype
                theirs = reference.resample(channels, motion, mode=mode, speckle=speckle)
                assert torch.equal(ours, theirs), (shape, seed, mode)

        for shape in [(1, 1, 1), (7, 7, 7), (5, 18, 9), (2, 3, 70)]:
            for seed in (1, 2, 3):
                compare(shape, seed)
        # the interpreter pays for programs and not for voxels: large blocks for large grids
        gpu.BLOCKS = dict.fromkeys(MODES, {"BLOCK_I": 32, "BLOCK_J": 32, "BLOCK_K": 32})
        for seed, side in enumerate((33, 64, 65), start=1):
            compare((side, side, side), seed)
        overlapping = torch.ones(2, 4, 4, 4, dtype=torch.bool)
        try:
            gpu.resample_gpu(overlapping, some_geometry((4, 4, 4)), mode="linear")
        except ValueError as error:
            assert "channels overlap" in str(error)
        else:
            raise AssertionError("overlapping channels were not refused")
    """)


@needs_triton
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("arch", [80, 90])
def test_the_gpu_kernel_compiles_without_spilling(arch, mode):
    from cranial.kernels.geometry import gpu

    signature = {"channels": "*u8", "plan": "*i64", "out": "*u8", "size_i": "i32", "size_j": "i32", "size_k": "i32"}
    choices = {"CHANNELS": 2, "LINEAR": mode == "linear", "CROPPED": True, "SPECKLED": True}
    bits = {"FRACTION_BITS": reference.FRACTION_BITS, "WEIGHT_BITS": reference.WEIGHT_BITS}
    report = compile_report(gpu.resample_kernel, signature, choices | bits | gpu.BLOCKS[mode], arch)
    assert report["spills_bytes"] == 0 and 0 < report["registers"] <= 96
