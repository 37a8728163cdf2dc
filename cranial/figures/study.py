"""What a study found and what it costs: Dice against the number of synthetic cases (Figure 5), method beside method
(Figure 7), hours part by part.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, NullLocator

from ..statistics import Interval
from .style import FAINT, INK, Figure, figure

_COLOURS = {"seen": "#2f7fc1", "unseen": "#e2802b"}
_OTHERS = ("#7fb685", "#8d6cab", "#d1495b", "#5f6b7a")
_MARKERS = "osD^v"
_LEAST_DSC = 0.02  # that an axis of means shows: nobody looks for less
_BOUND = {"arithmetic": "#2f7fc1", "memory": "#e2802b"}


def dice_against_cases(points: Sequence[tuple[str, int, str, Interval]], *, title: str = "") -> Figure:
    """Mean Dice against how many synthetic cases a network was trained with, a panel a distribution, Figure 5.

    points: (what was mixed, how many cases, distribution, Dice); 0 cases are the baseline, a dashed line with its
    interval as a band. Raises ValueError without a point.
    """
    if not points:
        raise ValueError("points is empty; run the rows of Figure 5, or give points of other rows")
    names = list(dict.fromkeys(name for _, _, name, _ in points))
    mixes = list(dict.fromkeys(mix for mix, count, _, _ in points if count))
    with figure(max(5.2 * len(names), 6.5), 3.9 + 0.3 * bool(title), title) as drawn:
        grid = drawn.subplots(1, len(names), squeeze=False)[0]
        for axes, name in zip(grid, names, strict=True):
            here = [point for point in points if point[2] == name]
            for _, count, _, dice in here:
                if not count:
                    axes.axhspan(dice.low, dice.high, color=FAINT, alpha=0.18, lw=0)
                    axes.axhline(dice.mean, color=FAINT, ls="--", lw=1.2, label="without synthetic cases")
            for marker, colour, mix in zip(_MARKERS, _palette(mixes), mixes, strict=False):
                curve = sorted((count, dice) for label, count, _, dice in here if label == mix and count)
                _band(axes, curve, marker, colour, mix)
            counts = sorted({count for _, count, _, _ in points if count})
            axes.set(title=name, xlabel="synthetic cases", xlim=(min(counts, default=1) / 1.5,
                                                                  1.5 * max(counts, default=10)))
            axes.set_xscale("log")
            axes.set_xticks(counts)
            axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.tick_params(color=FAINT)
            if np.ptp(axes.get_ylim()) < _LEAST_DSC:
                middle = np.mean(axes.get_ylim())
                axes.set_ylim(middle - _LEAST_DSC / 2, middle + _LEAST_DSC / 2)
        grid[0].set_ylabel("DSC, mean and 95 % interval")
        handles, labels = grid[0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside lower left", ncols=4)
    return drawn


def methods_compared(values: Mapping[str, Mapping[str, Sequence[float]]], *, score: str = "DSC", lowest: float = 0.0,
                     highest: float | None = 1.0, title: str = "") -> Figure:
    """A line a method, a dot a case, a box from quartile to quartile; a panel a distribution, Figure 7.

    values: distribution -> method -> the score of each case; a method without a case is written "missing". The first
    method is what the others are compared with: a dashed line at its median. lowest, highest: ends of the axis, None
    for wherever the scores end. Raises ValueError without a method.
    """
    labels = list(dict.fromkeys(label for methods in values.values() for label in methods))
    if not labels:
        raise ValueError("values holds no method; give the scores of at least one")
    rng = np.random.default_rng(0)  # how far a dot lies above its line says nothing
    with figure(max(5.0 * len(values), 6.5), 1.3 + 0.42 * len(labels) + 0.3 * bool(title), title) as drawn:
        grid = drawn.subplots(1, len(values), squeeze=False, sharey=True)[0]
        for axes, colour, (name, methods) in zip(grid, _palette(list(values)), values.items(), strict=True):
            for place, label in enumerate(labels):
                scores = np.asarray(methods.get(label, ()), float)
                if not len(scores):
                    axes.text(0.5, place, "missing", transform=axes.get_yaxis_transform(), ha="center", va="center",
                              color=FAINT, fontsize=9)
                    continue
                axes.plot(scores, place + rng.uniform(-0.26, 0.26, len(scores)), "o", color=colour, ms=3, alpha=0.35,
                          mew=0, zorder=1)
                _box(axes, scores, place)
            first = np.asarray(methods.get(labels[0], ()), float)
            if len(first):
                axes.axvline(np.median(first), color=FAINT, ls="--", lw=1, zorder=0)
            axes.set(title=name, xlabel=score, yticks=range(len(labels)), yticklabels=labels,
                     ylim=(len(labels) - 0.5, -0.5), xlim=(lowest, highest))
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="y", length=0)
            axes.tick_params(axis="x", color=FAINT)
    return drawn


def _palette(names: Sequence[str]) -> list[str]:
    others = iter(_OTHERS * (1 + len(names) // len(_OTHERS)))
    return [_COLOURS.get(name) or next(others) for name in names]


def _band(axes: Axes, curve: Sequence[tuple[int, Interval]], marker: str, colour: str, label: str) -> None:
    if not curve:
        return
    counts = [count for count, _ in curve]
    low, high = ([getattr(dice, end) for _, dice in curve] for end in ("low", "high"))
    axes.fill_between(counts, low, high, color=colour, alpha=0.18, lw=0)
    axes.plot(counts, [dice.mean for _, dice in curve], marker=marker, color=colour, ms=5, label=label)
    if len(curve) == 1:  # a band of no width is not seen
        axes.vlines(counts, low, high, color=colour, lw=1.2)


def _box(axes: Axes, scores: np.ndarray, place: int) -> None:
    low, lower, middle, upper, high = np.percentile(scores, [5, 25, 50, 75, 95])
    axes.hlines(place, low, high, color=INK, lw=1, zorder=2)
    box = Rectangle((lower, place - 0.16), upper - lower, 0.32, facecolor="white", edgecolor=INK, lw=1, alpha=0.85)
    axes.add_patch(box).set_zorder(3)
    axes.vlines(middle, place - 0.16, place + 0.16, color=INK, lw=2.2, zorder=4)



def cost_by_part(costs: Mapping[str, float], *, unit: str, bound: Mapping[str, str] | None = None,
                 title: str = "") -> Figure:
    """What each part of a study costs, a bar each; unit: what is counted, such as "A100 hours".

    bound: what each part waits for, "arithmetic" or "memory", as colours. Raises ValueError without a part.
    """
    if not costs:
        raise ValueError("costs holds no part; give at least one")
    with figure(9.5, 1.2 + 0.3 * len(costs) + 0.3 * bool(title), title) as drawn:
        axes = drawn.subplots()
        for place, (name, value) in enumerate(costs.items()):
            axes.barh(place, value, height=0.7, color=_BOUND[bound[name]] if bound else FAINT)
            axes.text(value, place, f" {_short(value)}", va="center", fontsize=9)
        axes.set(yticks=range(len(costs)), yticklabels=list(costs), ylim=(len(costs) - 0.5, -0.5), xlabel=unit,
                 xlim=(0, 1.12 * max(costs.values())))
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        if bound:
            patches = [Patch(color=colour, label=f"{name} takes longer") for name, colour in _BOUND.items()]
            drawn.legend(handles=patches, loc="outside lower left", ncols=2)
    return drawn


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
