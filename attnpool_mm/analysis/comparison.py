"""Comparing two sets of runs, seed by seed, and many such comparisons at a time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.05  # 95 % intervals


@dataclass(frozen=True)
class Difference:
    """A mean of paired differences, and how sure it is.

    Attributes:
        mean: Of the differences.
        low: Where its 95 % t interval begins; NaN of one pair.
        high: Where it ends.
        p: Of the paired t test; NaN of one pair.
        n: How many pairs there are.
        p_holm: `p`, corrected for a family of comparisons; None without one.
        family: How many comparisons are in it.
    """

    mean: float
    low: float
    high: float
    p: float
    n: int
    p_holm: float | None = None
    family: int = 1

    @property
    def word(self) -> str:
        """What the difference says, for values of which more is better.

        - 'within the noise': the interval contains 0;
        - 'better', 'worse': it does not, and the corrected p is below 0.05;
        - 'perhaps better', 'perhaps worse': it does not, but among so many comparisons
          some such interval is to be expected: the corrected p is 0.05 or more;
        - 'one seed': there is one pair, which has no interval.
        """
        if self.n < 2:
            return "one seed"
        if self.low <= 0 <= self.high:
            return "within the noise"
        word = "better" if self.mean > 0 else "worse"
        p = self.p if self.p_holm is None else self.p_holm
        return word if p < LEVEL else f"perhaps {word}"


def paired_difference(
    values: Sequence[float], reference: Sequence[float]
) -> Difference:
    """Compare two runs of each seed by a paired t test.

    Args:
        values: A value for each seed.
        reference: What they are compared with, of the same seeds in the same order.

    Raises:
        ValueError: There are none, or not as many.

    Example:
        >>> found = paired_difference([71.0, 72.5, 73.0], [70.0, 71.0, 71.0])
        >>> f'{found.mean} ({found.low:.2f} to {found.high:.2f}), {found.word}'
        '1.5 (0.26 to 2.74), better'
    """
    if len(values) != len(reference) or not len(values):
        raise ValueError(f"{len(values)} and {len(reference)} values: no pairs")
    differences = np.subtract(values, reference)
    mean, n = float(differences.mean()), len(differences)
    if n < 2:
        return Difference(mean, math.nan, math.nan, math.nan, n)
    if np.ptp(differences) == 0:  # which t divides by
        return Difference(mean, mean, mean, float(mean == 0), n)
    test = stats.ttest_rel(values, reference)
    interval = test.confidence_interval(1 - LEVEL)
    return Difference(
        mean, float(interval.low), float(interval.high), float(test.pvalue), n
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct the p-values of a family of tests, as Holm does (1979).

    The chance that any of the true null hypotheses is rejected stays below the level.

    Args:
        p_values: One for each test.

    Returns:
        The corrected ones, in the same order.

    Example:
        >>> [round(p, 3) for p in holm([0.04, 0.01, 0.03])]
        [0.06, 0.03, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def pareto_front(costs: Sequence[float], values: Sequence[float]) -> list[bool]:
    """Which points no other is better than: cheaper with no less value, or the reverse.

    Equal points do not exclude each other.

    Args:
        costs: Of each point; less is better.
        values: Of each point; more is better. A NaN is never on the front.

    Example:
        >>> pareto_front([1, 2, 2, 3], [70, 75, 71, 75])
        [True, True, False, False]
    """
    on_front = [False] * len(values)
    known = [i for i in range(len(values)) if not math.isnan(values[i] + costs[i])]
    best, at = -math.inf, math.nan  # the highest value so far, and its cost
    for i in sorted(known, key=lambda i: (costs[i], -values[i])):
        if values[i] > best:
            best, at = values[i], costs[i]
        on_front[i] = (values[i], costs[i]) == (best, at)
    return on_front
