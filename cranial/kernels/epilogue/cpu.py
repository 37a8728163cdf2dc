"""Norm and activation, sum and activation, compiled, in bfloat16 and channels last.

numba knows no bfloat16. Its bits are the upper half of a float32's; so a few rows at a time are widened to what fits
in the nearest cache, computed there in float32, and rounded back, half to even as torch does.
"""

import numpy as np
import torch
from numba import njit
from torch import Tensor

from ..threads import Team

_ROWS = 64  # positions that are widened at once
_PIECE = 2048  # numbers, where positions do not matter


def norm_leaky_cpu(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, *, eps: float, slope: float, team: Team
) -> Tensor:
    """As reference.norm_leaky, without gradients, in place."""
    channels = x.shape[1]
    scale, offset = weight.float().numpy(), bias.float().numpy()
    for item in x.permute(0, 2, 3, 4, 1).view(torch.uint16):
        rows = item.reshape(-1, channels).numpy()

        def summed(start: int, stop: int, rows: np.ndarray = rows) -> np.ndarray:
            return _sums(rows, start, stop)

        total, squares = np.sum(team.slabs(summed, len(rows)), axis=0).reshape(2, groups, -1).sum(axis=-1)
        count = len(rows) * channels // groups
        mean = total / count
        inverse = 1 / np.sqrt(np.maximum(squares / count - mean**2, 0) + eps)
        factor = np.repeat(inverse, channels // groups) * scale
        more = offset - np.repeat(mean, channels // groups) * factor
        factor, more = (np.tile(each, _ROWS).astype(np.float32) for each in (factor, more))

        def normed(start: int, stop: int, rows=rows, factor=factor, more=more) -> None:
            _scale_leaky(rows, factor, more, np.float32(slope), start, stop)

        team.slabs(normed, len(rows))
    return x


def add_leaky_cpu(x: Tensor, y: Tensor, *, slope: float, team: Team) -> Tensor:
    """As reference.add_leaky, without gradients, in place."""
    mine, others = (t.permute(0, 2, 3, 4, 1).view(torch.uint16).reshape(-1).numpy() for t in (x, y))

    def added(start: int, stop: int) -> None:
        _add_leaky(mine, others, np.float32(slope), start, stop)

    team.slabs(added, len(mine))
    return x


@njit(nogil=True, cache=True, error_model="numpy")
def _sums(rows, start, stop):
    """Sums of the channels and of their squares, float64 (2, C), over rows start ... stop - 1."""
    channels = rows.shape[1]
    size = _ROWS * channels
    bits = np.empty(size, np.uint32)
    values = bits.view(np.float32)
    a, b = np.zeros(size, np.float32), np.zeros(size, np.float32)
    for low in range(start, stop, _ROWS):
        count = min(_ROWS, stop - low) * channels
        flat = rows[low : min(low + _ROWS, stop)].reshape(count)
        for n in range(count):
            bits[n] = np.uint32(flat[n]) << np.uint32(16)
        for n in range(count):
            a[n] += values[n]
            b[n] += values[n] * values[n]
    total = np.zeros((2, channels), np.float64)
    for n in range(size):
        total[0, n % channels] += a[n]
        total[1, n % channels] += b[n]
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def _scale_leaky(rows, factor, more, slope, start, stop):
    """rows = leaky(rows * factor + more), from row start to stop - 1; factor, more: of _ROWS rows."""
    channels = rows.shape[1]
    bits = np.empty(_ROWS * channels, np.uint32)
    values = bits.view(np.float32)
    for low in range(start, stop, _ROWS):
        count = min(_ROWS, stop - low) * channels
        flat = rows[low : min(low + _ROWS, stop)].reshape(count)
        for n in range(count):
            bits[n] = np.uint32(flat[n]) << np.uint32(16)
        for n in range(count):
            value = values[n] * factor[n] + more[n]
            values[n] = max(value, slope * value)
        for n in range(count):
            flat[n] = _upper(bits[n])


@njit(nogil=True, cache=True, error_model="numpy")
def _add_leaky(mine, others, slope, start, stop):
    """mine = leaky(mine + others), from number start to stop - 1."""
    bits, more = np.empty(_PIECE, np.uint32), np.empty(_PIECE, np.uint32)
    values, others_values = bits.view(np.float32), more.view(np.float32)
    for low in range(start, stop, _PIECE):
        count = min(_PIECE, stop - low)
        first, second = mine[low : low + count], others[low : low + count]
        for n in range(count):
            bits[n] = np.uint32(first[n]) << np.uint32(16)
            more[n] = np.uint32(second[n]) << np.uint32(16)
        for n in range(count):
            value = values[n] + others_values[n]
            values[n] = max(value, slope * value)
        for n in range(count):
            first[n] = _upper(bits[n])


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _upper(bits):
    """A float32's bits rounded to its upper half."""
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    return np.uint16((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))
