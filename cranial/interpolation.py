"""Linear interpolation of a field on a turned grid, compiled: one visit a sample."""

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def interpolate(field: np.ndarray, matrix: np.ndarray, offset: np.ndarray, values: np.ndarray) -> None:
    """Set values[z, y, x] to `field` at matrix @ (x, y, z) + offset, 0 outside.

    field: (A, B, C) whose outermost voxels are 0; values: float32 (Z, Y, X).
    """
    size_z, size_y, size_x = values.shape
    ends = np.array(field.shape) - 1.0
    for z in range(size_z):
        for y in range(size_y):
            row = matrix[:, 1] * y + matrix[:, 2] * z + offset
            first, last = 0.0, size_x - 1.0
            for axis in range(3):  # the part of the row that runs through the field
                step = matrix[axis, 0]
                if abs(step) < 1e-9:  # parallel to this face: a row inside stays inside
                    if not 0.0 <= row[axis] < ends[axis]:
                        last = -1.0
                else:
                    enter, leave = -row[axis] / step, (ends[axis] - row[axis]) / step
                    first = max(first, min(enter, leave))
                    last = min(last, max(enter, leave))
            values[z, y] = 0.0
            if last < first:  # far-away numbers must not become the ends of a range
                continue
            for x in range(int(np.ceil(first)), int(np.floor(last)) + 1):
                a = row[0] + matrix[0, 0] * x
                b = row[1] + matrix[1, 0] * x
                c = row[2] + matrix[2, 0] * x
                i, j, k = int(a), int(b), int(c)
                if a < 0.0 or b < 0.0 or c < 0.0 or a >= ends[0] or b >= ends[1] or c >= ends[2]:
                    continue  # rounding at either end
                u, v, w = np.float32(a - i), np.float32(b - j), np.float32(c - k)
                near = (field[i, j, k] * (1 - w) + field[i, j, k + 1] * w) * (1 - v) + (
                    field[i, j + 1, k] * (1 - w) + field[i, j + 1, k + 1] * w
                ) * v
                far = (field[i + 1, j, k] * (1 - w) + field[i + 1, j, k + 1] * w) * (1 - v) + (
                    field[i + 1, j + 1, k] * (1 - w) + field[i + 1, j + 1, k + 1] * w
                ) * v
                values[z, y, x] = near * (1 - u) + far * u
