"""Where do proposals differ? A map of doubt on the piece and in section, and what one has and another has not."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.patches import Patch

from ..resampling import bounding_box
from ..volume import Volume
from .render import COLOURS, build_scene, render, rgb
from .sections import HEAT, bounds_mm, middle_mm, section
from .solids import facing
from .style import FAINT, Figure, figure, show

_BLUR_MM = 3.0  # within so much around a place of the piece its doubt is averaged
_LEVELS = ("implant", "proposal", "agreed", "missed", "extra")  # layers of the painted piece, whose colours are others
_ONE, _OTHER, _BOTH = "missed", "proposal", "agreed"


def disagreement(skull: Volume, vote: Volume, doubt: np.ndarray, *, note: str = "", title: str = "") -> Figure:
    """The vote; everything that any proposal has, painted with the doubt around it; and the doubt in three sections.

    doubt: 0 where all proposals agree to 1 where they are even, float (I, J, K). note: words for the title.
    Raises ValueError where the shapes differ.
    """
    if not skull.shape == vote.shape == doubt.shape:
        raise ValueError(f"skull, vote and doubt have shapes {skull.shape}, {vote.shape}, {doubt.shape}; "
                         "give the three of one case")
    anything = vote.with_mask(vote.mask | (doubt > 0))
    piece = anything if anything.mask.any() else skull
    view = facing(vote if vote.mask.any() else anything, skull)
    with figure(15, 3.55, "   ".join(part for part in (title, note) if part)) as drawn:
        panels = drawn.subplots(1, 5)
        show(panels[0], render(build_scene({"bone": skull, "proposal": vote}, detail_vox=200), view=view, size=300),
             "what most propose")
        show(panels[1], _painted(skull, anything, doubt, view), "where they differ")
        low, high = bounds_mm({"proposal": piece})
        at_mm, across_mm = middle_mm({"proposal": piece}), min(1.3 * float((high - low).max()), 190.0)
        box = bounding_box(doubt) or (slice(0, 1),) * 3
        corner = vote.affine.copy()
        corner[:3, 3] += corner[:3, :3] @ [part.start for part in box]
        layers = {"bone": skull, "proposal": vote}
        for axes, plane in zip(panels[2:], ("axial", "coronal", "sagittal"), strict=True):
            section(axes, layers, plane, at_mm, across_mm=across_mm, heat=(doubt[box], corner))
        bar = drawn.colorbar(ScalarMappable(cmap=HEAT), ax=panels, shrink=0.75, aspect=16, pad=0.01, ticks=[0, 0.5, 1])
        bar.outline.set_visible(False)
        bar.set_label("disagreement")
    return drawn


def symmetric_differences(skulls: Mapping[str, Volume], one: Sequence[Volume], other: Sequence[Volume], *,
                          names: tuple[str, str], notes: Sequence[str] = (), title: str = "",
                          pixels: int = 300) -> Figure:
    """A row a case: what both methods propose, what only the one does and what only the other, in 3-D and in section.

    skulls: by name; one, other: a piece for each; names: of the methods; notes: words for each case. pixels: edge of
    the picture in 3-D; fewer are drawn faster.
    """
    with figure(9, 3.0 * len(skulls) + 0.45 + 0.3 * bool(title), title) as drawn:
        grid = drawn.subplots(len(skulls), 3, squeeze=False)
        for number, (line, (name, skull)) in enumerate(zip(grid, skulls.items(), strict=True)):
            mine, theirs = one[number].mask, other[number].mask
            parts = {_BOTH: mine & theirs, _ONE: mine & ~theirs, _OTHER: theirs & ~mine}
            layers = {part: skull.with_mask(mask) for part, mask in parts.items()}
            anything = skull.with_mask(mine | theirs)
            scene = build_scene({"bone": skull, **layers}, detail_vox=200)
            show(line[0], render(scene, view=facing(anything, skull), size=pixels))
            line[0].set_ylabel(name)
            if notes:
                line[0].set_xlabel(notes[number], labelpad=2)
            around = {"proposal": anything if anything.mask.any() else skull}
            low, high = bounds_mm(around)
            across_mm = min(1.3 * float((high - low).max()), 190.0)
            for axes, plane in zip(line[1:], ("axial", "coronal"), strict=True):
                section(axes, {"bone": skull, **layers}, plane, middle_mm(around), across_mm=across_mm, fill=0.85)
        words = {"in both": _BOTH, f"{names[0]} only": _ONE, f"{names[1]} only": _OTHER}
        drawn.legend(handles=[Patch(facecolor=COLOURS[part], edgecolor=FAINT, lw=0.5, label=word)
                              for word, part in words.items()],
                     loc="outside lower left", ncols=3, fontsize=9.5, handlelength=1, handleheight=1)
    return drawn


def _painted(skull: Volume, piece: Volume, doubt: np.ndarray, view: tuple[float, float]) -> np.ndarray:
    """The piece in its skull, in the colours of the mean doubt around each of its voxels."""
    from scipy.ndimage import gaussian_filter

    levels = {name: np.zeros_like(piece.mask) for name in _LEVELS}
    box = bounding_box(piece.mask)
    if box is not None:
        blur_vox = _BLUR_MM / np.array(piece.spacing_mm)
        share = gaussian_filter(piece.mask[box].astype(np.float32), blur_vox)
        local = gaussian_filter(doubt[box].astype(np.float32), blur_vox) / np.maximum(share, 1e-6)
        number = np.clip(np.floor(local * len(_LEVELS)), 0, len(_LEVELS) - 1)
        for level, mask in enumerate(levels.values()):
            mask[box] = piece.mask[box] & (number == level)
    scene = build_scene({"bone": skull, **{name: piece.with_mask(mask) for name, mask in levels.items()}},
                        detail_vox=200)
    heat = colormaps[HEAT]((np.arange(len(_LEVELS)) + 0.5) / len(_LEVELS))[:, :3]
    return render(replace(scene, colours=np.stack([rgb("bone"), *heat])), view=view, size=300)
