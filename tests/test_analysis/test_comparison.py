"""Paired comparisons, Holm's correction and the Pareto front."""

import math
import random
from itertools import chain, combinations

import pytest
from scipy import stats

from attnpool_mm.analysis.comparison import (
    Difference,
    Scatter,
    holm,
    outlying,
    paired_difference,
    pareto_front,
    scatter_of,
)

# Student's t, two-sided 5 %: 2, 4 and 9 degrees of freedom, from a printed table
QUANTILES = {3: 4.303, 5: 2.776, 10: 2.262}


@pytest.mark.parametrize("n", QUANTILES)
def test_the_interval_is_the_plain_formula(n):
    draw = random.Random(n)
    values, reference = ([draw.gauss(70, 2) for _ in range(n)] for _ in range(2))
    found = paired_difference(values, reference)
    each = [a - b for a, b in zip(values, reference, strict=True)]
    mean = sum(each) / n
    std = math.sqrt(sum((d - mean) ** 2 for d in each) / (n - 1))
    half = QUANTILES[n] * std / math.sqrt(n)
    assert found.n == n and found.mean == pytest.approx(mean)
    assert found.high - mean == pytest.approx(half, rel=2e-4)
    assert mean - found.low == pytest.approx(half, rel=2e-4)
    one_sample = stats.ttest_1samp(each, 0)
    assert found.p == pytest.approx(one_sample.pvalue)
    assert (found.p < 0.05) == (not found.low <= 0 <= found.high)


def test_scatter_of_too_few_runs_is_not_known():
    assert scatter_of([]) is None
    assert scatter_of([{0: 70.0}, {0: 71.0}]) is None
    assert scatter_of([{0: 70.0, 1: 71.0}, {2: 71.0, 3: 70.0}]) is None


def test_one_pair_has_no_interval_though_the_scatter_is_known():
    found = paired_difference([3.0], [1.0], Scatter(0.25, 20))
    assert found.n == 1 and math.isnan(found.high) and found.word == "one seed"


def runs_of(draw, spreads, seeds=3):
    return [{s: draw.gauss(80, spread) for s in range(seeds)} for spread in spreads]


def test_what_scatters_more_than_the_others():
    draw = random.Random(1)
    alike = runs_of(draw, [0.3] * 13)
    assert outlying(alike) == set()
    assert outlying([*alike, *runs_of(draw, [9, 200])]) == {13, 14}
    assert outlying([*alike[1:], {**alike[0], 1: 10.0}]) == {12}
    both = [{0: 80.0, 1: 10.0, 2: 80.0}, {0: 80.0, 1: 80.0, 2: 10.0}]
    assert outlying([*alike[:6], *both]) == {6, 7}  # neither hides the other
    few = [{0: 80.1, 1: 79.9, 2: 60.0}, *({0: r[0], 1: r[1]} for r in alike)]
    assert outlying(few) == set()  # a seed that the others do not have yet
    constant = dict.fromkeys(range(3), 80.0)
    assert outlying([constant] * 4) == set()
    assert outlying([constant] * 4 + alike[:1]) == {4}
    assert outlying([constant, constant, {0: 1.0}, alike[0]]) == {3}
    assert outlying([constant, alike[0]]) == outlying([]) == set()  # two are compared


def test_one_in_a_hundred_is_taken_for_outlying():
    draw = random.Random(2)
    found = sum(bool(outlying(runs_of(draw, [1] * 8))) for _ in range(1000))
    assert 2 <= found <= 20


def test_pairs_without_a_spread():
    up = paired_difference([2.0, 3.0], [1.0, 2.0])
    assert (up.mean, up.low, up.high, up.p, up.word) == (1, 1, 1, 0, "better")
    same = paired_difference([2.0, 3.0], [2.0, 3.0])
    assert (same.mean, same.p, same.word) == (0, 1, "within the noise")


def test_one_pair_has_no_interval():
    found = paired_difference([3.0], [1.0])
    assert found.mean == 2 and math.isnan(found.low) and found.word == "one seed"


@pytest.mark.parametrize(("values", "reference"), [([], []), ([1.0], [1.0, 2.0])])
def test_no_pairs(values, reference):
    with pytest.raises(ValueError, match=f"{len(values)} and {len(reference)}"):
        paired_difference(values, reference)


@pytest.mark.parametrize(
    ("mean", "low", "high", "p", "p_holm", "word"),
    [
        (1.0, 0.5, 1.5, 0.001, 0.010, "better"),
        (1.0, 0.5, 1.5, 0.001, None, "better"),
        (1.0, 0.1, 1.9, 0.040, 0.400, "perhaps better"),
        (-1.0, -1.9, -0.1, 0.040, 0.050, "perhaps worse"),
        (-1.0, -1.5, -0.5, 0.001, 0.010, "worse"),
        (1.0, 0.0, 2.0, 0.050, 0.050, "within the noise"),
        (-1.0, -3.0, 1.0, 0.200, 1.000, "within the noise"),
    ],
)
def test_words(mean, low, high, p, p_holm, word):
    assert Difference(mean, low, high, p, 3, p_holm).word == word


def closed_testing(p_values):
    """Holm's procedure as the closure of Bonferroni's test, by all subsets."""
    every = range(len(p_values))
    subsets = list(chain.from_iterable(combinations(every, size + 1) for size in every))
    return [
        max(
            min(1.0, len(subset) * min(p_values[j] for j in subset))
            for subset in subsets
            if i in subset
        )
        for i in every
    ]


@pytest.mark.parametrize("seed", range(20))
def test_holm_is_the_closure_of_bonferroni(seed):
    draw = random.Random(seed)
    p_values = [draw.choice([0.01, draw.random() ** 3]) for _ in range(1 + seed % 7)]
    assert holm(p_values) == pytest.approx(closed_testing(p_values))


def test_holm_of_nothing():
    assert holm([]) == []


@pytest.mark.parametrize("seed", range(50))
def test_the_front_is_what_nothing_dominates(seed):
    draw = random.Random(seed)
    points = [(draw.randrange(6), draw.randrange(6)) for _ in range(draw.randrange(12))]
    wanted = [
        not any(
            other != point and other[0] <= point[0] and other[1] >= point[1]
            for other in points
        )
        for point in points
    ]
    costs, values = [c for c, _ in points], [v for _, v in points]
    assert pareto_front(costs, values) == wanted


def test_what_is_not_measured_is_on_no_front():
    nan = math.nan
    assert pareto_front([1, nan, 2, 1], [nan, 90, 80, 70]) == [
        False, False, True, True,
    ]  # fmt: skip
