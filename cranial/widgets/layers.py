"""Which layers are seen? A box to tick for each, with its colour and its volume, and how clear the bone is."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .. import figures
from ..volume import Volume

if TYPE_CHECKING:
    import ipywidgets
    import k3d

WORDS = {"description_width": "95px"}  # the room for what a slider is called


def layer_boxes(plot: "k3d.Plot", layers: Mapping[str, Volume]) -> "ipywidgets.VBox":
    """A box a layer that the plot has, ticked; and a slider for the bone's opacity, if it has bone.

    All that they do is done in the browser, so it needs no kernel.
    """
    import ipywidgets

    meshes = {mesh.name: mesh for mesh in plot.objects}
    rows = []
    for name in layers:
        if name in meshes:
            box = ipywidgets.Checkbox(True, indent=False, description_allow_html=True)
            box.layout.width = "98%"
            ipywidgets.jslink((box, "value"), (meshes[name], "visible"))
            rows.append(box)
    label_boxes(rows, {name: layer for name, layer in layers.items() if name in meshes})
    if "bone" in meshes:
        opacity = ipywidgets.FloatSlider(1.0, min=0.1, max=1.0, step=0.1, description="bone's opacity", style=WORDS)
        opacity.layout.width, opacity.readout_format = "98%", ".1f"
        ipywidgets.jslink((opacity, "value"), (meshes["bone"], "opacity"))
        rows.append(opacity)
    return ipywidgets.VBox(rows, layout=ipywidgets.Layout(width="340px"))


def label_boxes(boxes: "Sequence[ipywidgets.Widget]", layers: Mapping[str, Volume]) -> None:
    """Write each layer's colour, name and volume beside its box."""
    for box, (name, layer) in zip(boxes, layers.items(), strict=False):
        swatch = f'<span style="color:{figures.COLOURS[name]};-webkit-text-stroke:0.5px #8a8a8a">&#9632;</span>'
        box.description = f"{swatch} {figures.NAMES[name]}, {layer.volume_mm3 / 1000:.0f} cm³"
