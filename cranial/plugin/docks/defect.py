"""Defect: where is the hole, how large, in which style? Seen while one chooses, then cut."""

from collections.abc import Callable
from typing import Any

import numpy as np
from magicgui.widgets import CheckBox, ComboBox, FloatSlider, SpinBox

from ...skulls.defects import STYLES, Case
from ...skulls.placing import first_bone, place
from ...volume import Volume
from ..layers import labels_data, surface_of, volume_of
from .choice import LayerChoice
from .dock import Dock

PREVIEW = "hole, preview"
_FAR_MM = 1000.0  # a ray begins this far from the head
Aim = Callable[[Volume], np.ndarray | None]


class DefectDock(Dock):
    """A synthetic defect on a complete skull: placed by a click, shown at once, cut by a button."""

    def __init__(self, napari_viewer: Any) -> None:
        self.skull = LayerChoice(napari_viewer, "bone", label="skull")
        self.style = ComboBox(label="style", choices=STYLES, value="parietotemporal")
        self.seed = SpinBox(label="shape", max=10**6, tooltip="another number, another shape and place")
        self.size = FloatSlider(label="size", min=0.3, max=2.0, value=1.0, step=0.05, tooltip="1: as the style has it")
        self.by_click = CheckBox(text="click on the skull to place it", value=True)
        fields = [self.skull, self.style, self.seed, self.size, self.by_click]
        super().__init__(napari_viewer, fields, {"Preview": self.preview, "Cut": self.cut})
        self._aim: Aim = _nowhere
        for field in (self.style, self.seed, self.size):
            field.changed.connect(self._follow)
        self.skull.changed.connect(self._forget)
        clicks, clicked = self.viewer.mouse_drag_callbacks, self._clicked
        clicks.append(clicked)
        self.destroyed.connect(lambda: clicks.remove(clicked))

    def preview(self) -> None:
        """Show the hole; from now on it follows what is chosen."""
        self.run(self._placing(), self._show)

    def cut(self) -> None:
        """Cut it: a defective skull and the missing piece take the skull's place."""
        skull = self.skull.layer
        name, placing = skull.name, self._placing()
        self.skull.keep()  # not the cut one, which is newer

        def work(report):
            case = placing(report)
            report(0.5, "drawing surfaces")
            skull = (case.defective, f"{name}, cut", "bone")
            piece = (case.implant, f"{name}, piece", "implant")
            return [layer for part in (skull, piece) for layer in (labels_data(*part), surface_of(*part))]

        def done(layers):
            self._forget()
            self.hide_layers(name)
            self.put(*layers)

        self.run(work, done)

    def aim(self, from_mm: np.ndarray, along: np.ndarray) -> None:
        """Put the hole where a ray from (3,) LPS mm along (3,) meets the skull."""
        self._aim = lambda skull: first_bone(skull, from_mm, along)
        self.preview()

    def _placing(self) -> Callable[[Any], Case]:
        layer, style, seed, size, aim = self.skull.layer, self.style.value, self.seed.value, self.size.value, self._aim

        def work(report) -> Case:
            report(0.0, "cutting")
            skull = volume_of(layer)
            return place(skull, style, seed=seed, at_mm=aim(skull), size=size)

        return work

    def _show(self, case: Case) -> None:
        data, attributes, _ = labels_data(case.implant, PREVIEW, "implant")
        self.refresh((data, attributes | {"blending": "translucent_no_depth"}, "labels"))
        self.say(f"{case.implant.volume_mm3 / 1000:.1f} cm³ would be cut out")

    def _follow(self) -> None:
        if PREVIEW in self.viewer.layers:
            self.attempt(self.preview)

    def _forget(self) -> None:
        self._aim = _nowhere
        if PREVIEW in self.viewer.layers:
            self.viewer.layers.remove(PREVIEW)

    def _clicked(self, viewer: Any, event: Any):
        """A click, not a drag, on the canvas; event as napari gives it, in world coordinates."""
        if not self.by_click.value or self.skull.value is None:
            return
        yield
        if event.type != "mouse_release":
            return
        at_mm = np.array(event.position[-3:])
        if event.view_direction is None:
            self._aim = lambda skull: at_mm
            self.attempt(self.preview)
        else:
            along = np.array(event.view_direction[-3:])
            self.attempt(lambda: self.aim(at_mm - _FAR_MM * along, along))


def _nowhere(skull: Volume) -> None:
    """Where the style has it."""
