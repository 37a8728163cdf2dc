"""One iteration of deformable registration in one pass over the field, compiled: each number is moved once.

A few rows at a time: the regulariser's gradient, the image term's where there is an image, and Adam's update, which
may be written at once because the rows that the neighbours still need are kept: one plane of them. The image term
costs only where one of the eight voxels around a place is not 0, for skulls a tenth of the grid. While rows are
computed, the memory of the next ones is asked for, piece by piece.
"""

import numpy as np
import torch
from numba import njit
from torch import Tensor

from ..threads import Team
from .reference import Rates
from .rows import LOOSE, U, adam, fetch_row, rows_gradient

_ROWS = 2  # rows at a time: more amortise the loops better, fewer stay in the nearest cache
_APART = 80  # numbers between components, so that their rows do not push each other out of the cache


class Descent:
    """As reference.Descent, with float32 or float64 tensors in CPU memory; the planes are shared among `team`.

    One array has it all: nine times (I, J, K + 2), the field's components and those of both moments, with the ends of
    each row repeated (the moments' are not used), and for each thread the planes before and after its slab.
    """

    def __init__(
        self, moving: Tensor, fixed: Tensor, field: Tensor, weights: Tensor, rates: Rates, team: Team
    ) -> None:
        self.team, self.rates, self.steps = team, rates, 0
        kind = field.numpy().dtype
        self.shape = tuple(fixed.shape)
        planes, rows, size = self.shape
        self._apart = planes * rows * (size + 2) + _APART
        beside = 6 * rows * (size + 2)  # of each slab: the planes before and after it
        self._state = np.zeros(9 * self._apart + team.threads * beside, kind)
        parts = self._state[: 9 * self._apart].reshape(9, self._apart)
        self._rows = parts[:3, : self._apart - _APART].reshape(3, planes, rows, size + 2)  # with the ends repeated
        self._rows[...] = np.pad(field.numpy(), [(0, 0)] * 3 + [(1, 1)], mode="edge")
        self._beside = self._state[9 * self._apart :].reshape(team.threads, 2, 3, rows, size + 2)
        image = np.pad(moving.numpy().astype(kind, copy=False), [(2, 1)] * 3)  # 0 outside; two below, where places far
        self._image, self._busy = image.ravel(), _busy_cells(image).ravel()  # out are sent
        self._fixed = fixed.numpy().astype(kind).ravel()
        self._fixed_squared = float(np.einsum("n,n->", self._fixed, self._fixed, dtype=np.float64))
        counts = [max(1, self._fixed.size // n * (n - 1)) for n in self.shape]
        self._pull = (weights.double().numpy() / counts).astype(kind)  # of one squared difference

    @property
    def field(self) -> Tensor:
        """Displacement (3, I, J, K) in voxels, a copy."""
        return torch.from_numpy(self._rows[..., 1:-1].copy())

    def gradient(self) -> tuple[float, float, Tensor]:
        """(mean squared difference, regulariser, gradient of their sum towards field (3, I, J, K)); no step."""
        gradient = np.empty((3, *self.shape), self._state.dtype)
        return *self._pass(_gradient_slab, gradient), torch.from_numpy(gradient)

    def step(self) -> tuple[float, float]:
        """One step of Adam; returns (mean squared difference, regulariser) from before it."""
        self.steps += 1
        one, two = self.rates.betas
        kind = self._state.dtype.type
        betas = np.array([one, two, 1 / (1 - two**self.steps)], kind)
        speeds = np.array(self.rates.rate, kind) / kind(1 - one**self.steps)
        return self._pass(_descend_slab, betas, speeds, np.array(self.rates.epsilon, kind))

    def _pass(self, kernel, *rest) -> tuple[float, float]:
        ends = self.team.ends(self.shape[0])
        for planes, start, stop in zip(self._beside, ends[:-1], ends[1:], strict=False):
            planes[0] = self._rows[:, max(start - 1, 0)]
            planes[1] = self._rows[:, min(stop, ends[-1] - 1)]
        sums = np.zeros((ends[-1], 2))

        def work(start: int, stop: int) -> None:
            kept = 9 * self._apart + ends.index(start) * self._beside[0].size
            kernel(self._state, self._apart, kept, self._image, self._busy, self._fixed, self._pull, start, stop,
                   self.shape, sums, *rest)

        self.team.slabs(work, ends[-1])
        squares, roughness = sums.sum(axis=0)
        return float(squares + self._fixed_squared) / self._fixed.size, float(roughness)


def _busy_cells(image: np.ndarray) -> np.ndarray:
    """uint8, 1 where one of the eight voxels from here on is not 0; 0 in the last planes, where no place is sent."""
    busy = image != 0
    for axis in range(3):
        lower, upper = [slice(None)] * 3, [slice(None)] * 3
        lower[axis], upper[axis] = slice(None, -1), slice(1, None)
        busy = busy[tuple(lower)] | busy[tuple(upper)]
    return np.pad(busy, [(0, 1)] * 3).view(np.uint8)


@njit(nogil=True, cache=True, fastmath=LOOSE, error_model="numpy")
def _gradient_slab(state, apart, kept, image, busy, fixed, pull, start, stop, sizes, sums, out):
    """Fill out (3, I, J, K) for planes start to stop, and their sums (I, 2)."""
    long = sizes[2] + 2
    gradient = np.empty(3 * _ROWS * long, state.dtype)
    places, listed = np.empty(sizes[2], np.int32), np.empty(sizes[2] + 1, np.int32)
    for i in range(start, stop):
        for j in range(0, sizes[1], _ROWS):
            rows = min(_ROWS, sizes[1] - j)
            squares, roughness = rows_gradient(
                state, U(apart), U(kept), image, busy, fixed, pull, i, j, rows, stop, sizes, places, listed, gradient,
                U(_ROWS * long),
            )
            sums[i, 0] += squares
            sums[i, 1] += roughness
            for c in range(3):
                for n in range(rows):
                    first = (c * _ROWS + n) * long
                    out[c, i, j + n] = gradient[first:first + sizes[2]]


@njit(nogil=True, cache=True, fastmath=LOOSE, error_model="numpy")
def _descend_slab(state, apart, kept, image, busy, fixed, pull, start, stop, sizes, sums, betas, speeds, epsilons):
    """Move planes start to stop of field and moments; fill their sums (I, 2)."""
    size, long = sizes[2], sizes[2] + 2
    gradient = np.zeros(3 * _ROWS * long, state.dtype)
    places, listed = np.empty(size, np.int32), np.empty(size + 1, np.int32)
    for i in range(start, stop):
        for j in range(0, sizes[1], _ROWS):
            rows = min(_ROWS, sizes[1] - j)
            squares, roughness = rows_gradient(
                state, U(apart), U(kept), image, busy, fixed, pull, i, j, rows, stop, sizes, places, listed, gradient,
                U(_ROWS * long),
            )
            sums[i, 0] += squares
            sums[i, 1] += roughness
            length = U(rows * long - 2)
            for c in range(3):
                here = U((i * sizes[1] + j) * long + c * apart + 1)
                first, second = here + U(3 * apart), here + U(6 * apart)
                fetch_row(state, here + U((sizes[1] + rows) * long), length)
                adam(state, here, first, second, length, gradient, U(c * _ROWS * long), betas, speeds[c], epsilons[c])
                for n in range(rows):
                    row = here + U(n * long)
                    state[row - U(1)] = state[row]
                    state[row + U(size)] = state[row + U(size - 1)]
