"""Wilcoxon's test is scipy's; clustered by skull it counts skulls and keeps its level."""

import itertools
import json

import numpy as np
import pytest
from scipy.stats import norm, rankdata
from scipy.stats import wilcoxon as scipy_wilcoxon

from cranial.statistics import intraclass_correlation, wilcoxon


def scores_of(rng, skulls, defects, *, gain=0.0, shared=0.03, own=0.01):
    """(a, b, skull of each case): b better by `gain`; every skull favours one method by about `shared`."""
    skull = np.repeat(np.arange(skulls), defects)
    b = rng.uniform(0.7, 0.9, size=len(skull))
    a = b - gain + shared * rng.normal(size=skulls)[skull] + own * rng.normal(size=len(skull))
    return a, b, skull


def signed_ranks(differences):
    return np.sign(differences) * rankdata(np.abs(differences))


def test_the_plain_test_is_scipys(rng):
    a, b, _ = scores_of(rng, 20, 5, gain=0.01)
    compared = wilcoxon(a, b)
    assert compared.p == scipy_wilcoxon(a, b).pvalue
    assert compared.signed_rank_sum == signed_ranks(a - b).sum()
    assert (compared.pairs, compared.ties) == (100, 0)
    assert compared.median_difference == np.median(a - b) < 0
    assert (compared.clusters, compared.p_clustered, compared.clustered_method) == (None, None, None)


def test_skulls_with_one_defect_each_give_the_plain_test_in_its_normal_approximation(rng):
    a, b, skull = scores_of(rng, 40, 1, gain=0.01)
    compared = wilcoxon(a, b, clusters=skull)
    assert (compared.clusters, compared.clustered_method) == (40, "normal")
    assert compared.p_clustered == pytest.approx(scipy_wilcoxon(a, b, method="asymptotic").pvalue)


def test_few_skulls_with_one_defect_each_give_the_plain_exact_test(rng):
    a, b, skull = scores_of(rng, 12, 1, gain=0.01)
    compared = wilcoxon(a, b, clusters=skull)
    assert compared.clustered_method == "exact"
    assert compared.p_clustered == pytest.approx(scipy_wilcoxon(a, b, method="exact").pvalue)


def test_few_skulls_are_tested_by_flipping_every_skull_both_ways(rng):
    a, b, skull = scores_of(rng, 9, 4, gain=0.01)
    a[3], a[20] = b[3], b[20] + (a[7] - b[7])  # a tie, and two differences of one size
    told = a != b
    sums = [signed_ranks((a - b)[told])[skull[told] == each].sum() for each in range(9)]
    flips = np.array(list(itertools.product((1, -1), repeat=9))) @ sums
    expected = np.mean(np.abs(flips) >= abs(sum(sums)) - 1e-9)
    compared = wilcoxon(a, b, clusters=skull)
    assert compared.p_clustered == expected
    assert compared.ties == 1 and 0 < expected < 1


def test_many_skulls_of_one_size_are_weighed_alike(rng):
    a, b, skull = scores_of(rng, 24, 5, gain=0.01)
    sums = np.bincount(skull, weights=signed_ranks(a - b))
    expected = 2 * norm.sf(abs(sums.sum()) / np.sqrt((sums**2).sum()))
    assert wilcoxon(a, b, clusters=skull).p_clustered == pytest.approx(expected)


def test_where_the_defects_of_a_skull_say_the_same_a_skull_with_more_of_them_weighs_no_more():
    sizes = np.tile([1, 2, 3, 6], 10)
    skull = np.repeat(np.arange(40), sizes)
    sign = np.where(np.arange(40) % 3 == 0, -1.0, 1.0)
    difference = (sign * np.linspace(1, 2, 40))[skull]
    ranks = signed_ranks(difference)
    assert intraclass_correlation(ranks, skull) == pytest.approx(1)
    means = np.bincount(skull, weights=ranks) / sizes
    expected = 2 * norm.sf(abs(means.sum()) / np.sqrt((means**2).sum()))
    compared = wilcoxon(difference, np.zeros_like(difference), clusters=skull)
    assert compared.p_clustered == pytest.approx(expected)
    assert compared.p < compared.p_clustered / 10


def test_intraclass_correlation_is_the_share_of_variance_between_skulls(rng):
    skull = np.repeat(np.arange(3000), rng.integers(1, 6, size=3000))
    between, within = rng.normal(size=3000)[skull], rng.normal(size=len(skull))
    for share in (0.0, 0.3, 0.8):
        values = np.sqrt(share) * between + np.sqrt(1 - share) * within
        assert intraclass_correlation(values, skull) == pytest.approx(share, abs=0.03)
    assert intraclass_correlation(within[:50], np.arange(50)) == 0


def test_the_clustered_test_keeps_its_level_where_the_plain_one_is_too_sure(rng):
    for skulls, sizes in ((12, [5]), (30, [5]), (30, [2, 8])):
        rejected = np.zeros(2)
        for _ in range(300):
            sign = rng.choice((-1, 1), size=skulls)
            skull = np.repeat(np.arange(skulls), np.resize(sizes, skulls))
            difference = (sign * rng.gamma(2, size=skulls))[skull] + 0.3 * rng.normal(size=len(skull))
            compared = wilcoxon(difference, np.zeros_like(difference), clusters=skull)
            rejected += np.array([compared.p, compared.p_clustered]) < 0.05
        plain, clustered = rejected / 300
        assert plain > 0.2
        assert clustered < 0.08


def test_the_order_of_cases_and_the_names_of_skulls_do_not_matter(rng):
    a, b, skull = scores_of(rng, 25, 4, gain=0.01)
    keep = rng.random(len(a)) > 0.3
    a, b, skull = a[keep], b[keep], skull[keep]
    expected = wilcoxon(a, b, clusters=skull)
    shuffled = rng.permutation(len(a))
    named = wilcoxon(a[shuffled], b[shuffled], clusters=[f"skull {n:03}" for n in skull[shuffled]])
    assert named.p_clustered == pytest.approx(expected.p_clustered, rel=1e-9)
    assert named.p == pytest.approx(expected.p, rel=1e-9)


def test_swapping_the_methods_only_turns_the_sign(rng):
    a, b, skull = scores_of(rng, 10, 3, gain=0.01)
    forth, back = wilcoxon(a, b, clusters=skull), wilcoxon(b, a, clusters=skull)
    assert (forth.p, forth.p_clustered) == (back.p, back.p_clustered)
    assert forth.signed_rank_sum == -back.signed_rank_sum
    assert forth.median_difference == -back.median_difference


def test_two_methods_that_never_differ_are_not_different():
    compared = wilcoxon([0.9, 0.8, 0.7], [0.9, 0.8, 0.7], clusters=[1, 1, 2])
    assert (compared.p, compared.p_clustered, compared.ties, compared.clusters) == (1, 1, 3, 0)
    assert json.loads(json.dumps(compared.as_dict()))["p"] == 1


def test_eight_skulls_that_all_agree_are_what_it_takes_for_one_percent():
    for skulls, enough in ((7, False), (8, True)):
        better = np.linspace(0.01, 0.02, 5 * skulls)
        compared = wilcoxon(better, np.zeros_like(better), clusters=np.repeat(np.arange(skulls), 5))
        assert compared.p_clustered == 2 / 2**skulls
        assert (compared.p_clustered < 0.01) == enough and compared.p < 1e-6


@pytest.mark.parametrize(("a", "b"), [([0.9, 0.8], [0.9]), ([], []), ([[0.9]], [[0.8]])])
def test_scores_that_are_no_pairs_are_refused(a, b):
    with pytest.raises(ValueError, match=r"a has shape \(.*\), b \(.*\); give one score a case, in the same order"):
        wilcoxon(a, b)


def test_a_score_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="case 1 has the scores nan and 0.7; score failures too"):
        wilcoxon([0.9, float("nan")], [0.8, 0.7])


def test_clusters_that_do_not_name_each_case_are_refused():
    with pytest.raises(ValueError, match="clusters has 1 entries for 2 cases; name the skull of each case"):
        wilcoxon([0.9, 0.8], [0.8, 0.7], clusters=[1])
