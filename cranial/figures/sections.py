"""Heads in section: bone as it is cut, pieces as outlines, in the patient's planes and millimetres."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes

from ..resampling import bounding_box, sample
from ..volume import Volume
from .render import COLOURS, rgb
from .style import PAPER, Figure, figure, key, letters, scale_bar, show

# plane: (axis to the right, axis down, depth axis) as signed LPS axes, and the letters left, right, top, bottom.
# Radiological: axial seen from the feet, coronal from the front, sagittal from the patient's left.
PLANES = {
    "axial": ((0, 1), (1, 1), 2, "RLAP"),
    "coronal": ((0, 1), (2, -1), 1, "RLSI"),
    "sagittal": ((1, 1), (2, -1), 0, "APSI"),
}
HEAT = "plasma"  # matplotlib's: dark to bright, and the same order to every eye


def slices(layers: Mapping[str, Volume], *, at_mm: Sequence[float] | None = None, across_mm: float | None = None,
           title: str = "") -> Figure:
    """Axial, coronal and sagittal sections; "bone" is filled, other layers are outlined.

    layers: named as in COLOURS. at_mm: (L, P, S) where the sections meet; None: the middle of what is not bone, or
    else of the bone. across_mm: width of what is shown around there; None: everything.
    Raises ValueError when all layers are empty.
    """
    at_mm = middle_mm(layers) if at_mm is None else np.asarray(at_mm, float)
    with figure(13, 4.55 + 0.25 * bool(title) + 0.3 * (len(layers) > 1), title) as drawn:
        for axes, plane in zip(drawn.subplots(1, 3), PLANES, strict=True):
            section(axes, layers, plane, at_mm, across_mm=across_mm)
        if len(layers) > 1:
            key(drawn, layers)
    return drawn


def section(axes: Axes, layers: Mapping[str, Volume], plane: str, at_mm: np.ndarray, *,
            across_mm: float | None = None, fill: float | None = None,
            heat: tuple[np.ndarray, np.ndarray] | None = None) -> None:
    """Draw one section, a name in PLANES, through the point (L, P, S) mm; across_mm: a square around it, or all.

    fill: opacity of what is not bone within its outline; None: a third if it is one layer, else nothing.
    heat: values 0 to 1, float (I, J, K), and their affine, laid over it in the colours of HEAT, outlines in white.
    """
    if fill is None:
        fill = 0.35 if len(layers) == 2 else 0.0
    (right, right_sign), (down, down_sign), depth, places = PLANES[plane]
    low, high = bounds_mm(layers)
    span_mm = across_mm or float((high - low).max()) * 1.15
    finest_mm = min(min(volume.spacing_mm) for volume in layers.values())
    pixel_mm = max(0.5 * finest_mm, span_mm / 500)
    count = int(np.ceil(span_mm / pixel_mm))
    onto = np.zeros((4, 4))
    onto[right, 0], onto[down, 1], onto[depth, 2], onto[3, 3] = right_sign * pixel_mm, down_sign * pixel_mm, pixel_mm, 1
    centre = 0.5 * (low + high) if across_mm is None else np.array(at_mm, float)
    centre[depth] = at_mm[depth]
    onto[:3, 3] = centre - onto[:3, :2] @ np.full(2, 0.5 * (count - 1))
    cut = {n: sample(v.mask, v.affine, (count, count, 1), onto)[:, :, 0].T for n, v in layers.items()}
    picture = np.broadcast_to(PAPER, (count, count, 3)).copy()
    for name, share in cut.items():
        opacity = (1.0 if name == "bone" else fill) * share[..., None]
        picture = (1 - opacity) * picture + opacity * rgb(name)
    if heat is not None:
        value = sample(*heat, (count, count, 1), onto)[:, :, 0].T
        opacity = np.minimum(2 * value, 1)[..., None]
        picture = (1 - opacity) * picture + opacity * colormaps[HEAT](value)[..., :3]
    show(axes, picture, f"{plane}, {'LPS'[depth]} = {round(float(at_mm[depth]))} mm")
    for name, share in cut.items():
        if name != "bone" and share.max() > 0.5:
            axes.contour(share, [0.5], colors=["white" if heat else COLOURS[name]], linewidths=1.6)
    letters(axes, *places[:2], top=places[2], bottom=places[3])
    scale_bar(axes, 1 / pixel_mm, length_mm=50 if span_mm > 120 else 10, colour="#d0d0d0", paper=PAPER)


def bounds_mm(layers: Mapping[str, Volume]) -> tuple[np.ndarray, np.ndarray]:
    """The smallest box along L, P, S that holds every layer: its two corners, (3,) each."""
    ends = []
    for volume in layers.values():
        box = bounding_box(volume.mask)
        if box is not None:
            corners = np.array(np.meshgrid(*((s.start, s.stop - 1) for s in box), indexing="ij")).reshape(3, 8).T
            ends.append(volume.voxel_to_mm(corners))
    if not ends:
        raise ValueError("there is nothing to draw: every layer is empty; give at least one mask with a voxel set")
    points = np.concatenate(ends)
    return points.min(axis=0), points.max(axis=0)


def middle_mm(layers: Mapping[str, Volume]) -> np.ndarray:
    """Where sections are worth looking at: in the middle of the largest layer that is not bone, (3,) LPS mm."""
    parts = [volume for name, volume in layers.items() if name != "bone" and volume.mask.any()]
    if not parts:
        low, high = bounds_mm(layers)
        return 0.5 * (low + high)
    largest = max(parts, key=lambda volume: volume.volume_mm3)
    points = largest.voxel_to_mm(np.argwhere(largest.mask))
    return points[np.argmin(np.linalg.norm(points - points.mean(axis=0), axis=1))]
