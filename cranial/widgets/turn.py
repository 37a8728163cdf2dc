"""A head under any choices: sliders move, and the surfaces change in place, in a view that stays where it is."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import figures
from ..skulls.defects import Case
from ..volume import Volume
from .explore import interactive
from .layers import label_boxes, layer_boxes
from .solid import MESH_MM, camera_at, redraw, stage

if TYPE_CHECKING:
    import ipywidgets
    import k3d

_UNKNOWN_MM = np.full(3, -110.0), np.full(3, 110.0)  # where a head will be, if the first is empty


def turn(draw: Callable[..., Case | Mapping[str, Volume]], *, caption: Callable[..., str] | None = None,
         follow: bool = True, mesh_mm: float = MESH_MM, height: int = 440, **choices: Any) -> "ipywidgets.HBox":
    """What `draw` returns, a case or layers named as in figures.COLOURS, in 3-D under one control a choice.

    Controls as `explore` makes them, drawn while they move; mesh_mm as in `show`. caption: of the same choices, what to
    write below; None: a case's style. follow: the view turns to whatever is not bone, until its box is unticked.
    Raises ValueError where the first head cannot be drawn.
    """
    import ipywidgets

    words = ipywidgets.HTML()
    facing = ipywidgets.Checkbox(follow, indent=False, description="face the piece")
    shown = {}

    def update(**chosen: Any) -> None:
        drawn = draw(**chosen)
        layers = {"bone": drawn.defective, "implant": drawn.implant} if isinstance(drawn, Case) else drawn
        if not shown:
            corners = figures.bounds_mm(layers) if any(each.mask.any() for each in layers.values()) else _UNKNOWN_MM
            shown["plot"] = stage(*corners, view=(35.0, 15.0), height=height)
        redraw(shown["plot"], layers, mesh_mm=mesh_mm)
        if "boxes" not in shown:
            shown["boxes"] = layer_boxes(shown["plot"], layers)
        label_boxes(shown["boxes"].children, layers)
        if facing.value:
            face_piece(shown["plot"], layers)
        words.value = caption(**chosen) if caption else getattr(drawn, "style", "").replace("_", " ")

    controls = interactive(update, choices, auto_display=False)
    if "boxes" not in shown:  # ipywidgets has written the error, and goes on
        raise ValueError(f"draw failed at the first of its choices, {controls.kwargs}; try draw with these alone")
    for control in controls.children[:-1]:
        control.layout.width = "98%"
    below = [shown["boxes"], facing] if follow else [shown["boxes"]]
    side = ipywidgets.VBox([controls, words, *below], layout=ipywidgets.Layout(width="340px"))
    shown["plot"].layout.flex = "1 1 0"
    return ipywidgets.HBox([side, shown["plot"]])


def face_piece(plot: "k3d.Plot", layers: Mapping[str, Volume]) -> None:
    """Turn the view to the largest of what is not bone, from as far away as it is."""
    pieces = [layer for name, layer in layers.items() if name != "bone" and layer.mask.any()]
    if pieces and "bone" in layers:
        largest = max(pieces, key=lambda piece: piece.volume_mm3)
        middle = np.array(plot.camera[3:6])
        away_mm = float(np.linalg.norm(np.array(plot.camera[:3]) - middle))
        plot.camera = camera_at(middle, away_mm, figures.facing(largest, layers["bone"]))
