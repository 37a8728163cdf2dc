"""Where a proposal and the truth differ: in 3-D, in section, and in numbers."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..volume import Volume
from .render import build_scene, render
from .sections import bounds_mm, middle_mm, section
from .solids import facing
from .style import FAINT, Figure, figure, key, show

_METHOD_COLOURS = ("#e2802b", "#2f7fc1", "#7fb685", "#d1495b", "#8d6cab")


def comparison(reference: Volume, predicted: Volume, defective: Volume, *, score: str = "", title: str = "") -> Figure:
    """Truth, proposal, and their difference, in 3-D and in two sections; all three volumes on one grid.

    score: words about how well they agree, for the title, such as "DSC 0.91".
    Raises ValueError where the grids differ in shape.
    """
    differing = difference(reference, predicted, defective)
    view = facing(reference if reference.mask.any() else predicted, defective)
    pieces = {"implant": reference, "proposal": predicted}
    at_mm = middle_mm(pieces)
    low, high = bounds_mm(pieces)
    across_mm = 1.3 * float((high - low).max())
    with figure(13, 3.3, "   ".join(part for part in (title, score) if part)) as drawn:
        panels = drawn.subplots(1, 5)
        solids = ({"bone": defective, "implant": reference}, {"bone": defective, "proposal": predicted}, differing)
        for axes, layers, name in zip(panels, solids, ("truth", "proposal", "difference"), strict=False):
            show(axes, render(build_scene(layers, detail_vox=200), view=view, size=300), name)
        for axes, plane in zip(panels[3:], ("axial", "coronal"), strict=True):
            section(axes, {"bone": defective, **pieces}, plane, at_mm, across_mm=across_mm)
        key(drawn, ["implant", "proposal", "agreed", "missed", "extra"])
    return drawn


def difference(reference: Volume, predicted: Volume, defective: Volume) -> dict[str, Volume]:
    """Layers: the bone, what truth and proposal have in common, what only the truth has and what only the proposal.

    Raises ValueError where the grids differ in shape.
    """
    if not reference.shape == predicted.shape == defective.shape:
        raise ValueError(f"reference, predicted and defective have shapes {reference.shape}, {predicted.shape}, "
                         f"{defective.shape}; bring them onto one grid with volume.resample")
    truth, found = reference.mask, predicted.mask
    return {
        "bone": defective,
        "agreed": defective.with_mask(truth & found),
        "missed": defective.with_mask(truth & ~found),
        "extra": defective.with_mask(found & ~truth),
    }


def score_chart(scores: Mapping[str, Sequence[float]], cases: Sequence[str], *, score: str = "DSC",
                title: str = "") -> Figure:
    """A line a case, a dot a method, 0 to 1; a dashed line at each method's mean.

    Raises ValueError where a method does not have one score a case.
    """
    for name, values in scores.items():
        if len(values) != len(cases):
            raise ValueError(f"{name!r} has {len(values)} scores for {len(cases)} cases; give one a case")
    with figure(8, 1.2 + 0.32 * len(cases), title) as drawn:
        axes = drawn.subplots()
        places = np.arange(len(cases))[::-1]
        axes.hlines(places, 0, 1, color="#e8e8e8", lw=1, zorder=0)
        for colour, (name, values) in zip(_METHOD_COLOURS, scores.items(), strict=False):
            axes.axvline(np.mean(values), color=colour, ls="--", lw=1, zorder=1)
            axes.plot(values, places, "o", color=colour, ms=8, label=f"{name}, mean {np.mean(values):.2f}", zorder=2)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.7, len(cases) - 0.3), yticks=places, yticklabels=cases, xlabel=score)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", color=FAINT)
        drawn.legend(loc="outside lower left", ncols=3)
    return drawn
