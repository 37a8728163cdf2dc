"""Is one method better than another? Wilcoxon's signed-rank test, plain and clustered by skull.

Five defects cut into one skull are not five independent cases: what one skull makes easy, it makes easy five
times, and the plain test is then too sure. Rosner, Glynn & Lee (2006, Biometrics 62:185-192) flip the sign
per cluster instead of per pair. Report both. How sure a mean is follows from the same thought: skulls are drawn
again, not cases.
"""

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from cranial.rng import generator

LARGE_SAMPLE = 20  # clusters from which on the paper found the normal approximation to keep its level


@dataclass(frozen=True)
class Significance:
    """Two-sided tests of "a - b is symmetric about 0". Without clusters the last three are None."""

    pairs: int
    ties: int  # pairs with a == b, which Wilcoxon's test drops
    median_difference: float  # of a - b, over all pairs
    signed_rank_sum: float  # T: the ranks of |a - b| with the sign of a - b, summed
    p: float  # every pair independent: scipy.stats.wilcoxon
    clusters: int | None  # those with a pair that is no tie
    p_clustered: float | None
    clustered_method: str | None  # below 20 clusters "exact" (p >= 2 / 2**clusters), from there on "normal"

    def as_dict(self) -> dict[str, float | int | str | None]:
        """The fields by name, for JSON and tables."""
        return asdict(self)


def wilcoxon(a: Sequence[float], b: Sequence[float], *, clusters: Sequence[Hashable] | None = None) -> Significance:
    """Compare two methods on the same cases: a[n] and b[n] score case n, cut into skull clusters[n].

    Exact: all 2**clusters ways to flip the signs of whole clusters; reaching p < 0.01 takes 8 skulls. Normal:
    the paper's large-sample test, clusters weighted by their size and the intraclass correlation.

    Raises ValueError for lengths that differ, for no cases at all, and for scores that are not finite.
    """
    differences = _differences(a, b)
    told = differences[differences != 0]
    ranks = _signed_ranks(told)
    count = p_clustered = method = None
    if clusters is not None:
        labels = _labels(clusters, len(differences))[differences != 0]
        labels = np.unique(labels, return_inverse=True)[1]
        count = int(labels.max()) + 1 if len(labels) else 0
        method = "exact" if count < LARGE_SAMPLE else "normal"
        p_clustered = _exact_p(ranks, labels) if method == "exact" else _normal_p(ranks, labels)
    return Significance(
        pairs=len(differences),
        ties=len(differences) - len(told),
        median_difference=float(np.median(differences)),
        signed_rank_sum=float(ranks.sum()),
        p=_plain_p(told),
        clusters=count,
        p_clustered=p_clustered,
        clustered_method=method,
    )


@dataclass(frozen=True)
class Interval:
    """A mean and between what it lies, both ends NaN for fewer than two clusters."""

    mean: float
    low: float
    high: float
    cases: int
    clusters: int


def mean_interval(
    values: Sequence[float],
    *,
    clusters: Sequence[Hashable],
    level: float = 0.95,
    resamples: int = 4000,
    seed: int = 0,
) -> Interval:
    """Mean of values (N,), case n from skull clusters[n], with its percentile bootstrap interval over the skulls.

    Skulls are drawn with all their cases. With fewer than about ten the interval is too narrow, as bootstraps are.
    Raises ValueError for no values, for values that are not finite, and as `wilcoxon` for clusters that do not fit.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"values has shape {values.shape}, or is not finite; give one number a case")
    labels = _labels(clusters, len(values))
    sums, sizes = np.bincount(labels, weights=values), np.bincount(labels)
    low = high = float("nan")
    if len(sizes) > 1:
        drawn = generator(seed, len(values), len(sizes)).integers(len(sizes), size=(resamples, len(sizes)))
        means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
        low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high), len(values), len(sizes))


def _labels(clusters: Sequence[Hashable], cases: int) -> np.ndarray:
    if len(clusters) != cases:
        raise ValueError(f"clusters has {len(clusters)} entries for {cases} cases; name the skull of each case")
    code: dict[Hashable, int] = {}
    return np.array([code.setdefault(cluster, len(code)) for cluster in clusters])


def _differences(a: Sequence[float], b: Sequence[float]) -> np.ndarray:
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise ValueError(f"a has shape {a.shape}, b {b.shape}; give one score a case, in the same order")
    odd = np.flatnonzero(~(np.isfinite(a) & np.isfinite(b)))
    if len(odd):
        raise ValueError(
            f"case {odd[0]} has the scores {a[odd[0]]} and {b[odd[0]]}; score failures too, as metrics.evaluate does"
        )
    return a - b


def _signed_ranks(differences: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    return np.sign(differences) * rankdata(np.abs(differences))


def _plain_p(differences: np.ndarray) -> float:
    from scipy.stats import wilcoxon as scipy_wilcoxon

    return float(scipy_wilcoxon(differences).pvalue) if len(differences) else 1.0


def _exact_p(ranks: np.ndarray, labels: np.ndarray) -> float:
    """Share of the sign flips of whole clusters whose |T| is at least the one seen."""
    # ranks of ties are halves, so twice their sums are integers, which compare without rounding
    doubled = np.rint(2 * np.bincount(labels, weights=ranks)).astype(np.int64)
    flipped = np.zeros(1, dtype=np.int64)
    for cluster_sum in doubled:
        flipped = np.concatenate([flipped - cluster_sum, flipped + cluster_sum])
    return float(np.mean(np.abs(flipped) >= abs(doubled.sum())))


def _normal_p(ranks: np.ndarray, labels: np.ndarray) -> float:
    from scipy.stats import norm

    sums, sizes = np.bincount(labels, weights=ranks), np.bincount(labels)
    # T = sum w_i mean_i, Var T = sum w_i^2 mean_i^2, w_i = size_i / (var (1 + (size_i - 1) rho)).
    # var cancels in T / sd(T), and where all clusters are of one size so does the whole weight.
    weighted = sums / (1 + (sizes - 1) * intraclass_correlation(ranks, labels))
    spread = np.sqrt((weighted**2).sum())
    return float(2 * norm.sf(abs(weighted.sum()) / spread)) if spread else 1.0


def intraclass_correlation(values: np.ndarray, labels: np.ndarray) -> float:
    """rho of values (N,) in clusters `labels` (N,) = 0, 1, ...: one-way analysis of variance, from 0 to 1.

    Corrected for few clusters, rho (1 + (1 - rho^2) / (clusters - 2.5)); 0 if all clusters are of one.
    """
    sizes = np.bincount(labels)
    total, clusters = len(values), len(sizes)
    if total == clusters:
        return 0.0
    means = np.bincount(labels, weights=values) / sizes
    within = ((values - means[labels]) ** 2).sum() / (total - clusters)
    between = (sizes * (means - values.mean()) ** 2).sum() / (clusters - 1)
    typical_size = (total - (sizes**2).sum() / total) / (clusters - 1)
    across = (between - within) / typical_size
    if across <= 0:
        return 0.0
    rho = across / (across + within)
    return float(min(1.0, rho * (1 + (1 - rho**2) / (clusters - 2.5))))
