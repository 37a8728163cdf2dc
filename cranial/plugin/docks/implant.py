"""Implant: what does a printer take to fill this hole? Made of a defect, checked, written as STL."""

from typing import Any

from magicgui.widgets import FloatSlider

from ...figures import COLOURS
from ..layers import surface_data, volume_of
from .choice import LayerChoice
from .dock import Dock, chosen, file_field


class ImplantDock(Dock):
    """implant.make_implant: a mesh with clearance, thickness, taper and perforations, and whether it keeps them."""

    def __init__(self, napari_viewer: Any) -> None:
        self.skull = LayerChoice(napari_viewer, "bone", label="skull")
        self.defect = LayerChoice(napari_viewer, "proposal", "implant", label="missing piece")
        self.clearance = _slider("clearance, mm", 0.5, 0.0, 3.0, 0.1, "gap to the bone all around")
        self.thickness = _slider("thickness, mm", 0.0, 0.0, 10.0, 0.5, "0: as thick as the missing piece")
        self.taper = _slider("taper, °", 0.0, 0.0, 30.0, 1.0, "of the rim, narrower inward")
        self.perforation = _slider("perforations, mm", 0.0, 0.0, 6.0, 0.5, "diameter; 0: none")
        self.spacing = _slider("every, mm", 12.0, 4.0, 30.0, 1.0, "from one perforation to the next")
        self.path = file_field("write to", "w", "*.stl")
        design = [self.clearance, self.thickness, self.taper, self.perforation, self.spacing]
        buttons = {"Make": self.make, "Write": self.write}
        super().__init__(napari_viewer, [self.skull, self.defect, *design, self.path], buttons)
        self._implant = None

    def make(self) -> None:
        """Make the implant, and tell what was checked."""
        skull, defect = self.skull.layer, self.defect.layer
        design = {
            "clearance_mm": self.clearance.value,
            "thickness_mm": self.thickness.value or None,
            "taper_deg": self.taper.value,
            "perforation_mm": self.perforation.value,
            "perforation_spacing_mm": self.spacing.value,
        }

        def work(report):
            from ...implant import ImplantDesign, make_implant

            return make_implant(volume_of(skull), volume_of(defect), ImplantDesign(**design), progress=report)

        def done(implant):
            self._implant = implant
            self.put(surface_data(implant.mesh.vertices, implant.mesh.faces, f"{defect.name}, implant", "implant"))
            self.hide_layers(defect.name)
            self.show_results(_rows(implant.report))

        self.run(work, done)

    def write(self) -> None:
        """Write the implant that was made last. Raises ValueError before one was made, or without a file."""
        path, implant = chosen(self.path), self._implant
        if implant is None:
            raise ValueError("there is no implant yet; press Make first")
        if path is None:
            raise ValueError("no file to write to; choose one, for example implant.stl")

        def work(report):
            from ...implant import write_implant

            return write_implant(implant, path)

        self.run(work, lambda _: self.say(f"written to {path}"))


def _rows(report: Any) -> list[tuple[str, ...]]:
    """What was measured, its limit, and whether it is kept, of every line of an ImplantReport."""
    words = {True: ("agreed", "kept"), False: ("extra", "NOT kept")}
    kept = {passed: f"<font color='{COLOURS[colour]}'>{word}</font>" for passed, (colour, word) in words.items()}
    return [
        (
            check.name,
            f"{check.figure:.3g} {check.unit}",
            f"{'≥' if check.at_least else '≤'} {check.limit:.3g}",
            kept[check.passed],
        )
        for check in report.checks
    ]


def _slider(label: str, value: float, low: float, high: float, step: float, tooltip: str) -> FloatSlider:
    return FloatSlider(label=label, value=value, min=low, max=high, step=step, tooltip=tooltip)
