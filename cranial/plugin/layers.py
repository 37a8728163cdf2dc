"""What is a Volume to napari, and a layer to us? World coordinates are the patient's L, P and S, in millimetres.

napari slices along array axes, so a mask is shown with its axes along L, P and S; the file's own grid is kept in the
layer's metadata, and `volume_of` goes back to it, to the bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Labels, Surface
from napari.utils.colormaps import Colormap, DirectLabelColormap
from skimage.measure import marching_cubes

from ..deviation import Deviation
from ..figures import COLOURS, build_scene
from ..volume import FileHeader, Volume, resample, same_grid, to_lps

LayerData = tuple[Any, dict[str, Any], str]
IN_PATIENT = {"units": ("mm",) * 3, "axis_labels": ("L", "P", "S")}
_DETAIL_VOX = 110  # along the longest side of what is drawn
_SMOOTHINGS_MM2, _MOST_SMOOTHINGS = 250.0, 250  # by Taubin's filter, at an edge of 1 mm: enough for voxels' terraces
_KEY = "cranial"  # in a layer's metadata


@dataclass(frozen=True)
class Note:
    """What we keep of a layer: role, a name in COLOURS; for a mask its own grid; for a surface whose it is."""

    role: str = "bone"
    shape: tuple[int, int, int] | None = None
    affine: np.ndarray | None = None
    header: FileHeader | None = None
    source: Path | None = None
    of: str = ""


def labels_data(volume: Volume, name: str, role: str = "bone") -> LayerData:
    """A mask as a labels layer in its role's colour."""
    shown = to_lps(volume)
    colours = DirectLabelColormap(color_dict={0: "transparent", None: COLOURS[role]})
    note = Note(role, volume.shape, volume.affine, volume.header, volume.source)
    look = {"colormap": colours, "opacity": 1.0, "iso_gradient_mode": "smooth", "metadata": {_KEY: note}}
    data = np.array(shown.mask, np.uint8, order="C")  # a copy: painting on the layer is not painting on the volume
    return data, {"name": name, "affine": shown.affine, **look, **IN_PATIENT}, "labels"


def surface_data(vertices_mm: np.ndarray, faces: np.ndarray, name: str, role: str = "bone", of: str = "") -> LayerData:
    """Vertices (V, 3) in LPS mm and faces (F, 3) as a surface layer; of: the labels layer it is the surface of."""
    colours = Colormap([COLOURS[role]] * 2, name=role)
    look = {"colormap": colours, "contrast_limits": (0, 1), "shading": "smooth", "metadata": {_KEY: Note(role, of=of)}}
    data = (np.asarray(vertices_mm), np.asarray(faces), np.ones(len(vertices_mm)))
    return data, {"name": name, **look, **IN_PATIENT}, "surface"


def surface_of(volume: Volume, name: str, role: str = "bone") -> LayerData:
    """A surface to look at, of a mask that is shown under `name`: no finer than a screen shows, and quick to turn.

    To write a mask's surface, write the mask as .stl. Raises ValueError for an empty one.
    """
    from trimesh import Trimesh, smoothing

    scene = build_scene({role: volume}, detail_vox=_DETAIL_VOX)
    level = min(0.45, 0.5 * scene.occupancy[0].max())  # a little below 1/2, for the thinnest bone
    vertices, faces, _, _ = marching_cubes(scene.occupancy[0], level)
    mesh = Trimesh(vertices * scene.spacing_mm + scene.first_mm, faces[:, ::-1], process=False)
    rounds = min(round(_SMOOTHINGS_MM2 / scene.spacing_mm**2), _MOST_SMOOTHINGS)
    smoothing.filter_taubin(mesh, iterations=rounds)  # a blur of the mask would lose thin bone
    return surface_data(mesh.vertices, mesh.faces, surface_name(name), role, of=name)


def with_surfaces(layers: Sequence[LayerData]) -> list[LayerData]:
    """Layers, and after each mask that is not empty its surface, which is not seen until stage.show_surfaces."""
    shown = []
    for layer in layers:
        shown.append(layer)
        data, attributes, kind = layer
        if kind == "labels" and data.any():
            mask, note = Volume(data > 0, attributes["affine"]), attributes["metadata"][_KEY]
            surface, look, _ = surface_of(mask, attributes["name"], note.role)
            shown.append((surface, look | {"visible": False}, "surface"))
    return shown


def surface_name(name: str) -> str:
    """What the surface of a layer is called."""
    return f"{name} (3-D)"


def deviation_data(found: Deviation, name: str) -> LayerData:
    """A surface coloured by what it stands out (red) or stays behind (violet), in mm."""
    limit_mm = max(1.0, float(np.ceil(np.percentile(np.abs(found.deviation_mm), 99))))
    colours = Colormap([COLOURS["missed"], COLOURS["bone"], COLOURS["extra"]], name="mm")
    look = {"colormap": colours, "contrast_limits": (-limit_mm, limit_mm), "shading": "smooth"}
    data = (found.vertices_mm, found.faces, found.deviation_mm)
    return data, {"name": name, **look, "metadata": {_KEY: Note("extra")}, **IN_PATIENT}, "surface"


def note_of(layer: Any) -> Note:
    """What we noted when we made the layer; an empty Note for others' layers."""
    return layer.metadata.get(_KEY, Note())


def affine_of(layer: Any) -> np.ndarray:
    """(4, 4), from the layer's own coordinates to LPS mm, whatever scale, shift and turn it was given."""
    corners = np.array([layer.data_to_world(corner) for corner in np.vstack([np.zeros(3), np.eye(3)])])
    affine = np.eye(4)
    affine[:3, 3] = corners[0]
    affine[:3, :3] = (corners[1:] - corners[0]).T
    return affine


def volume_of(layer: Labels) -> Volume:
    """The mask of a labels layer, every label above 0, on the grid of the file it was read from.

    A layer that was moved since, or is not ours, keeps the grid it has in napari.
    """
    shown = Volume(np.asarray(layer.data) > 0, affine_of(layer))
    note = note_of(layer)
    if note.affine is None:
        return shown
    own = Volume(np.broadcast_to(False, note.shape), note.affine, note.header, note.source)
    return resample(shown, like=own) if same_grid(to_lps(own), shown) else shown


def triangles_of(layer: Surface) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) in LPS mm and faces (F, 3) of a surface layer."""
    vertices, faces, *_ = layer.data
    affine = affine_of(layer)
    return np.asarray(vertices) @ affine[:3, :3].T + affine[:3, 3], np.asarray(faces)
