"""Channels through a displacement field as one GPU kernel: a program a run of voxels, all channels together."""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 256  # voxels a program


def warp_gpu(channels: Tensor, field: Tensor, affine: Tensor, *, nearest: bool) -> Tensor:
    """As reference.warp, without gradients."""
    channels, field, affine = channels.contiguous(), field.contiguous(), affine.contiguous()
    kind = channels.dtype if nearest else field.dtype
    out = torch.empty((len(channels), *field.shape[1:]), dtype=kind, device=field.device)
    voxels = field[0].numel()
    warp_kernel[(triton.cdiv(voxels, BLOCK),)](
        channels, field, affine, out, len(channels), *channels.shape[1:], voxels, *field.shape[2:],
        NEAREST=nearest, BLOCK=BLOCK,
    )
    return out


@triton.jit
def warp_kernel(
    channels, field, affine, out, count, size_i, size_j, size_k, voxels, out_j, out_k,
    NEAREST: tl.constexpr, BLOCK: tl.constexpr,
):
    """channels: (count, I, J, K). field: (3, voxels). affine: (3, 4). out: (count, voxels)."""
    voxel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = voxel < voxels
    x = voxel // (out_k * out_j) + tl.load(field + voxel, mask=there, other=0.0)
    y = (voxel // out_k) % out_j + tl.load(field + voxels + voxel, mask=there, other=0.0)
    z = voxel % out_k + tl.load(field + 2 * voxels + voxel, mask=there, other=0.0)
    i = tl.load(affine) * x + tl.load(affine + 1) * y + tl.load(affine + 2) * z + tl.load(affine + 3)
    j = tl.load(affine + 4) * x + tl.load(affine + 5) * y + tl.load(affine + 6) * z + tl.load(affine + 7)
    k = tl.load(affine + 8) * x + tl.load(affine + 9) * y + tl.load(affine + 10) * z + tl.load(affine + 11)
    if NEAREST:
        i, j, k = i + 0.5, j + 0.5, k + 0.5
    # far out is far out, and a number that an integer can hold
    low_i = tl.minimum(tl.maximum(tl.floor(i), -2.0), size_i + 1.0)
    low_j = tl.minimum(tl.maximum(tl.floor(j), -2.0), size_j + 1.0)
    low_k = tl.minimum(tl.maximum(tl.floor(k), -2.0), size_k + 1.0)
    a, b, c = low_i.to(tl.int32), low_j.to(tl.int32), low_k.to(tl.int32)
    u, v, w = i - low_i, j - low_j, k - low_k
    size = size_i * size_j * size_k
    for channel in range(count):
        if NEAREST:
            inside = there & (a >= 0) & (a < size_i) & (b >= 0) & (b < size_j) & (c >= 0) & (c < size_k)
            found = tl.load(channels + channel * size + (a * size_j + b) * size_k + c, mask=inside, other=0)
        else:
            found = tl.zeros_like(u)
            for corner in tl.static_range(8):
                up_i, up_j, up_k = corner // 4, (corner // 2) % 2, corner % 2
                at_i, at_j, at_k = a + up_i, b + up_j, c + up_k
                inside = there & (at_i >= 0) & (at_i < size_i) & (at_j >= 0) & (at_j < size_j)
                inside = inside & (at_k >= 0) & (at_k < size_k)
                place = channel * size + (at_i * size_j + at_j) * size_k + at_k
                value = tl.load(channels + place, mask=inside, other=0).to(u.dtype)
                share_i = u if up_i else 1.0 - u
                share_j = v if up_j else 1.0 - v
                share_k = w if up_k else 1.0 - w
                found += share_i * share_j * share_k * value
        tl.store(out + channel * voxels + voxel, found, mask=there)
