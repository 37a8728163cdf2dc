"""A head to turn: surfaces of its layers under k3d, replaced in place when the head is another one."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import figures
from ..volume import Volume

if TYPE_CHECKING:
    import k3d

MESH_MM = 2.0  # finer meshes look no better on a screen, and make notebooks heavy
_LEVEL = 0.45  # of occupancy; a little below 1/2, for the thinnest bone
# A mesh may not be without a triangle: vertices, triangles, normals.
_NOTHING = np.zeros((3, 3), np.float32), np.array([[0, 1, 2]], np.uint32), np.ones((3, 3), np.float32)


def show(layers: Mapping[str, Volume], *, mesh_mm: float = MESH_MM, view: tuple[float, float] = (35.0, 15.0),
         height: int = 480) -> "k3d.Plot":
    """A 3-D view of layers, named as in figures.COLOURS, in patient LPS mm; drag to turn, scroll to come nearer.

    mesh_mm: edge of the voxels from which the surfaces are made, at the finest. view: where it begins, (azimuth,
    elevation) in degrees. Empty layers are left out. Raises ValueError as figures.lay_out does.
    """
    low, high = figures.bounds_mm(layers)
    plot = stage(low, high, view=view, height=height)
    redraw(plot, {name: layer for name, layer in layers.items() if layer.mask.any()}, mesh_mm=mesh_mm)
    return plot


def stage(low: np.ndarray, high: np.ndarray, *, view: tuple[float, float], height: int) -> "k3d.Plot":
    """An empty 3-D view of the box between two corners, (3,) LPS mm each, with the patient's directions in it."""
    import k3d

    plot = k3d.plot(height=height, grid_visible=False, axes=["L", "P", "S"], axes_helper=0.5, menu_visibility=False,
                    camera_auto_fit=False)
    plot.camera = camera_at(0.5 * (low + high), 0.88 * float(np.linalg.norm(high - low)), view)
    return plot


def redraw(plot: "k3d.Plot", layers: Mapping[str, Volume], *, mesh_mm: float = MESH_MM) -> None:
    """Other layers in the same view: meshes change in place, and of an empty or missing layer nothing is drawn."""
    import k3d

    found = surfaces(layers, mesh_mm=mesh_mm)
    meshes = {each.name: each for each in plot.objects}
    for name in [*meshes, *(name for name in layers if name not in meshes)]:
        vertices, triangles, normals = found.get(name, _NOTHING)
        if name in meshes:
            with meshes[name].hold_sync():  # one message: the head is drawn anew once
                meshes[name].vertices, meshes[name].indices, meshes[name].normals = vertices, triangles, normals
        else:
            plot += k3d.mesh(vertices, triangles, normals=normals, name=name, flat_shading=False, side="double",
                             color=int(figures.COLOURS[name][1:], 16))


def surfaces(layers: Mapping[str, Volume], *, mesh_mm: float) -> dict[str, tuple[np.ndarray, ...]]:
    """Of each layer that is not empty: vertices (V, 3) in LPS mm, triangles (T, 3) and normals (V, 3), both outwards.

    The normals are those of a smoother field than the surface: bone is shaded as bone, not as a stack of voxels.
    """
    from scipy.ndimage import gaussian_filter, map_coordinates
    from skimage.measure import marching_cubes

    if not any(layer.mask.any() for layer in layers.values()):
        return {}
    low, high = figures.bounds_mm(layers)
    laid = figures.lay_out(layers, detail_vox=max(1, int(max(high - low) / mesh_mm)))
    smooth_vox = 1.3 * max(1.0, laid.coarsest_mm / laid.spacing_mm)
    found = {}
    for name, field in zip(layers, laid.occupancy, strict=True):
        if field.max() > _LEVEL:
            vertices, triangles, _, _ = marching_cubes(field, _LEVEL)
            soft = gaussian_filter(field, smooth_vox, truncate=2.0)
            normals = -np.stack([map_coordinates(slope, vertices.T, order=1) for slope in np.gradient(soft)], axis=1)
            normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
            places = vertices * laid.spacing_mm + laid.first_mm
            found[name] = places.astype(np.float32), triangles[:, ::-1].astype(np.uint32), normals.astype(np.float32)
    return found


def camera_at(middle: np.ndarray, away_mm: float, view: tuple[float, float] | str) -> list[float]:
    """k3d's nine numbers for a camera so far from the middle, (3,) LPS mm, in a direction (azimuth, elevation)."""
    return [*map(float, middle - away_mm * figures.camera(view)[2]), *map(float, middle), 0.0, 0.0, 1.0]


def save_page(plot: "k3d.Plot", path: Path | str) -> Path:
    """The 3-D view as one HTML file that any browser opens and turns, with no server and no net; returns the path."""
    path = Path(path)
    part = path.with_name(f".{path.name}.partial")
    part.write_text(plot.get_snapshot(), encoding="utf-8")
    os.replace(part, path)
    return path
