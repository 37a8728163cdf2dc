"""One iteration of deformable registration as one GPU kernel: a thread block a run of voxels.

The neighbours need the field as it was, so it is read from one buffer and written to another, and the two change
places. Sums go one number a block and are added up in a fixed order: the same every time, with no atomics.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .reference import Rates

BLOCK = 256  # voxels a program


class Descent:
    """As reference.Descent, with float32 (or float64) tensors on a GPU."""

    def __init__(self, moving: Tensor, fixed: Tensor, field: Tensor, weights: Tensor, rates: Rates) -> None:
        self.rates, self.steps = rates, 0
        self.moving, self.fixed = moving.contiguous(), fixed.contiguous()
        self.field, self._next = field.clone(memory_format=torch.contiguous_format), torch.empty_like(field)
        self._moments = torch.zeros((2, *field.shape), dtype=field.dtype, device=field.device)
        counts = torch.tensor([max(1, fixed.numel() // n * (n - 1)) for n in fixed.shape], dtype=torch.float64)
        self._pull = (weights.double().cpu() / counts).flatten().tolist()
        self._programs = triton.cdiv(fixed.numel(), BLOCK)

    def gradient(self) -> tuple[float, float, Tensor]:
        """(mean squared difference, regulariser, gradient of their sum towards field (3, I, J, K)); no step."""
        gradient = torch.empty_like(self.field)
        return *self._pass(gradient, [0.0] * 9, update=False), gradient

    def step(self) -> tuple[float, float]:
        """One step of Adam; returns (mean squared difference, regulariser) from before it."""
        self.steps += 1
        one, two = self.rates.betas
        speeds = [rate / (1 - one**self.steps) for rate in self.rates.rate]
        sums = self._pass(self._next, [one, two, 1 / (1 - two**self.steps), *speeds, *self.rates.epsilon], update=True)
        self.field, self._next = self._next, self.field
        return sums

    def _pass(self, out: Tensor, adam: list[float], *, update: bool) -> tuple[float, float]:
        numbers = torch.tensor([*self._pull, *adam], dtype=self.field.dtype, device=self.field.device)
        sums = torch.empty((2, self._programs), dtype=self.field.dtype, device=self.field.device)
        descent_kernel[(self._programs,)](
            self.field, out, self._moments, self.moving, self.fixed, numbers, sums, *self.fixed.shape,
            UPDATE=update, BLOCK=BLOCK,
        )
        squares, roughness = sums.double().sum(dim=1).tolist()
        return squares / self.fixed.numel(), roughness


@triton.jit
def _corner(moving, i, j, k, size_i, size_j, size_k):
    """moving[i, j, k], 0 outside."""
    inside = (i >= 0) & (i < size_i) & (j >= 0) & (j < size_j) & (k >= 0) & (k < size_k)
    return tl.load(moving + (i * size_j + j) * size_k + k, mask=inside, other=0.0)


@triton.jit
def descent_kernel(
    field, out, moments, moving, fixed, numbers, sums, size_i, size_j, size_k, UPDATE: tl.constexpr, BLOCK: tl.constexpr
):
    """field, out: (3, N). moments: (2, 3, N). numbers: pull (9), beta (2), unbias, rates (3), epsilons (3)."""
    count = size_i * size_j * size_k
    voxel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = voxel < count
    k = voxel % size_k
    j = (voxel // size_k) % size_j
    i = voxel // (size_k * size_j)

    u = tl.load(field + voxel, mask=there, other=0.0)
    v = tl.load(field + count + voxel, mask=there, other=0.0)
    w = tl.load(field + 2 * count + voxel, mask=there, other=0.0)
    # far out is far out, and a number that an integer can hold
    low_i = tl.minimum(tl.maximum(tl.floor(i + u), -2.0), size_i + 1.0)
    low_j = tl.minimum(tl.maximum(tl.floor(j + v), -2.0), size_j + 1.0)
    low_k = tl.minimum(tl.maximum(tl.floor(k + w), -2.0), size_k + 1.0)
    u, v, w = i + u - low_i, j + v - low_j, k + w - low_k
    a, b, c = low_i.to(tl.int32), low_j.to(tl.int32), low_k.to(tl.int32)
    n000 = _corner(moving, a, b, c, size_i, size_j, size_k)
    n001 = _corner(moving, a, b, c + 1, size_i, size_j, size_k)
    n010 = _corner(moving, a, b + 1, c, size_i, size_j, size_k)
    n011 = _corner(moving, a, b + 1, c + 1, size_i, size_j, size_k)
    n100 = _corner(moving, a + 1, b, c, size_i, size_j, size_k)
    n101 = _corner(moving, a + 1, b, c + 1, size_i, size_j, size_k)
    n110 = _corner(moving, a + 1, b + 1, c, size_i, size_j, size_k)
    n111 = _corner(moving, a + 1, b + 1, c + 1, size_i, size_j, size_k)
    # along k, then j, then i; the slopes on the way
    s00, s01, s10, s11 = n001 - n000, n011 - n010, n101 - n100, n111 - n110
    n00, n01, n10, n11 = n000 + w * s00, n010 + w * s01, n100 + w * s10, n110 + w * s11
    near, far = n00 + v * (n01 - n00), n10 + v * (n11 - n10)
    slope_i = far - near
    slope_j = (n01 - n00) + u * ((n11 - n10) - (n01 - n00))
    slope_k = (s00 + v * (s01 - s00)) + u * ((s10 + v * (s11 - s10)) - (s00 + v * (s01 - s00)))
    difference = tl.where(there, near + u * slope_i - tl.load(fixed + voxel, mask=there, other=0.0), 0.0)
    push = 2.0 * difference / count

    roughness = tl.zeros_like(difference)
    for axis in tl.static_range(3):  # of the displacement: its component
        place = axis * count + voxel
        here = tl.load(field + place, mask=there, other=0.0)
        slope = slope_i if axis == 0 else (slope_j if axis == 1 else slope_k)
        gradient = push * slope
        for along in tl.static_range(3):
            pull = tl.load(numbers + 3 * axis + along)
            step = size_j * size_k if along == 0 else (size_k if along == 1 else 1)
            at = i if along == 0 else (j if along == 1 else k)
            size = size_i if along == 0 else (size_j if along == 1 else size_k)
            has_after, has_before = there & (at + 1 < size), there & (at > 0)
            onward = tl.where(has_after, tl.load(field + place + step, mask=has_after, other=0.0) - here, 0.0)
            back = tl.where(has_before, here - tl.load(field + place - step, mask=has_before, other=0.0), 0.0)
            gradient += 2.0 * pull * (back - onward)
            roughness += pull * onward * onward
        if UPDATE:
            one, two, unbias = tl.load(numbers + 9), tl.load(numbers + 10), tl.load(numbers + 11)
            speed, epsilon = tl.load(numbers + 12 + axis), tl.load(numbers + 15 + axis)
            first, second = moments + place, moments + 3 * count + place
            m = one * tl.load(first, mask=there, other=0.0) + (1.0 - one) * gradient
            s = two * tl.load(second, mask=there, other=0.0) + (1.0 - two) * gradient * gradient
            tl.store(first, m, mask=there)
            tl.store(second, s, mask=there)
            tl.store(out + place, here - speed * m / (tl.sqrt(s * unbias) + epsilon), mask=there)
        else:
            tl.store(out + place, gradient, mask=there)
    tl.store(sums + tl.program_id(0), tl.sum(difference * difference))
    tl.store(sums + tl.num_programs(0) + tl.program_id(0), tl.sum(roughness))
