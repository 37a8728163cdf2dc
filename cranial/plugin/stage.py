"""How does the patient lie in the viewer? Sections as radiologists have them, heads upright, a scale in mm.

In 2-D one looks from the feet: the patient's left is on the right, the front above. In 3-D the head stands; there the
axes must be in the order L, P, S, or napari would show its mirror image.
"""

from weakref import WeakSet

from ..figures import camera
from .layers import LayerData, note_of

SIDES = "seen from the feet: the patient's left is on the right, the front above"
VIEW = (35.0, 15.0)  # azimuth and elevation in degrees, as in figures.render
_ARRANGED: WeakSet = WeakSet()


def arrange(viewer) -> None:
    """Lay the patient into a viewer, from now on whatever is opened; a second time nothing happens."""
    if viewer in _ARRANGED:
        return
    _ARRANGED.add(viewer)
    viewer.scale_bar.visible = True
    viewer.scale_bar.font_size = 12
    viewer.dims.events.ndisplay.connect(lambda: _lay(viewer))
    viewer.dims.events.ndim.connect(lambda: _lay(viewer))
    viewer.dims.events.order.connect(lambda: _say_sides(viewer))
    viewer.layers.events.inserted.connect(lambda event: len(viewer.layers) == 1 and look(viewer))
    viewer.layers.events.inserted.connect(lambda event: note_of(event.value).of and show_surfaces(viewer))
    viewer.text_overlay.text, viewer.text_overlay.position = SIDES, "top_center"
    _lay(viewer)


def look(viewer, view: tuple[float, float] | str = VIEW) -> None:
    """Turn a 3-D view; view as in figures.render: (azimuth, elevation) in degrees, or "front", "left", "top"..."""
    if viewer.dims.ndisplay == 3:
        _, down, forward = camera(view)
        viewer.scene.camera.set_view_direction(tuple(forward), tuple(-down))


def put(viewer, *layers: LayerData) -> None:
    """Add layers to a viewer, in place of those of the same name."""
    for data, attributes, kind in layers:
        if attributes["name"] in viewer.layers:
            viewer.layers.remove(attributes["name"])
        getattr(viewer, f"add_{kind}")(data, **attributes)
    show_surfaces(viewer)


def refresh(viewer, *layers: LayerData) -> None:
    """Show layers that change while one looks: those that are there keep their place, their look and the camera."""
    for layer in layers:
        data, attributes, kind = layer
        there = viewer.layers[attributes["name"]] if attributes["name"] in viewer.layers else None
        if type(there).__name__.lower() != kind or (kind == "labels" and there.data.shape != data.shape):
            put(viewer, layer)
            continue
        there.data, there.metadata = data, attributes["metadata"]
        if kind == "labels":
            there.affine = attributes["affine"]


def show_surfaces(viewer) -> None:
    """In 3-D the surface of a mask stands for it, in 2-D the mask itself."""
    surfaces = {note_of(layer).of: layer for layer in viewer.layers if note_of(layer).of}
    for layer in viewer.layers:
        if layer.name in surfaces and (layer.visible or surfaces[layer.name].visible):
            layer.visible = viewer.dims.ndisplay == 2
            surfaces[layer.name].visible = viewer.dims.ndisplay == 3


def _lay(viewer) -> None:
    dims = viewer.dims
    if dims.ndim >= 3:
        if tuple(dims.order) != _order(dims):
            dims.order = _order(dims)
        show_surfaces(viewer)
        if dims.ndisplay == 3:
            look(viewer)
    _say_sides(viewer)


def _order(dims) -> tuple[int, ...]:
    space = range(dims.ndim - 3, dims.ndim)
    return (*range(dims.ndim - 3), *(space if dims.ndisplay == 3 else reversed(space)))


def _say_sides(viewer) -> None:
    """Only of the sections of which it is true: whoever rolls the axes sees others."""
    dims = viewer.dims
    viewer.text_overlay.visible = dims.ndim >= 3 and dims.ndisplay == 2 and tuple(dims.order) == _order(dims)
