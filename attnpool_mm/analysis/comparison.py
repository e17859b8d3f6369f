"""Comparing two sets of runs, seed by seed, and many such comparisons at a time."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.05  # 95 % intervals
UNLIKE = 0.01  # p of Cochran's C test below which a network scatters more


@dataclass(frozen=True)
class Scatter:
    """What runs scatter by, once their network and their seed are taken out.

    Attributes:
        variance: Of a run.
        degrees: Degrees of freedom of the estimate.
    """

    variance: float
    degrees: int


@dataclass(frozen=True)
class Difference:
    """A mean of paired differences, and how sure it is.

    Attributes:
        mean: Of the differences.
        low: Where its 95 % t interval begins; NaN of one pair, and where the scatter is
            not known.
        high: Where it ends.
        p: Of the t test; NaN as `low`.
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
        - 'one seed': there is one pair, and no interval.
        """
        if math.isnan(self.p):
            return "one seed"
        if self.low <= 0 <= self.high:
            return "within the noise"
        word = "better" if self.mean > 0 else "worse"
        p = self.p if self.p_holm is None else self.p_holm
        return word if p < LEVEL else f"perhaps {word}"


def scatter_of(runs: Sequence[Mapping[int, float]]) -> Scatter | None:
    """Estimate what is left of the runs of some networks without network and seed.

    The model is value = network + seed + rest, fitted by least squares; the rest is
    taken to scatter alike in all networks. That is the analysis of variance of a
    randomised block design, with the seeds as blocks. Of two networks it is what the
    paired t test takes.

    Args:
        runs (Sequence[Mapping[int, float]]): Of each network, seed → value.

    Returns:
        The scatter; None where there are too few runs to tell it.

    Example:
        >>> scatter_of([{0: 70.0, 1: 71.0}, {0: 71.0, 1: 73.0}])
        Scatter(variance=0.25, degrees=1)
    """
    seeds = sorted({seed for values in runs for seed in values})
    rows, targets = [], []
    for i, values in enumerate(runs):
        for seed, value in values.items():
            row = np.zeros(len(runs) + len(seeds))
            row[i] = row[len(runs) + seeds.index(seed)] = 1
            rows.append(row)
            targets.append(value)
    if not rows:
        return None
    design, target = np.array(rows), np.array(targets)
    fitted, _, rank, _ = np.linalg.lstsq(design, target, rcond=None)
    degrees = len(target) - int(rank)
    if not degrees:
        return None
    rest = float(np.square(target - design @ fitted).sum())
    return Scatter(round(rest / degrees, 12), degrees)


def outlying(runs: Sequence[Mapping[int, float]]) -> set[int]:
    """Which networks' runs scatter more than those of the others.

    One whose training collapsed with one seed would make the intervals of all others
    wide, and its own too narrow. The k largest variances, of at most half of the
    networks, are outlying if the least of them is too large for that of the others, by
    an F test with p below 0.01, corrected for how many networks there are; k is the
    largest such number. Of one that is Cochran's C test. Seeds that fewer than half of
    the networks have are left out.

    Args:
        runs (Sequence[Mapping[int, float]]): Of each network, seed → value.

    Returns:
        Their indices; nothing of fewer than three networks with two runs.

    Example:
        >>> outlying([{0: 70.0, 1: 70.2}, {0: 71.0, 1: 70.9}, {0: 75.0, 1: 10.0}])
        {2}
    """
    count = Counter(seed for values in runs for seed in values)
    usual = {seed for seed, number in count.items() if 2 * number >= len(runs)}
    known = []  # variance, degrees of freedom, network
    for i, values in enumerate(runs):
        chosen = [value for seed, value in values.items() if seed in usual]
        if len(chosen) > 1:
            known.append((float(np.var(chosen, ddof=1)), len(chosen) - 1, i))
    known.sort(reverse=True)
    for k in range(len(known) // 2, 0, -1):
        variance, degrees, _ = known[k - 1]
        rest = sum(degrees for _, degrees, _ in known[k:])
        pooled = sum(v * d for v, d, _ in known[k:]) / rest
        if len(known) > 2 and variance > 0:
            ratio = variance / pooled if pooled else math.inf
            if len(known) * float(stats.f.sf(ratio, degrees, rest)) < UNLIKE:
                return {i for _, _, i in known[:k]}
    return set()


def paired_difference(
    values: Sequence[float], reference: Sequence[float], scatter: Scatter | None = None
) -> Difference:
    """Compare two runs of each seed by a t test.

    Args:
        values (Sequence[float]): A value for each seed.
        reference (Sequence[float]): What they are compared with, of the same seeds in
            the same order.
        scatter (Scatter | None): Of the runs of a family that both belong to, which
            makes the interval surer than so few pairs do. Default: that of the pairs,
            as in the paired t test.

    Raises:
        ValueError: There are none, or not as many.

    Example:
        >>> found = paired_difference([71.0, 72.5, 73.0], [70.0, 71.0, 71.0])
        >>> f'{found.mean} ({found.low:.2f} to {found.high:.2f}), {found.word}'
        '1.5 (0.26 to 2.74), better'
    """
    if len(values) != len(reference) or not len(values):
        raise ValueError(f"{len(values)} and {len(reference)} values: no pairs")
    mean, n = float(np.subtract(values, reference).mean()), len(values)
    scatter = scatter or scatter_of([dict(enumerate(v)) for v in (values, reference)])
    if scatter is None or n == 1:
        return Difference(mean, math.nan, math.nan, math.nan, n)
    error = math.sqrt(2 * scatter.variance / n)
    if error == 0:  # which t divides by
        return Difference(mean, mean, mean, float(mean == 0), n)
    half = float(stats.t.ppf(1 - LEVEL / 2, scatter.degrees)) * error
    p = 2 * float(stats.t.sf(abs(mean) / error, scatter.degrees))
    return Difference(mean, mean - half, mean + half, p, n)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct the p-values of a family of tests, as Holm does (1979).

    The chance that any of the true null hypotheses is rejected stays below the level.

    Args:
        p_values (Sequence[float]): One for each test.

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
        costs (Sequence[float]): Of each point; less is better.
        values (Sequence[float]): Of each point; more is better. A NaN is never on the
            front.

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
