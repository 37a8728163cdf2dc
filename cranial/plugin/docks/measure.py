"""Measure: how near is a proposal to the truth? In numbers, and painted on its surface in millimetres."""

from typing import Any

from magicgui.widgets import FloatSpinBox

from ..layers import deviation_data, volume_of
from .choice import LayerChoice
from .dock import Dock

_ROWS = {
    "dsc": ("Dice (DSC)", ""),
    "bdsc": ("border Dice (bDSC)", ""),
    "surface_dice": ("surface Dice", ""),
    "hd95_mm": ("Hausdorff 95 %", "mm"),
    "msd_mm": ("mean surface distance", "mm"),
}


class MeasureDock(Dock):
    """metrics.evaluate and deviation.deviation: a proposal against a reference."""

    def __init__(self, napari_viewer: Any) -> None:
        self.predicted = LayerChoice(napari_viewer, "proposal", label="proposal")
        self.reference = LayerChoice(napari_viewer, "implant", label="reference")
        self.skull = LayerChoice(napari_viewer, "bone", label="defective skull", tooltip="bDSC is taken near its bone")
        self.tolerance = FloatSpinBox(label="tolerance, mm", value=1.0, min=0.0, max=20.0, step=0.5,
                                      tooltip="of the surface Dice")
        fields = [self.predicted, self.reference, self.skull, self.tolerance]
        super().__init__(napari_viewer, fields, {"Measure": self.measure, "Paint distances": self.paint})

    def measure(self) -> None:
        """Score the proposal; what lies on another grid is brought onto that of the reference."""
        layers = self.predicted.layer, self.reference.layer, self.skull.layer
        tolerance_mm = self.tolerance.value

        def work(report):
            from ... import metrics
            from ...volume import resample, same_grid

            predicted, reference, skull = map(volume_of, layers)
            moved = [one if same_grid(one, reference) else resample(one, like=reference) for one in (predicted, skull)]
            report(0.3, "measuring")
            return metrics.evaluate(moved[0], reference, defective=moved[1], tolerance_mm=tolerance_mm)

        self.run(work, lambda scores: self._show(scores.as_dict()))

    def paint(self) -> None:
        """Colour the proposal's surface by how far it is from the reference's."""
        predicted, reference = self.predicted.layer, self.reference.layer

        def work(report):
            from ...deviation import deviation

            ours, theirs = volume_of(predicted), volume_of(reference)
            return deviation(ours, theirs, smoothing_mm=max(*ours.spacing_mm, *theirs.spacing_mm))

        self.run(work, lambda found: self._painted(found, predicted.name, reference.name))

    def _show(self, scores: dict[str, Any]) -> None:
        rows = [(name, f"{scores[key]:.3f} {unit}") for key, (name, unit) in _ROWS.items()]
        self.show_results(rows)

    def _painted(self, found: Any, name: str, reference: str) -> None:
        self.put(deviation_data(found, f"{name}: deviation, mm"))
        painted = self.viewer.layers[f"{name}: deviation, mm"]
        for overlay in (painted.colorbar, painted.name_overlay):
            overlay.visible, overlay.font_size = True, 12
            overlay.position = "top_right"
        self.hide_layers(name, reference)
        low, high = found.deviation_mm.min(), found.deviation_mm.max()
        self.say(f"from {low:.1f} mm (stays behind) to {high:+.1f} mm (stands out)")
