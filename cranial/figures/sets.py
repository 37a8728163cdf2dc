"""A synthetic set beside the real ones: how its cases are distributed, and how near each comes to a training case."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from .style import FAINT, INK, Figure, figure

_FACTS = {  # of quality.Facts: label, unit's size, share or count
    "skull_mm3": ("volume of the skull, cm³", 1000.0),
    "defect_mm3": ("volume of the defect, cm³", 1000.0),
    "thickness_mm": ("bone thickness at the defect, mm", 1.0),
    "contact": ("share of the defect's surface on bone, %", 0.01),
    "skull_pieces": ("pieces of the skull", 1.0),
    "defect_pieces": ("pieces of the defect", 1.0),
}
_MEASURES = {"complete": "skull without hole", "defect": "defect", "lesser": "whole case: the lesser of the two"}
_GROUPS = ("training", "held_out", "synthetic")
_REAL = {"color": "#cdc7b9", "histtype": "stepfilled"}
_SYNTHETIC = {"color": "#2f7fc1", "histtype": "step", "linewidth": 1.8}
_LIMIT = "#b5362c"
_BINS = 20


def fact_distributions(facts: Mapping[str, Mapping[str, np.ndarray]], *,
                       kolmogorov_smirnov: Mapping[str, float] | None = None, title: str = "") -> Figure:
    """A panel a fact: how it is distributed over training and synthetic cases, in shares of each.

    Held-out cases, which are few, are a bar above: from their 5th to their 95th percentile, with a dot at the median.

    facts: "training", "held_out", "synthetic", or some of these -> name of a fact -> values, a case each: the facts of
    a quality.SetQuality. kolmogorov_smirnov: fact -> distance of synthetic from training cases, written beside it.
    Raises ValueError for groups and facts that are none of these.
    """
    _check(facts, _FACTS, "facts")
    names = [name for name in _FACTS if all(name in named for named in facts.values())]
    rows = -(-len(names) // 3)
    with figure(11, 2.55 * rows + 0.4 + 0.3 * bool(title), title) as drawn:
        grid = drawn.subplots(rows, 3, squeeze=False).ravel()
        for axes in grid[len(names):]:
            axes.axis("off")
        for axes, name in zip(grid, names, strict=False):
            label, unit = _FACTS[name]
            shown = {group: np.asarray(facts[group][name]) / unit for group in _GROUPS if group in facts}
            bins = _bins(list(shown.values()), whole=name.endswith("pieces"))
            held_out = shown.pop("held_out", None)
            _histograms(axes, shown, bins)
            if held_out is not None:
                _bar(axes, held_out)
            axes.set(xlabel=label)
            if kolmogorov_smirnov and name in kolmogorov_smirnov:
                axes.set_title(f"KS distance {kolmogorov_smirnov[name]:.2f}", loc="right", fontsize=9, color=FAINT)
        _finish(drawn, grid[::3], facts)
    return drawn


def nearest_dice(nearest: Mapping[str, Mapping[str, np.ndarray]], thresholds: Mapping[str, float], *,
                 title: str = "") -> Figure:
    """How near synthetic and held-out cases come to a training case: Dice with the nearest, by skull, defect and both.

    nearest: "synthetic", "held_out", or one of these -> measure -> Dice, a case each. thresholds: measure -> Dice above
    which a case is memorised: nearest and thresholds of a quality.SetQuality. Raises ValueError as fact_distributions.
    """
    _check(nearest, _MEASURES, "nearest")
    names = [name for name in _MEASURES if all(name in named for named in nearest.values())]
    with figure(11, 3.2 + 0.3 * bool(title), title) as drawn:
        panels = drawn.subplots(1, len(names), squeeze=False).ravel()
        for axes, name in zip(panels, names, strict=True):
            shown = {group: np.asarray(nearest[group][name]) for group in _GROUPS if group in nearest}
            _histograms(axes, shown, np.linspace(0, 1, 26))
            axes.set(xlabel="Dice with the nearest training case", xlim=(0, 1))
            axes.set_title(_MEASURES[name], loc="left", pad=22)
            axes.axvline(thresholds[name], color=_LIMIT, linewidth=1.2)
            if "synthetic" in shown:
                above = np.count_nonzero(shown["synthetic"] > thresholds[name])
                axes.annotate(f"{above} of {len(shown['synthetic'])} memorised", (thresholds[name], 1), (0, 4),
                              xycoords=("data", "axes fraction"), textcoords="offset points",
                              ha="right" if thresholds[name] > 0.5 else "left", color=_LIMIT, fontsize=9)
        _finish(drawn, panels[:1], nearest)
    return drawn


def _histograms(axes: Axes, shown: Mapping[str, np.ndarray], bins: np.ndarray) -> None:
    for group, values in shown.items():
        style = _SYNTHETIC if group == "synthetic" else _REAL
        axes.hist(values, bins, weights=np.full(len(values), 100 / len(values)), label=_label(group, values), **style)


def _bar(axes: Axes, values: np.ndarray) -> None:
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    top = 1.12 * axes.get_ylim()[1]
    axes.set_ylim(0, top)
    axes.plot([low, middle, high], [0.96 * top] * 3, color=INK, linewidth=1.2, marker="o", markevery=[1],
              markersize=4.5, label=_label("held_out", values))


def _label(group: str, values: np.ndarray) -> str:
    return f"{group.replace('_', '-')} cases ({len(values)})"


def _bins(groups: list[np.ndarray], *, whole: bool) -> np.ndarray:
    low, high = (float(side(np.concatenate(groups))) for side in (np.min, np.max))
    if whole:
        return np.arange(low - 0.5, high + 1.5, max(1, -(-int(high - low + 1) // _BINS)))
    return np.linspace(low, high if high > low else low + 1, _BINS + 1)


def _finish(drawn: Figure, left: list[Axes], groups: Mapping[str, Mapping]) -> None:
    for axes in drawn.axes:
        axes.tick_params(color=FAINT)
    for axes in left:
        axes.set_ylabel("cases, %")
    handles, labels = drawn.axes[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower left", ncols=len(groups))


def _check(groups: Mapping[str, Mapping], names: Mapping, argument: str) -> None:
    odd = [group for group in groups if group not in _GROUPS]
    if odd or not groups:
        raise ValueError(f"{argument} has {odd or 'nothing'}; give groups named {', '.join(_GROUPS)}")
    if not any(all(name in named for named in groups.values()) for name in names):
        raise ValueError(f"{argument} has no values of one name in all groups; give some of {', '.join(names)}")
