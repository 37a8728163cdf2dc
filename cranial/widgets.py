"""Skulls to turn and to slice by hand in a notebook. Without a browser the widgets are made all the same.

    widgets.show({"bone": case.defective, "implant": case.implant})     a 3-D view (k3d)
    widgets.slider({"bone": case.defective, "implant": case.implant})   sections under a slider (ipywidgets)
    widgets.explore(draw, style=STYLES, seed=(0, 9))                    any picture under any choices

They need the extra `lab`; nothing is fetched from the net.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import figures
from .figures.sections import bounds_mm, middle_mm
from .volume import Volume

if TYPE_CHECKING:
    import ipywidgets
    import k3d

MESH_MM = 2.0  # finer meshes look no better on a screen, and make notebooks heavy


def show(layers: Mapping[str, Volume], *, mesh_mm: float = MESH_MM, view: tuple[float, float] = (35.0, 15.0),
         height: int = 480) -> "k3d.Plot":
    """A 3-D view of layers, named as in figures.COLOURS, in patient LPS mm; drag to turn, scroll to come nearer.

    mesh_mm: edge of the voxels from which the surfaces are made, at the finest. view: where it begins, (azimuth,
    elevation) in degrees. Empty layers are left out. Raises ValueError as figures.build_scene does.
    """
    import k3d
    from skimage.measure import marching_cubes

    low, high = bounds_mm(layers)
    scene = figures.build_scene(layers, detail_vox=int(max(high - low) / mesh_mm))
    plot = k3d.plot(height=height, grid_visible=False, axes=["L", "P", "S"], axes_helper=0.5, menu_visibility=False,
                    camera_auto_fit=False)
    for name, field in zip(layers, scene.occupancy, strict=True):
        if field.max() > 0.5:
            vertices, faces, _, _ = marching_cubes(field, 0.5)
            plot += k3d.mesh((vertices * scene.spacing_mm + scene.first_mm).astype(np.float32),
                             faces.astype(np.uint32), name=name, flat_shading=False, side="double",
                             color=int(figures.COLOURS[name][1:], 16))
    middle, away = 0.5 * (low + high), -figures.camera(view)[2]
    plot.camera = [*(middle + 1.5 * np.linalg.norm(high - low) * away), *middle, 0.0, 0.0, 1.0]
    return plot


def slider(layers: Mapping[str, Volume]) -> "ipywidgets.Widget":
    """Sections of layers, named as in figures.COLOURS; the slider moves the axial one from foot to vertex."""
    low, high = bounds_mm(layers)
    left_mm, back_mm, height_mm = middle_mm(layers)

    def draw(height_mm: float) -> figures.Figure:
        return figures.slices(layers, at_mm=(left_mm, back_mm, height_mm))

    import ipywidgets

    choice = ipywidgets.FloatSlider(height_mm, min=float(low[2]), max=float(high[2]), step=1.0, description="S, mm")
    return explore(draw, height_mm=choice)


def explore(draw: Callable[..., Any], **choices: Any) -> "ipywidgets.Widget":
    """What `draw` returns, under one control a choice: (low, high[, step]) a slider, names a menu, a bool a box.

    It is drawn anew when a slider is let go, not on its way.
    """
    import ipywidgets

    menus = {name: list(each) for name, each in choices.items() if isinstance(each, tuple) and isinstance(each[0], str)}
    view = ipywidgets.interactive(draw, {"auto_display": True}, **choices | menus)
    for control in view.children[:-1]:
        if hasattr(control, "continuous_update"):
            control.continuous_update = False
    return view


def save_page(plot: "k3d.Plot", path: Path | str) -> Path:
    """The 3-D view as one HTML file that any browser opens and turns, with no server and no net; returns the path."""
    path = Path(path)
    part = path.with_name(f".{path.name}.partial")
    part.write_text(plot.get_snapshot(), encoding="utf-8")
    os.replace(part, path)
    return path
