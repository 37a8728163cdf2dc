"""Which row is better than the baseline, by how much, and how sure is that?

A case scored by several seeds counts once, with the mean of its seeds; intervals and the clustered test take skulls,
not cases, for independent. Rows are compared by their Dice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..statistics import Interval, Significance, mean_interval, wilcoxon
from .recipe import load_study
from .scores import METRICS, Method, Scores


@dataclass(frozen=True)
class Planned:
    """A row that a study asks for."""

    row: str
    label: str
    tables: tuple[str, ...]


def planned_rows(study: Path | str) -> list[Planned]:
    """The rows of a study's YAML. Raises ConfigError as `recipe.load_study`."""
    _, asked = load_study(study)
    return [Planned(row, entry.label, entry.tables) for row, entry in asked.rows.items()]


@dataclass(frozen=True)
class Entry:
    """A row on one distribution; a missing one has no metric. None where the question does not arise."""

    row: str
    label: str
    distribution: str
    seeds: int = 0
    synthetic_cases: int | None = None
    metrics: Mapping[str, Interval] | None = None  # by the names of METRICS
    without_distance: int = 0  # cases left out of the distances, for want of a surface
    seed_spread: float | None = None  # standard deviation of the seeds' mean Dice
    against_baseline: Significance | None = None

    @property
    def missing(self) -> bool:
        return self.metrics is None


def table_entries(scores: Scores, table: str, *, planned: Sequence[Planned] = ()) -> list[Entry]:
    """The rows of a table, for each distribution in turn: the baseline, then as planned, others by fewest cases."""
    wanted = {each.row: each.label for each in planned if table in each.tables}
    found = sorted(scores.of_table(table), key=lambda method: (method.first.synthetic_cases, method.first.row))
    if not found and not wanted:
        return []
    baseline = scores.baseline
    rows = [baseline.first.row] if baseline else []
    rows = list(dict.fromkeys([*rows, *wanted, *(method.first.row for method in found)]))
    return [
        entry(scores.methods[row], name, baseline=baseline) if row in scores.methods else Entry(row, wanted[row], name)
        for name in scores.distributions
        for row in rows
    ]


def entry(method: Method, distribution: str, *, baseline: Method | None = None) -> Entry:
    """Means with intervals of one row on one distribution, and whether it differs from the baseline."""
    skulls = np.array(method.skulls(distribution))
    means = {metric: case_means(method, distribution, metric) for metric in METRICS}
    measured = {metric: np.isfinite(values) for metric, values in means.items()}
    by_seed = method.values("dice", distribution).mean(axis=1)
    compared = None
    if baseline is not None and baseline is not method:
        plain = case_means(baseline, distribution, "dice")
        compared = wilcoxon(means["dice"], plain, clusters=skulls.tolist())
    return Entry(
        method.first.row,
        method.first.label,
        distribution,
        seeds=len(method.runs),
        synthetic_cases=method.first.synthetic_cases,
        metrics={
            metric: mean_interval(values[measured[metric]], clusters=skulls[measured[metric]].tolist())
            for metric, values in means.items()
            if measured[metric].any()
        },
        without_distance=int((~measured["hd95_mm"]).sum()),
        seed_spread=float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None,
        against_baseline=compared,
    )


def case_means(method: Method, distribution: str, metric: str) -> np.ndarray:
    """A metric of each case, float (cases,): the mean over the seeds that have it, NaN where none has."""
    values = method.values(metric, distribution)
    there = np.isfinite(values)
    return np.where(there, values, 0).sum(axis=0) / np.where(there.any(axis=0), there.sum(axis=0), np.nan)


def spread(
    scores: Scores, table: str, metric: str = "dice", *, planned: Sequence[Planned] = ()
) -> dict[str, dict[str, np.ndarray]]:
    """Distribution -> label of each row of a table -> the metric of each case that has it, none for a missing row."""
    found: dict[str, dict[str, np.ndarray]] = {name: {} for name in scores.distributions}
    for each in table_entries(scores, table, planned=planned):
        values = np.empty(0) if each.missing else case_means(scores.methods[each.row], each.distribution, metric)
        found[each.distribution][each.label] = values[np.isfinite(values)]
    return found


@dataclass(frozen=True)
class CurvePoint:
    """Mean Dice of a row trained with so many synthetic cases, for Figure 5."""

    mix: str  # what the row has in common with others of the curve: the label of the one with the most cases
    synthetic_cases: int
    distribution: str
    dice: Interval


def curve(scores: Scores) -> list[CurvePoint]:
    """The points of Figure 5, fewest cases first; the baseline, if it was run, with 0 cases and no mix."""
    methods = scores.of_table("figure_5")
    if scores.baseline is not None:
        methods = [scores.baseline] + [method for method in methods if method.first.synthetic_cases]
    methods = sorted(methods, key=lambda method: method.first.synthetic_cases)
    label = {_mix(method): method.first.label for method in methods}  # of the last, which has the most
    return [
        CurvePoint(
            label[_mix(method)] if method.first.synthetic_cases else "",
            method.first.synthetic_cases,
            name,
            mean_interval(case_means(method, name, "dice"), clusters=method.skulls(name)),
        )
        for method in methods
        for name in scores.distributions
    ]


def _mix(method: Method) -> tuple[str, frozenset[str]]:
    """What a row is trained on but for the number of cases."""
    return method.first.geometric, frozenset(method.first.sets)
