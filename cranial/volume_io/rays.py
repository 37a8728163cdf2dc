"""Where rays along one axis enter and leave a surface, compiled: one visit a pair of triangle and ray."""

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def add_crossings(points: np.ndarray, faces: np.ndarray, change: np.ndarray) -> None:
    """Add +1 to change[x, y, z] where the ray at (x, y) enters below z, -1 where it leaves; last is beyond.

    points: (V, 3) in voxels, rays along the last axis; faces: (F, 3); change: int8 (X, Y, Z + 1).
    A ray belongs to a triangle by the crossing rule on edges whose ends are always taken in one order, so two
    triangles never both claim, or both miss, a ray through the edge they share.
    """
    size_x, size_y, size_z = change.shape[0], change.shape[1], change.shape[2] - 1
    for face in range(len(faces)):
        a, b, c = points[faces[face, 0]], points[faces[face, 1]], points[faces[face, 2]]
        normal_x = (b[1] - a[1]) * (c[2] - a[2]) - (b[2] - a[2]) * (c[1] - a[1])
        normal_y = (b[2] - a[2]) * (c[0] - a[0]) - (b[0] - a[0]) * (c[2] - a[2])
        normal_z = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if normal_z == 0.0:
            continue
        lowest, highest = min(a[2], b[2], c[2]), max(a[2], b[2], c[2])
        first_x = max(int(np.ceil(min(a[0], b[0], c[0]))), 0)
        last_x = min(int(np.floor(max(a[0], b[0], c[0]))), size_x - 1)
        first_y = max(int(np.ceil(min(a[1], b[1], c[1]))), 0)
        last_y = min(int(np.floor(max(a[1], b[1], c[1]))), size_y - 1)
        for x in range(first_x, last_x + 1):
            for y in range(first_y, last_y + 1):
                inside = False
                for corner in range(3):
                    start, end = faces[face, corner], faces[face, (corner + 1) % 3]
                    if start > end:
                        start, end = end, start
                    y_0, y_1 = points[start, 1], points[end, 1]
                    if (y_0 > y) != (y_1 > y):
                        x_0, x_1 = points[start, 0], points[end, 0]
                        if x < x_0 + (y - y_0) / (y_1 - y_0) * (x_1 - x_0):
                            inside = not inside
                if inside:
                    depth = a[2] - (normal_x * (x - a[0]) + normal_y * (y - a[1])) / normal_z
                    z = np.ceil(min(max(depth, lowest), highest))
                    change[x, y, int(min(max(z, 0.0), size_z))] += 1 if normal_z < 0.0 else -1
