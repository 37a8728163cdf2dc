"""Where on its surface does a piece deviate from another, and by how much? A map of millimetres to look at.

The metrics count surface voxels; a picture needs a distance at every place of a smooth surface, with its sign: above
0 where the piece stands out beyond the reference, below 0 where it stays inside.
"""

from dataclasses import dataclass

import numpy as np

from .volume import Volume, VolumeError
from .volume_io.mesh import surface


@dataclass(frozen=True, eq=False)
class Deviation:
    """A surface, vertices (V, 3) in LPS mm and faces (F, 3), and at each vertex its distance (V,) in mm, signed."""

    vertices_mm: np.ndarray
    faces: np.ndarray
    deviation_mm: np.ndarray


def deviation(predicted: Volume, reference: Volume, *, smoothing_mm: float = 0.5) -> Deviation:
    """The surface of `predicted`, and how far each of its vertices lies outside (+) or inside (-) `reference`.

    Both are surfaces of masks smoothed by smoothing_mm, on any grids. The distance is to the plane that touches the
    reference at its nearest vertex; beyond a rim, where that vertex lies aside, what lies aside is added.
    Raises VolumeError for an empty mask.
    """
    from scipy.spatial import cKDTree

    if not reference.mask.any():
        raise VolumeError(
            f"{reference.source or 'reference'}: the mask is empty, so nothing is near or far from it; choose the "
            "true piece of the same case"
        )
    vertices, faces = surface(predicted, smoothing_mm=smoothing_mm)
    target, target_faces = surface(reference, smoothing_mm=smoothing_mm)
    normals = vertex_normals(target, target_faces)
    distance_mm, nearest = cKDTree(target).query(vertices)
    height_mm = np.einsum("ij,ij->i", vertices - target[nearest], normals[nearest])
    aside_mm = np.sqrt(np.maximum(distance_mm**2 - height_mm**2, 0))
    between_mm = 0.75 * max(reference.spacing_mm)  # as far aside, another place between vertices is nearest
    beyond_mm = np.maximum(aside_mm - between_mm, 0)
    return Deviation(vertices, faces, np.sign(height_mm) * np.hypot(height_mm, beyond_mm))


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals (V, 3) at the vertices: the mean of those of the faces around, by area."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    across = np.cross(b - a, c - a)
    normals = np.stack(
        [np.bincount(faces.ravel(), np.repeat(across[:, axis], 3), minlength=len(vertices)) for axis in range(3)],
        axis=1,
    )
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
