"""The resample of binary channels, compiled: all channels in one byte, and nothing looked up where there is no bone.

A row of the output is a straight line through the source. Which part of it lies inside source and crop is known from
integer division; of that part, only segments with bone near them are looked up, for skulls a fifth.
"""

from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from ..threads import Team
from .reference import FRACTION_BITS, ONE, WEIGHT_BITS, Geometry, Mode, Speckle, refuse_overlap

SEGMENT = 16  # voxels of a row that are looked up together: their places fill a vector register
BRICK_BITS = 3  # the source's blocks that are known to be empty or not have 2^3 voxels on a side
_MIXED = np.uint8(255)  # a cell whose corners differ: only there is interpolation needed

_compiled = njit(nogil=True, cache=True, error_model="numpy")


class _Source(NamedTuple):
    """What is looked up. labels, cells: uint8 (I + 2, J + 2, K + 2), the source's voxels with a border of 0."""

    labels: np.ndarray  # bit c is channel c
    cells: np.ndarray  # what a place rounded down finds: in nearest mode the labels, in linear mode see _mix_slab
    near: np.ndarray  # bool, one a brick: see _near
    rows: np.ndarray  # int64 (3, 4), as Geometry.source, to cells
    linear: bool


def resample_cpu(
    channels: Tensor, geometry: Geometry, *, mode: Mode, speckle: Speckle | None = None, team: Team
) -> Tensor:
    """As reference.resample, for up to 8 channels in CPU memory; the planes are shared among `team`."""
    volumes = channels.detach().contiguous().view(torch.uint8).numpy()
    source = _prepare(volumes, geometry, mode, team)
    crop, box = np.zeros((0, 4), np.int64), np.zeros((0, 2), np.int64)
    if geometry.box is not None:
        crop, box = np.array(geometry.crop, np.int64), np.array(geometry.box, np.int64)
        crop[:, 3] += ONE // 2
    seed, below = (speckle.seed, speckle.below) if speckle else (0, 0)
    out = np.zeros(volumes.shape, np.uint8)  # numpy's comes in large pages, torch's does not
    team.slabs(lambda *part: _resample_slab(source, crop, box, np.uint64(seed), below, out, *part), out.shape[1])
    return torch.from_numpy(out).view(channels.dtype)


def _prepare(volumes: np.ndarray, geometry: Geometry, mode: Mode, team: Team) -> _Source:
    labels = np.zeros([n + 2 for n in volumes.shape[1:]], np.uint8)
    team.slabs(lambda *part: _pack_slab(volumes, labels, *part), volumes.shape[1])
    rows = np.array(geometry.source, np.int64)
    if mode == "nearest":
        cells = labels
        rows[:, 3] += ONE + ONE // 2  # the border, and half a voxel to round
    else:
        cells = np.zeros_like(labels)
        refuse_overlap(any(team.slabs(lambda *part: _mix_slab(labels, cells, *part), len(labels) - 1)))
        rows[:, 3] += ONE + (1 << (FRACTION_BITS - WEIGHT_BITS - 1))
    busy = np.zeros([-(-n >> BRICK_BITS) for n in cells.shape], np.bool_)
    team.slabs(lambda *part: _busy_slab(cells, busy, *part), len(busy))
    return _Source(labels, cells, _near(busy, rows[:, 2]), rows, mode == "linear")


def _near(busy: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Bricks from which half a segment, in any direction, may reach a busy brick; step: (3,), between voxels."""
    near = busy
    for axis in range(3):
        reach = -(-abs(int(step[axis])) * (SEGMENT // 2) // ONE) + 1  # voxels, and one for rounding
        wide = near.copy()
        for bricks in range(1, min(-(-reach >> BRICK_BITS), near.shape[axis] - 1) + 1):
            upper, lower = [slice(None)] * 3, [slice(None)] * 3
            upper[axis], lower[axis] = slice(bricks, None), slice(None, -bricks)
            wide[tuple(lower)] |= near[tuple(upper)]
            wide[tuple(upper)] |= near[tuple(lower)]
        near = wide
    return near


@_compiled
def _pack_slab(volumes, labels, start, stop):
    """Fill planes start to stop, counted without the border, of the labels."""
    for i in range(start, stop):
        for j in range(volumes.shape[2]):
            row = labels[i + 1, j + 1, 1:volumes.shape[3] + 1]
            for c in range(volumes.shape[0]):
                channel, bit = volumes[c, i, j], np.uint8(1 << c)
                for k in range(len(channel)):
                    row[k] |= bit if channel[k] != 0 else np.uint8(0)


@_compiled
def _mix_slab(labels, cells, start, stop):
    """Fill planes start to stop of the cells: the label that all eight corners from here on have, or _MIXED.

    Returns whether any label of these planes stands for several channels.
    """
    size = labels.shape[2]
    every, some, several = np.empty(size, np.uint8), np.empty(size, np.uint8), np.zeros(size, np.uint8)
    for i in range(start, stop):
        for j in range(labels.shape[1] - 1):
            first, second, third, fourth = labels[i, j], labels[i, j + 1], labels[i + 1, j], labels[i + 1, j + 1]
            for k in range(size):
                every[k] = first[k] & second[k] & third[k] & fourth[k]
                some[k] = first[k] | second[k] | third[k] | fourth[k]
                several[k] |= first[k] & (first[k] - np.uint8(1))
            row = cells[i, j]
            for k in range(size - 1):
                common = every[k] & every[k + 1]
                row[k] = common if common == some[k] | some[k + 1] else _MIXED
    return np.any(several)


@_compiled
def _busy_slab(cells, busy, start, stop):
    """Fill planes start to stop of the bricks: is any of their cells not 0?"""
    side, size = 1 << BRICK_BITS, cells.shape[2]
    joined = np.empty(size, np.uint8)
    for a in range(start, stop):
        for b in range(busy.shape[1]):
            joined[:] = 0
            for i in range(a * side, min((a + 1) * side, cells.shape[0])):
                for j in range(b * side, min((b + 1) * side, cells.shape[1])):
                    row = cells[i, j]
                    for k in range(size):
                        joined[k] |= row[k]
            for k in range(size):
                if joined[k]:
                    busy[a, b, k >> BRICK_BITS] = True


@_compiled
def _resample_slab(source, crop, box, seed, below, out, start, stop):
    """Fill planes start to stop of out (C, I, J, K), which are 0."""
    rows, shape, size = source.rows, source.cells.shape, out.shape[3]
    labels, cells, near = source.labels.ravel(), source.cells.ravel(), source.near.ravel()
    step = (rows[0, 2], rows[1, 2], rows[2, 2])
    segments = -(-size // SEGMENT)
    row, spots = np.empty(segments * SEGMENT, np.uint8), np.empty(segments * SEGMENT, np.int32)
    bricks, words = np.empty(segments, np.int32), np.empty(-(-size // 4), np.uint32)
    flips = words.view(np.uint8)
    for i in range(start, stop):
        for j in range(out.shape[2]):
            at = (_start(rows, 0, i, j), _start(rows, 1, i, j), _start(rows, 2, i, j))
            first, last = 0, size
            for axis in range(3):
                first, last = _inside(at[axis], step[axis], shape[axis] * ONE, first, last)
            for axis in range(len(box)):
                place, end = _start(crop, axis, i, j) - box[axis, 0] * ONE, (box[axis, 1] - box[axis, 0]) * ONE
                first, last = _inside(place, crop[axis, 2], end, first, last)
            if first < last:
                first, last = _look_up(
                    cells, shape, near, source.near.shape, at, step, first, last, row, spots, bricks
                )
                if source.linear:
                    for k in range(first, last):
                        if row[k] == _MIXED:
                            x, y, z = at[0] + k * step[0], at[1] + k * step[1], at[2] + k * step[2]
                            row[k] = _interpolate(labels, shape, np.int64(spots[k]), x, y, z, out.shape[0])
                for c in range(out.shape[0]):
                    channel, part, bit = out[c, i, j, first:last], row[first:last], np.uint8(c)
                    for k in range(len(channel)):
                        channel[k] = (part[k] >> bit) & np.uint8(1)
            if below:
                _speckle(words, seed, below, j, i)
                channel = out[0, i, j]
                for k in range(size):
                    channel[k] ^= flips[k]


@_compiled
def _start(rows, axis, i, j):
    """Where voxel (i, j, 0) comes from, along one axis."""
    return rows[axis, 0] * i + rows[axis, 1] * j + rows[axis, 3]


@_compiled
def _inside(at, step, end, first, last):
    """The part (first, last) of first <= k < last where 0 <= at + k step < end."""
    if step == 0:
        return (first, last) if 0 <= at < end else (first, first)
    if step < 0:  # as seen from the other end
        at, step = end - 1 - at, -step
    return max(first, -(at // step)), min(last, (end - 1 - at) // step + 1)


@_compiled
def _look_up(cells, shape, near, near_shape, at, step, first, last, row, spots, bricks):
    """Fill `row` with the cells from first to last, or the part of that which has any; returns where that is.

    cells, near: flat. at: the place of voxel 0. spots, bricks: room for indices of voxels and segments.
    """
    begin = first // SEGMENT * SEGMENT
    count = -(-(last - begin) // SEGMENT)
    _find(bricks[:count], at, step, begin + SEGMENT // 2, SEGMENT, near_shape, FRACTION_BITS + BRICK_BITS)
    low, high = last, first
    run = 0  # segments so far that have bone near them
    for segment in range(count + 1):
        if segment < count and near[np.uint32(bricks[np.uint32(segment)])]:
            run += 1
        elif run:
            start, stop = begin + (segment - run) * SEGMENT, begin + segment * SEGMENT
            run = 0
            _find(spots[start:stop], at, step, start, 1, shape, FRACTION_BITS)
            if high > first:
                row[high:start] = 0
            part, places = row[start:stop], spots[start:stop]
            for k in range(len(part)):
                part[k] = cells[np.uint32(places[k])]
            low, high = min(low, max(start, first)), min(stop, last)
    return low, high


@_compiled
def _find(spots, at, step, begin, every, shape, bits):
    """Fill `spots` with flat indices, among blocks of 2^bits, of every so many voxels of a row from begin on.

    A segment may stick out of the source by a few steps: its places fit 32 bits still, and are sent to the border.
    """
    stride_i, stride_j = np.int32(shape[1] * shape[2]), np.int32(shape[2])
    end_i, end_j, end_k = np.int32(shape[0] - 1), np.int32(shape[1] - 1), np.int32(shape[2] - 1)
    x, y, z = np.int32(at[0] + begin * step[0]), np.int32(at[1] + begin * step[1]), np.int32(at[2] + begin * step[2])
    dx, dy, dz = np.int32(every * step[0]), np.int32(every * step[1]), np.int32(every * step[2])
    down, zero = np.int32(bits), np.int32(0)
    for n in range(len(spots)):
        k = np.int32(n)
        a = min(max(np.int32(x + np.int32(k * dx)) >> down, zero), end_i)
        b = min(max(np.int32(y + np.int32(k * dy)) >> down, zero), end_j)
        c = min(max(np.int32(z + np.int32(k * dz)) >> down, zero), end_k)
        spots[n] = np.int32(a * stride_i) + np.int32(b * stride_j) + c


@_compiled
def _interpolate(labels, shape, spot, x, y, z, channels):
    """The label at a place in linear mode; spot: the flat index of its cell."""
    total, some = _share(labels, shape, spot, x, y, z, np.uint8(255))
    if 2 * total < 1 << (3 * WEIGHT_BITS):
        return np.uint8(0)
    if some & (some - np.uint8(1)) == 0:  # of one channel only
        return some
    winner, largest = 0, -1
    for channel in range(channels):
        share, _ = _share(labels, shape, spot, x, y, z, np.uint8(1 << channel))
        if share > largest:
            winner, largest = channel, share
    return np.uint8(1 << winner)


@_compiled
def _share(labels, shape, spot, x, y, z, bits):
    """The share, of 2^24, that labels with one of `bits` have at a place; and all the bits around it."""
    one, dropped = 1 << WEIGHT_BITS, FRACTION_BITS - WEIGHT_BITS
    u, v, w = (x >> dropped) & (one - 1), (y >> dropped) & (one - 1), (z >> dropped) & (one - 1)
    total, some = 0, np.uint8(0)
    for a in range(2):
        for b in range(2):
            corner = np.uint64(spot + (a * shape[1] + b) * shape[2])
            near, far = labels[corner], labels[corner + np.uint64(1)]
            weight = (u if a else one - u) * (v if b else one - v)
            total += weight * ((one - w if near & bits else 0) + (w if far & bits else 0))
            some |= near | far
    return total, some


@_compiled
def _speckle(words, seed, below, j, i):
    """Fill `words` (ceil(K / 4),): byte k of them is 1 where voxel (i, j, k) changes, else 0."""
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    limit = np.uint32(below)
    for block in range(len(words)):
        # Philox4x32-10 in numbers of 64 bits. What gathers above a word's 32 is masked away only where it would count:
        # three times as fast as words of 32 bits that are widened for each product.
        x0, x1, x2, x3 = np.uint64(block), np.uint64(j), np.uint64(i), np.uint64(0)
        key0, key1 = seed & low, seed >> half
        for _ in range(10):
            one, two = (x0 & low) * np.uint64(0xD2511F53), (x2 & low) * np.uint64(0xCD9E8D57)
            x0, x1, x2, x3 = (two >> half) ^ x1 ^ key0, two, (one >> half) ^ x3 ^ key1, one
            key0, key1 = key0 + np.uint64(0x9E3779B9), key1 + np.uint64(0xBB67AE85)
        words[block] = (
            np.uint32(np.uint32(x0) < limit)
            | np.uint32(np.uint32(x1) < limit) << np.uint32(8)
            | np.uint32(np.uint32(x2) < limit) << np.uint32(16)
            | np.uint32(np.uint32(x3) < limit) << np.uint32(24)
        )
