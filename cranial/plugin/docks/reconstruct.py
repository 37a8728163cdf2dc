"""Reconstruct: what is missing in this skull? By the network, the healthy side's mirror image, or the average skull."""

from typing import Any

from magicgui.widgets import ComboBox

from ..layers import labels_data, note_of, surface_of, volume_of
from .choice import LayerChoice
from .dock import Dock, chosen, file_field

METHODS = ("network", "mirror", "atlas")


class ReconstructDock(Dock):
    """reconstruction.reconstruct: the missing piece as a labels layer and as a surface."""

    def __init__(self, napari_viewer: Any) -> None:
        self.skull = LayerChoice(napari_viewer, "bone", label="skull")
        self.method = ComboBox(label="method", choices=METHODS)
        self.model = file_field("model", "r", "*.safetensors", "empty: the model that comes with cranial")
        self.device = ComboBox(label="device", choices=("auto", "cpu", "cuda"))
        fields = [self.skull, self.method, self.model, self.device]
        super().__init__(napari_viewer, fields, {"Reconstruct": self.reconstruct})
        self.method.changed.connect(self._method_changed)

    def reconstruct(self) -> None:
        """Propose the missing piece of the chosen skull."""
        layer, method, device = self.skull.layer, self.method.value, self.device.value
        model = chosen(self.model) if method == "network" else None
        name, bare = layer.name, self.without_surface(layer.name)

        def work(report):
            from ...reconstruction import reconstruct  # torch: seconds, the first time

            skull = volume_of(layer)
            found = reconstruct(skull, method=method, model=model, device=device, progress=report)
            report(0.97, "drawing surfaces")
            layers = [surface_of(skull, name)] if bare else []
            if found.defect.mask.any():
                piece = (found.defect, f"{name}, {method}", "proposal")
                layers += [labels_data(*piece), surface_of(*piece)]
            return found.report, layers

        def done(result):
            report, layers = result
            self.put(*layers)
            self.hide_layers(*(layer.name for layer in self.viewer.layers if note_of(layer).role == "implant"))
            if report["volume_cm3"] == 0:
                self.say("Nothing is missing in this skull as far as was found.")
            else:
                self.say(f"{report['volume_cm3']:.1f} cm³ are missing, by {method} in {report['seconds']:.1f} s")

        self.run(work, done)

    def _method_changed(self, method: str) -> None:
        self.model.enabled = self.device.enabled = method == "network"
