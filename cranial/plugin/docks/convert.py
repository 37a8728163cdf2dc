"""Convert: the surface of a mask, or the voxels inside a surface, as a layer of its own."""

from typing import Any

from magicgui.widgets import FloatSpinBox
from napari.layers import Surface

from ...volume import MESH_SPACING_MM, SMOOTHING_MM, Volume
from ...volume_io.mesh import surface, voxelise
from ..layers import labels_data, note_of, surface_data, surface_name, triangles_of, volume_of
from .choice import LayerChoice
from .dock import Dock


class ConvertDock(Dock):
    """volume_io.mesh, both ways: smooth surfaces for 3-D, voxels for everything that counts."""

    def __init__(self, napari_viewer: Any) -> None:
        self.mask = LayerChoice(napari_viewer, "bone", label="mask")
        self.surface = LayerChoice(napari_viewer, "bone", label="surface", kind=Surface)
        self.spacing = FloatSpinBox(label="voxels, mm", value=MESH_SPACING_MM, min=0.1, max=8.0, step=0.1)
        buttons = {"Mask to surface": self.to_surface, "Surface to mask": self.to_mask}
        super().__init__(napari_viewer, [self.mask, self.surface, self.spacing], buttons)

    def to_surface(self) -> None:
        """The surface of the chosen mask, as volume.write_mesh writes it; in 3-D it stands for it."""
        layer = self.mask.layer
        name, role = layer.name, note_of(layer).role

        def work(report):
            mask = volume_of(layer)
            parts = surface(mask, smoothing_mm=SMOOTHING_MM)
            return surface_data(*parts, surface_name(name), role, of=name)

        self.run(work, self.put)

    def to_mask(self) -> None:
        """The voxels inside the chosen surface."""
        layer, spacing_mm = self.surface.layer, self.spacing.value

        def work(report):
            mask, affine, _ = voxelise(*triangles_of(layer), name=layer.name, spacing_mm=spacing_mm)
            return labels_data(Volume(mask, affine), f"{layer.name}, voxels", note_of(layer).role)

        self.run(work, self.put)
