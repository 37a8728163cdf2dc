"""The resample of binary channels as one GPU kernel: a program a block of voxels, all channels together."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .reference import FRACTION_BITS, WEIGHT_BITS, Geometry, Mode, Speckle, refuse_overlap

# Voxels of a program. Compact in all directions, for what a rotated block reads is compact then, and along k as long
# as a sector of 32 bytes. Fewer in linear mode, so that a thread needs 64 registers and not 250. Places within a block,
# counted from its first voxel, must fit 32 bits at LARGEST_STEP.
BLOCKS = {
    "nearest": {"BLOCK_I": 4, "BLOCK_J": 4, "BLOCK_K": 32},
    "linear": {"BLOCK_I": 2, "BLOCK_J": 4, "BLOCK_K": 32},
}


def resample_gpu(channels: Tensor, geometry: Geometry, *, mode: Mode, speckle: Speckle | None = None) -> Tensor:
    """As reference.resample."""
    channels = channels.detach().contiguous()
    if mode == "linear":
        refuse_overlap(bool(((channels != 0).sum(dim=0, dtype=torch.uint8) > 1).any()))
    out = torch.empty_like(channels)
    size_i, size_j, size_k = channels.shape[1:]
    block = BLOCKS[mode]
    grid = tuple(
        triton.cdiv(size, block[f"BLOCK_{axis}"]) for size, axis in ((size_k, "K"), (size_j, "J"), (size_i, "I"))
    )
    choices = {
        "CHANNELS": len(channels),
        "LINEAR": mode == "linear",
        "CROPPED": geometry.box is not None,
        "SPECKLED": speckle is not None,
        "FRACTION_BITS": FRACTION_BITS,
        "WEIGHT_BITS": WEIGHT_BITS,
    }
    resample_kernel[grid](
        channels.view(torch.uint8), _plan(geometry, speckle, channels.device), out.view(torch.uint8),
        size_i, size_j, size_k, **choices, **block,
    )
    return out


def _plan(geometry: Geometry, speckle: Speckle | None, device: torch.device) -> Tensor:
    """int64 (32,) in memory, as 32 arguments would make triton compile anew whenever one of them is 1 or 16:
    source's rows at 0, crop's at 12, the box at 24, seed and below at 30."""
    crop, box = geometry.crop or ((0,) * 4,) * 3, geometry.box or ((0, 0),) * 3
    numbers = [number for row in (*geometry.source, *crop, *box) for number in row]
    numbers += [speckle.seed, speckle.below] if speckle else [0, 0]
    return torch.tensor(numbers, dtype=torch.int64, device=device)


@triton.jit
def resample_kernel(
    channels, plan, out, size_i, size_j, size_k,
    CHANNELS: tl.constexpr, LINEAR: tl.constexpr, CROPPED: tl.constexpr, SPECKLED: tl.constexpr,
    FRACTION_BITS: tl.constexpr, WEIGHT_BITS: tl.constexpr,
    BLOCK_I: tl.constexpr, BLOCK_J: tl.constexpr, BLOCK_K: tl.constexpr,
):
    """channels, out: uint8 (CHANNELS, I, J, K). plan: see _plan."""
    first_i, first_j, first_k = tl.program_id(2) * BLOCK_I, tl.program_id(1) * BLOCK_J, tl.program_id(0) * BLOCK_K
    within_i = tl.arange(0, BLOCK_I)[:, None, None]
    within_j = tl.arange(0, BLOCK_J)[None, :, None]
    within_k = tl.arange(0, BLOCK_K)[None, None, :]
    i, j, k = first_i + within_i, first_j + within_j, first_k + within_k
    there = (i < size_i) & (j < size_j) & (k < size_k)
    size = size_i.to(tl.int64) * size_j * size_k
    x = place_along(plan, first_i, first_j, first_k, within_i, within_j, within_k)
    y = place_along(plan + 4, first_i, first_j, first_k, within_i, within_j, within_k)
    z = place_along(plan + 8, first_i, first_j, first_k, within_i, within_j, within_k)
    kept = there
    if CROPPED:
        for axis in tl.static_range(3):
            at = place_along(plan + 12 + 4 * axis, first_i, first_j, first_k, within_i, within_j, within_k)
            voxel = (at + (1 << (FRACTION_BITS - 1))) >> FRACTION_BITS
            kept = kept & (voxel >= tl.load(plan + 24 + 2 * axis)) & (voxel < tl.load(plan + 25 + 2 * axis))
    # winner: the channel that has this voxel, in linear mode
    total = tl.zeros([BLOCK_I, BLOCK_J, BLOCK_K], tl.int32)
    largest, winner = total - 1, total
    if LINEAR:
        dropped: tl.constexpr = FRACTION_BITS - WEIGHT_BITS
        rounding: tl.constexpr = 1 << (dropped - 1)
        one: tl.constexpr = 1 << WEIGHT_BITS
        x, y, z = (x + rounding) >> dropped, (y + rounding) >> dropped, (z + rounding) >> dropped
        u, v, w = (x & (one - 1)).to(tl.int32), (y & (one - 1)).to(tl.int32), (z & (one - 1)).to(tl.int32)
        a, b, c = (x >> WEIGHT_BITS).to(tl.int32), (y >> WEIGHT_BITS).to(tl.int32), (z >> WEIGHT_BITS).to(tl.int32)
        for channel in tl.static_range(CHANNELS):
            share = tl.zeros([BLOCK_I, BLOCK_J, BLOCK_K], tl.int32)
            for corner in tl.static_range(8):
                up_i, up_j, up_k = corner // 4, (corner // 2) % 2, corner % 2
                bone = bone_at(channels + channel * size, a + up_i, b + up_j, c + up_k, size_i, size_j, size_k, kept)
                share_i = u if up_i else one - u
                share_j = v if up_j else one - v
                share_k = w if up_k else one - w
                share += tl.where(bone, share_i * share_j * share_k, 0)
            total += share
            winner = tl.where(share > largest, channel, winner)
            largest = tl.maximum(share, largest)
    else:
        half: tl.constexpr = 1 << (FRACTION_BITS - 1)
        a = ((x + half) >> FRACTION_BITS).to(tl.int32)
        b = ((y + half) >> FRACTION_BITS).to(tl.int32)
        c = ((z + half) >> FRACTION_BITS).to(tl.int32)
    is_bone = 2 * total >= 1 << (3 * WEIGHT_BITS)
    for channel in tl.static_range(CHANNELS):
        if LINEAR:
            bone = is_bone & (winner == channel)
        else:
            bone = bone_at(channels + channel * size, a, b, c, size_i, size_j, size_k, kept)
        if SPECKLED and channel == 0:
            bone = bone ^ changes(plan + 30, i, j, first_k, BLOCK_I, BLOCK_J, BLOCK_K)
        tl.store(out + channel * size + (i * size_j + j) * size_k + k, bone.to(tl.uint8), mask=there)


@triton.jit
def place_along(row, first_i, first_j, first_k, within_i, within_j, within_k):
    """int64: the place along one axis; products within the block and of its first voxel are of 32 bits."""
    a, b, c = tl.load(row).to(tl.int32), tl.load(row + 1).to(tl.int32), tl.load(row + 2).to(tl.int32)
    start = a.to(tl.int64) * first_i + b.to(tl.int64) * first_j + c.to(tl.int64) * first_k + tl.load(row + 3)
    return start + (a * within_i + b * within_j + c * within_k)


@triton.jit
def bone_at(volume, a, b, c, size_i, size_j, size_k, kept):
    """Is voxel (a, b, c) of the volume in it, and bone?"""
    inside = kept & (a >= 0) & (a < size_i) & (b >= 0) & (b < size_j) & (c >= 0) & (c < size_k)
    return tl.load(volume + (a * size_j + b) * size_k + c, mask=inside, other=0) != 0


@triton.jit
def changes(speckle, i, j, first_k, BLOCK_I: tl.constexpr, BLOCK_J: tl.constexpr, BLOCK_K: tl.constexpr):
    """Does speckle change this voxel? One counter serves four of them."""
    zero = tl.zeros([BLOCK_I, BLOCK_J, BLOCK_K // 4], tl.int32)
    quads = first_k // 4 + tl.arange(0, BLOCK_K // 4)[None, None, :]
    r0, r1, r2, r3 = tl.philox(tl.load(speckle), quads + zero, j + zero, i + zero, zero)
    below = tl.load(speckle + 1).to(tl.uint32)
    even = tl.interleave((r0 < below).to(tl.int8), (r2 < below).to(tl.int8))
    odd = tl.interleave((r1 < below).to(tl.int8), (r3 < below).to(tl.int8))
    return tl.interleave(even, odd) != 0
