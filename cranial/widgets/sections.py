"""A head to slice: its voxels under NiiVue, in the patient's three planes, moved by the mouse."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from .. import figures
from ..volume import Volume, resample

if TYPE_CHECKING:
    import ipyniivue

_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def sections(layers: Mapping[str, Volume], *, height: int = 480) -> "ipyniivue.NiiVue":
    """Axial, coronal and sagittal sections, as radiologists have them; click or drag to move, scroll through.

    layers: named as in figures.COLOURS, later ones over earlier ones; on the grid of the first, or brought there. They
    begin in the middle of what is not bone. Raises ValueError when all layers are empty.
    """
    import ipyniivue
    import nibabel

    first = next(iter(layers.values()))
    labels = np.zeros(first.shape, np.uint8)
    for number, layer in enumerate(layers.values(), 1):
        labels[resample(layer, like=first).mask] = number
    image = nibabel.as_closest_canonical(nibabel.Nifti1Image(labels, _RAS @ first.affine))
    view = ipyniivue.NiiVue(
        height=height, back_color=(*figures.PAPER, 1.0), is_radiological_convention=True, crosshair_width=0.4,
        crosshair_color=(0.9, 0.9, 0.9, 0.7), font_color=(0.75, 0.75, 0.75, 1.0), is_colorbar=False, show_legend=False,
        multiplanar_show_render=ipyniivue.ShowRender.NEVER, drag_and_drop_enabled=False, loading_text="",
    )
    volume = ipyniivue.Volume(data=image.to_bytes(), name="head.nii")
    colours = np.array([255 * np.array(figures.PAPER), *(255 * figures.rgb(name) for name in layers)]).astype(int)
    red, green, blue = colours.T.tolist()
    volume.set_colormap_label({"R": red, "G": green, "B": blue, "A": [255] * len(red), "I": list(range(len(red))),
                               "labels": ["", *layers]})
    def fill() -> None:
        view.load_volumes([volume])
        move_to(view, first, figures.middle_mm(layers))

    view.on_canvas_attached(fill)  # what is loaded before there is a canvas never comes to be seen
    return view


def move_to(view: "ipyniivue.NiiVue", first: Volume, place_mm: np.ndarray) -> None:
    """Let the sections meet at a place, (3,) LPS mm. first: the first layer of the view, whose grid is the view's."""
    import nibabel

    shares = (first.mm_to_voxel(place_mm[None])[0] + 0.5) / first.shape  # 0 to 1 along each axis of the array
    shares_ras = np.empty(3)  # and as NiiVue counts them
    for share, (axis, sign) in zip(shares, nibabel.io_orientation(_RAS @ first.affine), strict=True):
        shares_ras[int(axis)] = share if sign > 0 else 1 - share
    view.scene.crosshair_pos = shares_ras.tolist()
