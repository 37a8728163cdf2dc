"""Register: what brings one head onto another, and what does its stiffness do? Watched level by level."""

from io import BytesIO
from typing import Any

from magicgui.widgets import ComboBox, Slider
from qtpy.QtCore import Qt
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import QLabel

from ..layers import labels_data, surface_of, volume_of
from .choice import LayerChoice
from .dock import Dock

ALPHAS = (6250.0, 12500.0, 25000.0, 50000.0, 100000.0)  # what the study tried, from soft to stiff


class RegisterDock(Dock):
    """registration.register: the moving head bends while one looks; an implant may come along."""

    def __init__(self, napari_viewer: Any) -> None:
        self.moving = LayerChoice(napari_viewer, "bone", label="moving")
        self.fixed = LayerChoice(napari_viewer, "bone", label="fixed", place=1)
        self.along = LayerChoice(napari_viewer, "implant", label="comes along", optional=True,
                                 tooltip="the missing piece of the moving skull, on its grid")
        self.stiffness = Slider(label="stiffness α", max=len(ALPHAS) - 1, readout=False)
        self.side = ComboBox(label="voxels a side", choices=(32, 64, 128, 256), value=64)
        fields = [self.moving, self.fixed, self.along, self.stiffness, self.side]
        super().__init__(napari_viewer, fields, {"Register": self.register})
        self.stiffness.changed.connect(lambda: self.relabel(self.stiffness, f"stiffness α = {self.alpha:.0f}"))
        self.stiffness.value = ALPHAS.index(12500.0)
        self.curves = QLabel()
        self.layout().insertWidget(self.layout().count() - 1, self.curves)

    @property
    def alpha(self) -> float:
        """The chosen stiffness."""
        return ALPHAS[self.stiffness.value]

    def register(self) -> None:
        """Bend the moving head onto the fixed one. Raises ValueError where both are the same layer."""
        moving, fixed, along = self.moving.layer, self.fixed.layer, self.along.value
        if moving is fixed:
            raise ValueError("moving and fixed are the same layer; open a second head and choose it")
        alpha, side, bare = self.alpha, self.side.value, self.without_surface(fixed.name)
        name = f"{moving.name} on {fixed.name}"
        self.hide_layers(moving.name)

        def work(report):
            from ...registration import register  # torch: seconds, the first time

            report(0.0, "laying one head roughly onto the other")
            head, target = volume_of(moving), volume_of(fixed)
            if bare:
                report.show((surface_of(target, fixed.name), None))

            def watch(found):
                report.show((surface_of(found.carry(head)[0], name, "proposal"), found))
                done = len(found.levels)
                report(0.2 + 0.2 * done, f"level {done + 1}: bending")

            found = register(head, target, alpha=alpha, side=side, watch=watch)
            report(0.9, "carrying what comes along")
            parts = found.carry(head) if along is None else found.carry(head, volume_of(along))
            roles = ((name, "proposal"), (f"{along and along.name} on {fixed.name}", "implant"))
            layers = [layer for part, role in zip(parts, roles, strict=False)
                      for layer in (labels_data(part, *role), surface_of(part, *role))]
            return found, layers, _picture(found)

        def done(result):
            found, layers, picture = result
            self.put(*layers)
            self._levels(found)
            self.curves.setPixmap(_pixmap(picture, self.width() - 30))
            for problem in found.problems:
                self.say(f"This pair does not fit: {problem}.")

        self.run(work, done)

    def watch(self, seen: Any) -> None:
        """A surface and the registration so far."""
        layer, found = seen
        self.refresh(layer)
        if found is not None:
            self._levels(found)

    def _levels(self, found: Any) -> None:
        quality = found.quality
        rows = [("level", "loss", "")]
        rows += [(f"{level.side}³", f"{level.loss[0]:.4f}", f"→ {level.loss[-1]:.4f}") for level in found.levels]
        rows += [("Dice", f"{quality.dice_before:.3f}", f"→ {quality.dice_after:.3f}")]
        rows += [("moved on average", f"{quality.mean_displacement_mm:.1f} mm", "")]
        rows += [("folded", f"{100 * quality.folded_share:.2f} %", "")]
        self.show_results(rows)


def _picture(found: Any) -> bytes:
    """The loss over the iterations, as PNG."""
    from ...figures import descent_curves

    picture, drawn = BytesIO(), descent_curves(found)
    drawn.set_size_inches(5.2, 3.4)
    drawn.savefig(picture, format="png", dpi=90)
    return picture.getvalue()


def _pixmap(picture: bytes, width: int) -> QPixmap:
    pixmap = QPixmap()
    pixmap.loadFromData(picture)
    return pixmap.scaledToWidth(max(width, 200), Qt.TransformationMode.SmoothTransformation)
