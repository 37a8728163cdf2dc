"""One head: turned, cut open, its layers ticked on and off, and in section beside it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from .. import figures
from ..volume import Volume
from .layers import WORDS, layer_boxes
from .sections import move_to, sections
from .solid import MESH_MM, show
from .turn import face_piece

if TYPE_CHECKING:
    import ipywidgets


def look(layers: Mapping[str, Volume], *, mesh_mm: float = MESH_MM, height: int = 440) -> "ipywidgets.VBox":
    """Layers, named as in figures.COLOURS, in 3-D and in section; the slider moves the axial section.

    Where "cut open" is ticked, the 3-D view ends at the axial section. mesh_mm as in `show`. Raises ValueError as
    `show` and `sections` do.
    """
    import ipywidgets

    first = next(iter(layers.values()))
    low, high = figures.bounds_mm(layers)
    middle = figures.middle_mm(layers)
    solid, flat = show(layers, mesh_mm=mesh_mm, height=height), sections(layers, height=height)
    face_piece(solid, layers)
    level = ipywidgets.FloatSlider(float(middle[2]), min=float(low[2]), max=float(high[2]), step=1.0,
                                   description="section, S mm", readout_format=".0f", style=WORDS)
    cut_open = ipywidgets.Checkbox(False, indent=False, description="cut the head open there")

    def move(_: object = None) -> None:
        move_to(flat, first, np.array([*middle[:2], level.value]))
        solid.clipping_planes = [[0.0, 0.0, -1.0, float(level.value)]] if cut_open.value else []

    level.observe(move, "value")
    cut_open.observe(move, "value")
    controls = ipywidgets.HBox([ipywidgets.VBox([level, cut_open]), layer_boxes(solid, layers)])
    solid.layout.flex = flat.layout.flex = "1 1 0"
    return ipywidgets.VBox([controls, ipywidgets.HBox([solid, flat])])
