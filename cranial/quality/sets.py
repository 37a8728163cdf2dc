"""Is a set of synthetic cases varied, does it cover the real ones, and is any of it merely remembered?

Cases are compared where they lie in their cubes, voxel by voxel. A training case that was shifted, turned or bent is
a new case by these numbers; so they find what a generator has memorised, not what augmentation has moved.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from ..surface import Spacing
from .facts import FACTS, Facts, facts, summary
from .neighbours import Coverage, NearestCase, PairDistances, check_neighbours, expected_coverage
from .words import MEASURES, CasePool, Words, pack, read_case

# Among 340 phantoms at 64^3 no two cases are nearer than 0.58 by the lesser Dice, and no two skulls than 0.77; a case
# beside itself, smoothed with a sigma of 0.6 and 0.8 voxels, is at 0.98 and 0.82.
COPY_DICE = 0.8

Groups = dict[str, dict[str, np.ndarray]]  # "synthetic", "training", "held_out" -> name -> values


@dataclass(frozen=True, eq=False)
class SetQuality:
    """What was found, value by value; as_dict sums it up. Names of measures: see words.dice_to_all."""

    cases: dict[str, int]  # by group: "synthetic", "training" and, if there are any, "held_out"
    diversity: Groups  # of synthetic and training, by measure: 1 - Dice, a value a pair
    nearest: Groups  # of synthetic and held_out, by measure: Dice with the nearest training case, a value a case
    nearest_index: Groups  # which training case that is
    thresholds: dict[str, float]  # by measure: a case is memorised above it
    coverage: dict[str, dict[str, float]]  # of the training cases, by synthetic and held_out, by measure
    density: dict[str, dict[str, float]]
    expected_coverage: dict[str, float]  # by synthetic and held_out: of as many cases drawn as the training cases are
    facts: Groups  # of all groups, by name: a value a case
    neighbours: int  # k of coverage and density

    def memorised(self, by: str = "lesser") -> np.ndarray:
        """Which synthetic cases are memorised, ascending: the whole case by "lesser", or the skull, or the defect."""
        return np.flatnonzero(self.nearest["synthetic"][by] > self.thresholds[by])

    def kolmogorov_smirnov(self, fact: str, group: str = "synthetic") -> float:
        """How far the distribution of a fact is from that of the training cases: 0 the same values, 1 none between."""
        from scipy.stats import ks_2samp

        return float(ks_2samp(self.facts[group][fact], self.facts["training"][fact]).statistic)

    def as_dict(self) -> dict[str, Any]:
        """Counts, shares, means and quantiles, for JSON."""
        count = self.cases["synthetic"]
        found = {measure: len(self.memorised(measure)) for measure in MEASURES}
        return {
            "cases": dict(self.cases),
            "diversity": _summaries(self.diversity),
            "nearest_dice": _summaries(self.nearest),
            "memorised": {
                measure: {"threshold": self.thresholds[measure], "cases": found[measure],
                          "share": found[measure] / count}
                for measure in MEASURES
            },
            "neighbours": self.neighbours,
            "coverage": self.coverage,
            "expected_coverage": self.expected_coverage,
            "density": self.density,
            "facts": _summaries(self.facts),
            "kolmogorov_smirnov": {
                group: {fact: self.kolmogorov_smirnov(fact, group) for fact in FACTS}
                for group in self.facts if group != "training"
            },
        }


def assess(
    synthetic: CasePool,
    training: CasePool,
    held_out: CasePool | None = None,
    *,
    spacing_mm: Spacing,
    neighbours: int = 5,
    copy_dice: float = COPY_DICE,
    pairs: int = 2000,
    seed: int = 0,
    progress: bool = True,
) -> SetQuality:
    """Compare a synthetic set with the cases it is made from, and with real cases that it has not seen.

    Every case is read once, in order. Kept are the training cases, packed, and those synthetic ones that wait for the
    partner they are compared with. All cases on one grid; held_out: of other skulls, None or empty: none. A core takes
    10 s for 1,000 cases beside 300 at 64^3, and half a second a case at 256^3.

    A synthetic case is memorised if its Dice with a training case is above copy_dice and above what any held-out case
    reaches. neighbours: k of coverage and density. pairs: at most so many for diversity, drawn from (seed, pair).

    Raises ValueError for fewer than two synthetic cases or no more than k training cases, for cases that are no cases
    or on several grids, for copy_dice outside 0 to 1, and for a held-out case that is a training case.
    """
    if not 0 <= copy_dice <= 1:
        raise ValueError(f"copy_dice is {copy_dice}; give a Dice from 0 to 1, such as {COPY_DICE}")
    check_neighbours(len(training), neighbours)
    pools = {"synthetic": synthetic, "training": training}
    pools |= {"held_out": held_out} if held_out is not None and len(held_out) else {}
    apart = {group: PairDistances(len(pools[group]), pairs=pairs, seed=seed) for group in ("synthetic", "training")}
    real: list[Words] = []

    def hold(index: int, words: Words) -> None:
        real.append(words)
        apart["training"].add(index, words)

    described = {"training": _visit(training, "training", None, spacing_mm, hold, progress)}
    nearest = NearestCase.of(real)
    real.clear()  # the table has them
    covering = Coverage(nearest, k=neighbours, progress=progress)
    dice, index_of, coverage, density = {}, {}, {}, {}
    for group in [group for group in ("held_out", "synthetic") if group in pools]:
        rows: list[tuple[np.ndarray, np.ndarray]] = []

        def compare(index: int, words: Words, group: str = group, rows: list = rows) -> None:
            found = nearest.to_all(words)
            rows.append((found.max(axis=0), found.argmax(axis=0)))
            covering.add(found)
            if group in apart:
                apart[group].add(index, words)

        covering.clear()
        described[group] = _visit(pools[group], group, nearest.table.shape, spacing_mm, compare, progress)
        dice[group], index_of[group] = (dict(zip(MEASURES, np.stack(each).T, strict=True))
                                        for each in zip(*rows, strict=True))
        coverage[group], density[group] = covering.coverage(), covering.density()
        if group == "held_out":
            _check_apart(dice[group]["lesser"], index_of[group]["lesser"])
    unseen = dice.get("held_out", {})
    return SetQuality(
        cases={group: len(pool) for group, pool in pools.items()},
        diversity={group: dict(zip(MEASURES, each.distances.T, strict=True)) for group, each in apart.items()},
        nearest=dice,
        nearest_index=index_of,
        thresholds={measure: max([copy_dice, *map(float, unseen.get(measure, ()))]) for measure in MEASURES},
        coverage=coverage,
        density=density,
        expected_coverage={group: expected_coverage(len(training), len(pools[group]), neighbours) for group in dice},
        facts={group: _by_name(described[group]) for group in pools},
        neighbours=neighbours,
    )


def _visit(
    pool: CasePool, group: str, shape: tuple[int, int, int] | None, spacing_mm: Spacing,
    visit: Callable[[int, Words], None], progress: bool,
) -> list[Facts]:
    """Read a pool once, in order: visit(index, words) of each, and the facts of all. shape: None, that of the first."""
    name, found = f"{group.replace('_', '-')} case", []
    for index in tqdm(range(len(pool)), desc=f"{group} cases".replace("_", "-"), unit="case", disable=not progress):
        case = read_case(pool, index, name, shape)
        shape = case.shape[1:]
        visit(index, pack(case))
        found.append(facts(case, spacing_mm))
    return found


def _check_apart(dice: np.ndarray, index: np.ndarray) -> None:
    same = np.flatnonzero(dice == 1)
    if len(same):
        raise ValueError(
            f"held-out case {same[0]} is training case {index[same[0]]}, voxel for voxel; hold out skulls that the "
            "training does not have (skulls.splits), or they say nothing about copies"
        )


def _by_name(described: list[Facts]) -> dict[str, np.ndarray]:
    return {name: np.array([getattr(each, name) for each in described], np.float64) for name in FACTS}


def _summaries(groups: Groups) -> dict[str, dict[str, dict[str, float]]]:
    return {group: {name: summary(values) for name, values in named.items()} for group, named in groups.items()}
