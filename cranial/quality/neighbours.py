"""Who is near whom? Nearest cases, pairs of a set, and which real cases have a synthetic one in their neighbourhood."""

import numpy as np
from tqdm.auto import tqdm

from ..rng import generator
from .words import MEASURES, CasePool, Words, WordsTable, dice_to_all, pack, read_case

_STREAM = 1_000_008  # ends the key: the pairs of a set share their numbers with nothing else


class NearestCase:
    """The cases of a pool, to ask which is nearest to another: exact, 3 ms a question for 300 cases at 64^3.

    Holds about 20 bytes for each 4 x 4 x 4 voxels with anything in them: 10 kB a case at 64^3, 0.3 MB at 256^3.
    """

    def __init__(self, pool: CasePool, *, name: str = "training case", progress: bool = False) -> None:
        """Read a pool once. Raises ValueError for a pool without cases, and for cases that are of several shapes."""
        if not len(pool):
            raise ValueError(f"there is no {name}; give a pool of at least one")
        cases: list[Words] = []
        for index in tqdm(range(len(pool)), desc=name, unit="case", disable=not progress):
            cases.append(pack(read_case(pool, index, name, cases[0].shape if cases else None)))
        self.table = WordsTable(cases)

    @classmethod
    def of(cls, cases: list[Words]) -> "NearestCase":
        """Of cases that are words already; at least one."""
        nearest = cls.__new__(cls)
        nearest.table = WordsTable(cases)
        return nearest

    def __len__(self) -> int:
        return len(self.table)

    def dice(self, case: np.ndarray, *, by: str = "lesser") -> tuple[int, float]:
        """(index, Dice) of the nearest by one of MEASURES; the first of several. ValueError for another shape.

        case: uint8 or bool (2, I, J, K). By the "lesser" of skull's and defect's Dice, it is near 1 for a copy of a
        case, not for the same skull with another hole.
        """
        if by not in MEASURES:
            raise ValueError(f"by is {by!r}; choose from {', '.join(MEASURES)}")
        found = self.to_all(case)[:, MEASURES.index(by)]
        return int(found.argmax()), float(found.max())

    def to_all(self, case: np.ndarray | Words) -> np.ndarray:
        """Dice with every case of the pool, float64 (N, 4), a column each of MEASURES. ValueError as `dice`."""
        if not isinstance(case, Words):
            case = pack(read_case([case], 0, "case", self.table.shape))
        return dice_to_all(case, self.table)


class PairDistances:
    """1 - Dice of pairs of a set that comes case by case; a case is kept until its last partner has come.

    All pairs if they are at most `pairs`; else that many, pair p drawn from (seed, p).
    """

    def __init__(self, cases: int, *, pairs: int, seed: int) -> None:
        """Choose the pairs. Raises ValueError for fewer than two cases, and for fewer than one pair."""
        if cases < 2 or pairs < 1:
            raise ValueError(f"{cases} cases and {pairs} pairs; diversity needs at least 2 cases and 1 pair")
        if cases * (cases - 1) // 2 <= pairs:
            chosen = [(one, other) for other in range(cases) for one in range(other)]
        else:
            drawn = (generator(seed, pair, _STREAM).choice(cases, 2, replace=False) for pair in range(pairs))
            chosen = [(int(min(two)), int(max(two))) for two in drawn]
        self._earlier: dict[int, list[tuple[int, int]]] = {}  # later case -> (pair, earlier case)
        self._last: dict[int, int] = {}  # case -> the last one it waits for
        for pair, (one, other) in enumerate(chosen):
            self._earlier.setdefault(other, []).append((pair, one))
            self._last[one] = max(other, self._last.get(one, 0))
        self._kept: dict[int, Words] = {}
        self.distances = np.full((len(chosen), len(MEASURES)), np.nan)  # a row a pair, a column each of MEASURES

    def add(self, index: int, case: Words) -> None:
        """Case `index` of the set; cases come in ascending order."""
        waiting = self._earlier.pop(index, [])
        if waiting:
            found = dice_to_all(case, WordsTable([self._kept[one] for _, one in waiting]))
            self.distances[[pair for pair, _ in waiting]] = 1 - found
        for _, one in waiting:
            if self._last[one] == index:
                self._kept.pop(one, None)
        if index in self._last:
            self._kept[index] = case


def diversity(pool: CasePool, *, pairs: int = 2000, seed: int = 0) -> dict[str, np.ndarray]:
    """1 - Dice of pairs of a set, (P,) for each of MEASURES. Raises ValueError as PairDistances and read_case do.

    Cases are compared where they lie in their cubes: a shift counts as a difference.
    """
    found, shape = PairDistances(len(pool), pairs=pairs, seed=seed), None
    for index in range(len(pool)):
        case = pack(read_case(pool, index, "case", shape))
        found.add(index, case)
        shape = case.shape
    return dict(zip(MEASURES, found.distances.T, strict=True))


class Coverage:
    """Coverage and density of Naeem et al. 2020 (arXiv:2002.09797), of a set that comes case by case.

    A real case's neighbourhood reaches to its k-th nearest other real case; coverage is the share of real cases with a
    synthetic one in their neighbourhood, density how many neighbourhoods a synthetic case lies in, over k: 1 on average
    for cases like the real ones. Distances are 1 - Dice, so they saturate; cases without a common voxel are no
    neighbours, whatever the neighbourhood.
    """

    def __init__(self, real: NearestCase, *, k: int, progress: bool = False) -> None:
        """Measure the neighbourhoods of N real cases. Raises ValueError unless N > k >= 1."""
        check_neighbours(len(real), k)
        self.k, self.radii = k, np.empty((len(real), len(MEASURES)))
        for index in tqdm(range(len(real)), desc="neighbourhoods", unit="case", disable=not progress):
            distances = 1 - np.delete(real.to_all(real.table[index]), index, axis=0)
            self.radii[index] = np.partition(distances, k - 1, axis=0)[k - 1]
        self.clear()

    def clear(self) -> None:
        """Begin another set."""
        self._covered, self._inside, self._count = np.zeros(self.radii.shape, bool), np.zeros(len(MEASURES)), 0

    def add(self, dice: np.ndarray) -> None:
        """Dice (N, 4) of a synthetic case with each real one."""
        distances = 1 - dice
        inside = (distances <= self.radii) & (distances < 1)
        self._covered |= inside
        self._inside += inside.sum(axis=0)
        self._count += 1

    def coverage(self) -> dict[str, float]:
        """By each of MEASURES."""
        return dict(zip(MEASURES, map(float, self._covered.mean(axis=0)), strict=True))

    def density(self) -> dict[str, float]:
        """By each of MEASURES."""
        # 1 / (k M) sum over synthetic, sum over real of 1[distance <= radius]
        return dict(zip(MEASURES, map(float, self._inside / (self.k * max(1, self._count))), strict=True))


def check_neighbours(real: int, k: int) -> None:
    """Raise ValueError unless each of `real` cases has a k-th nearest other one."""
    if not 1 <= k < real:
        raise ValueError(f"k is {k} for {real} real cases; give a k of at least 1, and more real cases than k")


def expected_coverage(real: int, synthetic: int, k: int) -> float:
    """The coverage that as many cases drawn as the real ones are would have on average (Naeem et al. 2020, eq. 9)."""
    # 1 - (N - 1) ... (N - k) / ((M + N - 1) ... (M + N - k))
    steps = np.arange(1, k + 1)
    return float(1 - np.prod((real - steps) / (synthetic + real - steps)))
