"""What a displacement field does to a skull: the skull, the field and its folds, and what each stiffness costs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import matplotlib
import numpy as np

from ..skulls.defects import Case
from ..volume import Volume
from .render import build_scene, frame, render
from .sections import bounds_mm
from .solids import facing
from .style import FAINT, INK, Figure, bare, figure, key, scale_bar, show

if TYPE_CHECKING:
    from ..registration import Registration

_PICTURE = 260  # pixels


def bent(case: Case, carried: Mapping[str, tuple[Volume, Volume]], fixed: Volume, *,
         notes: Mapping[str, str] | None = None, title: str = "") -> Figure:
    """A case, what it was carried to, a column a name, and the skull it was bent onto: from the hole's side and ahead.

    carried: (defective skull, defect) by name. notes: what to say below each.
    """
    columns = {"moving": (case.defective, case.implant), **carried}
    scenes = {name: build_scene({"bone": skull, "implant": piece}) for name, (skull, piece) in columns.items()}
    sides = {name: facing(piece, skull) for name, (skull, piece) in columns.items()}
    scenes["fixed"] = build_scene({"bone": fixed})
    sides["fixed"] = next(reversed(sides.values()))
    span_mm = max(frame(scene, view)[1] for name, scene in scenes.items() for view in (sides[name], "front"))
    with figure(1.9 * len(scenes), 4.5 + 0.3 * bool(title), title) as drawn:
        grid = drawn.subplots(2, len(scenes), squeeze=False)
        for (above, below), (name, scene) in zip(grid.T, scenes.items(), strict=True):
            show(above, render(scene, view=sides[name], size=_PICTURE, span_mm=span_mm), name)
            note = (notes or {}).get(name, "")
            show(below, render(scene, view="front", size=_PICTURE, span_mm=span_mm), note=note)
        scale_bar(grid[1, -1], _PICTURE / span_mm)
        key(drawn, ["bone", "implant"])
    return drawn


def field_maps(registrations: Mapping[str, "Registration"], carried: Mapping[str, Volume], *,
               title: str = "") -> Figure:
    """Axial sections through fields, a column each: displacement in mm, and by how much it swells or shrinks a voxel.

    carried: the moving skull, bent, by the same names; its outline is drawn, and the section goes through its middle.
    Voxels that are folded (Jacobian 0 and less) are red.
    """
    from ..registration.fields import jacobian

    lengths = {name: found.displacement_mm for name, found in registrations.items()}
    farthest_mm = max(float(np.percentile(length, 99.5)) for length in lengths.values())
    colours = matplotlib.colormaps["PuOr"].with_extremes(under="#d1495b")
    with figure(2.3 * len(registrations) + 0.9, 5.0 + 0.3 * bool(title), title) as drawn:
        grid = drawn.subplots(2, len(registrations), squeeze=False)
        for column, (name, found) in enumerate(registrations.items()):
            low, high = bounds_mm({"bone": carried[name]})
            cube = found.cube
            level = int(round((0.5 * (low[2] + high[2]) - cube.affine[2, 3]) / cube.spacing_mm))
            level = min(max(level, 0), cube.side - 1)
            outline = carried[name].mask[:, :, level].T
            maps = (
                (lengths[name][:, :, level].T, {"cmap": "viridis", "vmin": 0, "vmax": farthest_mm}),
                (jacobian(found.field)[:, :, level].T, {"cmap": colours, "vmin": 1e-6, "vmax": 2}),
            )
            for axes, (values, how) in zip(grid[:, column], maps, strict=True):
                picture = axes.imshow(values, interpolation="nearest", **how)
                axes.contour(outline, [0.5], colors="white" if how["cmap"] == "viridis" else INK, linewidths=0.7)
                bare(axes)
                if column == len(registrations) - 1:
                    bar = drawn.colorbar(picture, ax=axes, shrink=0.8)
                    bar.outline.set_visible(False)
                    bar.ax.tick_params(color=FAINT)
            grid[0, column].set_title(name)
            grid[1, column].set_xlabel(f"{100 * found.quality.folded_share:.2f} % folded")
        grid[0, 0].set_ylabel("displacement, mm")
        grid[1, 0].set_ylabel("Jacobian (1: unchanged)")
    return drawn


def descent_curves(registration: "Registration", *, title: str = "") -> Figure:
    """The objective over the iterations of a registration, level after level, and its two terms."""
    with figure(8.5, 3.5, title) as drawn:
        axes = drawn.subplots()
        first = 0
        for level in registration.levels:
            steps = first + np.arange(len(level.loss))
            terms = ((level.loss, INK, "objective"), (level.mse, "#2f7fc1", "squared difference"),
                     (level.regulariser, "#e2802b", "regulariser"))
            for values, colour, name in terms:
                shown = np.where(values > 0, values, np.nan)  # the axis is logarithmic, and the first field is 0
                axes.semilogy(steps, shown, color=colour, label=name if not first else None)
            axes.axvline(first, color="#e8e8e8", lw=1, zorder=0)
            axes.text(first + 1, 0.97, f"{level.side}³", transform=axes.get_xaxis_transform(), va="top", color=FAINT)
            first += len(level.loss)
        axes.set(xlabel="iteration", xlim=(0, first))
        drawn.legend(loc="outside lower left", ncols=3)
    return drawn


def trade_off(registrations: Mapping[float, "Registration"], *, title: str = "") -> Figure:
    """What each stiffness alpha gives and costs: Dice with the fixed skull, mean displacement, share of folds."""
    alphas = sorted(registrations)
    of = [registrations[alpha].quality for alpha in alphas]
    panels = {
        "Dice with the fixed skull": [quality.dice_after for quality in of],
        "mean displacement, mm": [quality.mean_displacement_mm for quality in of],
        "folded voxels, %": [100 * quality.folded_share for quality in of],
    }
    with figure(11, 3.0, title) as drawn:
        for axes, (name, values) in zip(drawn.subplots(1, 3), panels.items(), strict=True):
            axes.semilogx(alphas, values, marker="o", ms=5, color="#2f7fc1")
            axes.set(xlabel="alpha", title=name)
            axes.set_xticks(alphas, [f"{alpha:,.0f}" for alpha in alphas], rotation=35, ha="right")
            axes.minorticks_off()
            axes.margins(y=0.12)
            if min(values) == 0 or name.startswith("folded"):
                axes.set_ylim(-0.03 * max(max(values), 1e-3), 1.15 * max(max(values), 1e-3))
        drawn.axes[0].axhline(of[0].dice_before, color=FAINT, ls="--", lw=1)
        drawn.axes[0].text(alphas[0], of[0].dice_before, "affine alone", color=FAINT, va="bottom", fontsize=9)
    return drawn
