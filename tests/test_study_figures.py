"""The study's figures show every method and every point, and say where one is missing."""

import numpy as np
import pytest

from cranial import figures
from cranial.statistics import Interval

POINTS = [
    (kind, count, name, Interval(mean, mean - 0.05, mean + 0.05, 24, 12))
    for name in ("seen", "unseen")
    for kind, count, mean in (("", 0, 0.5), ("ir", 100, 0.6), ("ir", 1000, 0.7), ("vae", 100, 0.55))
]


def test_every_point_is_drawn_in_the_panel_of_its_distribution_with_the_baseline_dashed():
    drawn = figures.dice_against_cases(POINTS)
    assert [axes.get_title() for axes in drawn.axes] == ["seen", "unseen"]
    for axes in drawn.axes:
        curves = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
        assert curves["ir"] == [[100, 0.6], [1000, 0.7]] and curves["vae"] == [[100, 0.55]]
        assert axes.get_xscale() == "log"
        dashed = next(line for line in axes.lines if line.get_linestyle() == "--")
        assert set(dashed.get_ydata()) == {0.5}
        drawn.canvas.draw()
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["100", "1,000"]


def test_a_curve_without_a_baseline_is_drawn_all_the_same():
    drawn = figures.dice_against_cases([point for point in POINTS if point[1]])
    assert all(line.get_linestyle() == "-" for axes in drawn.axes for line in axes.lines)


def test_a_curve_needs_a_point():
    with pytest.raises(ValueError, match="points is empty; run the rows of Figure 5"):
        figures.dice_against_cases([])


def test_a_method_is_a_line_with_a_dot_a_case_and_one_without_a_case_is_said_to_be_missing(rng):
    values = {name: {"no aug": rng.random(20), "geo": rng.random(20), "vae": []} for name in ("seen", "unseen")}
    drawn = figures.methods_compared(values)
    labels = [label.get_text() for label in drawn.axes[0].get_yticklabels()]
    assert labels == ["no aug", "geo", "vae"] and drawn.axes[1].get_ylim() == drawn.axes[0].get_ylim()
    for axes, methods in zip(drawn.axes, values.values(), strict=True):
        dots = [line.get_xdata() for line in axes.lines if line.get_marker() == "o"]
        assert [list(each) for each in dots] == [list(methods["no aug"]), list(methods["geo"])]
        missing = [text for text in axes.texts if text.get_text() == "missing"]
        assert [text.get_position()[1] for text in missing] == [2]
        dashed = next(line for line in axes.lines if line.get_linestyle() == "--")
        assert dashed.get_xdata()[0] == np.median(methods["no aug"])


def test_hours_are_a_bar_a_part_coloured_by_what_it_waits_for():
    hours = {"registration": 20.0, "vae": 300.0, "rows": 100.0}
    bound = {"registration": "memory", "vae": "arithmetic", "rows": "arithmetic"}
    (axes,) = figures.cost_by_part(hours, unit="A100 hours", bound=bound).axes
    assert axes.get_xlabel() == "A100 hours"
    assert [bar.get_width() for bar in axes.patches] == [20, 300, 100]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(hours)
    colours = [bar.get_facecolor() for bar in axes.patches]
    assert colours[0] != colours[1] == colours[2]
    (axes,) = figures.cost_by_part(hours, unit="GB").axes
    assert len({bar.get_facecolor() for bar in axes.patches}) == 1
    with pytest.raises(ValueError, match="costs holds no part; give at least one"):
        figures.cost_by_part({}, unit="GB")


def test_methods_compared_needs_a_method():
    with pytest.raises(ValueError, match="values holds no method; give the scores of at least one"):
        figures.methods_compared({"seen": {}})
