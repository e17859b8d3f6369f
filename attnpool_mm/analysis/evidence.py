"""The runs of a plan, summed up over the seeds and compared with the reference."""

import math
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from .comparison import (
    Difference,
    Scatter,
    holm,
    outlying,
    paired_difference,
    scatter_of,
)
from .evidence_file import Levels, Results, is_percentage


@dataclass(frozen=True)
class Summary:
    """A combination of levels, over its seeds.

    Attributes:
        levels: What it is, of each axis.
        metric: What the values are of.
        seeds: How many seeds the plan has.
        values: Seed → value, as in `Run.value`, of the runs that did not fail.
        valueless: How many runs ended well, but have no value.
        failed: Seed → why its run failed.
        cost: As in `Run`.
        step: A training step's time over that of the reference; None if not measured.
        is_reference: Whether the others are compared with it.
        scatter: Of all that is compared with the same reference; None where it is not
            known.
        is_outlying: Whether its runs scatter more than those of the others (`outlying`)
            and are not in `scatter`.
        difference: From the reference with the same other levels, over the seeds that
            both have; None for the reference, and where there is no such seed.
    """

    levels: Levels
    metric: str
    seeds: int
    values: dict[int, float]
    valueless: int
    failed: dict[int, str]
    cost: dict[str, float]
    step: float | None
    is_reference: bool
    scatter: Scatter | None = None
    is_outlying: bool = False
    difference: Difference | None = None

    @property
    def digits(self) -> int:
        """How many a value is shown with behind the point."""
        return 2 if is_percentage(self.metric) else 4

    @property
    def mean(self) -> float:
        """Over the seeds; NaN without any."""
        return fmean(self.values.values()) if self.values else math.nan

    @property
    def std(self) -> float:
        """Of the seeds, with n − 1; NaN of fewer than two."""
        return stdev(self.values.values()) if len(self.values) > 1 else math.nan


def summaries(
    results: Results, metric: str | None = None, where: Levels | None = None
) -> list[Summary]:
    """Sum up every combination of levels, and compare it with the reference.

    A comparison is paired: it takes the differences between runs of the same seed. What
    they scatter by is estimated from all that is compared with the same reference
    (`scatter_of`), without what scatters more than the others: with that, from the pair
    alone. `p_holm` is corrected for all these comparisons.

    Args:
        results (Results): What the runs gave.
        metric (str | None): A metric of the validation, or a measure. Default: the
            plan's.
        where (Levels | None): Only the combinations with these levels. The correction
            stays that for all. Default: None.

    Raises:
        ConfigError: There is no such metric, axis or level.

    Example:
        >>> from attnpool_mm.analysis.evidence_file import parse_results
        >>> def run(pool, seed, value):
        ...     return dict(name=f'{pool}_seed{seed}', levels=dict(pool=pool),
        ...                 seed=seed, epochs=[dict(top1=value)])
        >>> runs = [run('max', 0, 70), run('max', 1, 72),
        ...         run('lip', 0, 74), run('lip', 1, 75)]
        >>> results = parse_results(dict(
        ...     plan='plan.py', metric='top1', seeds=2, axes=dict(pool=['max', 'lip']),
        ...     reference=dict(pool='max'), runs=runs))
        >>> lip = summaries(results)[1]
        >>> lip.mean, lip.difference.mean, lip.difference.word
        (74.5, 3.5, 'within the noise')
    """
    metric = metric or results.metric
    results.check_metric(metric)
    results.check_levels(where or {})
    rows = [_summary(results, metric, levels) for levels in results.combinations]
    families: dict[frozenset, list[int]] = {}
    for i, row in enumerate(rows):
        against = frozenset((row.levels | results.reference).items())
        families.setdefault(against, []).append(i)
    for family in families.values():
        compared = _compare([rows[i] for i in family])
        for i, row in zip(family, compared, strict=True):
            rows[i] = row
    return [row for row in rows if (where or {}).items() <= row.levels.items()]


def _compare(family: list[Summary]) -> list[Summary]:
    """Compare the rows of a family with the reference that is among them."""
    odd = outlying([row.values for row in family])
    scatter = scatter_of([r.values for i, r in enumerate(family) if i not in odd])
    family = [
        replace(row, scatter=scatter, is_outlying=i in odd)
        for i, row in enumerate(family)
    ]
    reference = next((row for row in family if row.is_reference), None)
    found: dict[int, Difference] = {}
    for i, row in enumerate(family):
        if reference is not None and row is not reference:
            difference = difference_of(row, reference)
            if difference is not None:
                found[i] = difference
    tested = [i for i, difference in found.items() if not math.isnan(difference.p)]
    adjusted = holm([found[i].p for i in tested])
    for i, p in zip(tested, adjusted, strict=True):
        found[i] = replace(found[i], p_holm=p, family=len(tested))
    return [replace(row, difference=found.get(i)) for i, row in enumerate(family)]


def difference_of(row: Summary, other: Summary) -> Difference | None:
    """Compare two rows of a family over the seeds that both have; None without any."""
    seeds = sorted(row.values.keys() & other.values.keys())
    if not seeds:
        return None
    return paired_difference(
        [row.values[seed] for seed in seeds],
        [other.values[seed] for seed in seeds],
        None if row.is_outlying or other.is_outlying else row.scatter,
    )


def _summary(results: Results, metric: str, levels: Levels) -> Summary:
    runs = [run for run in results.runs if run.levels == levels]
    values, failed = {}, {}
    for run in runs:
        value = run.value(metric)
        if run.problem:
            failed[run.seed] = run.problem
        elif value is not None and not math.isfinite(value):
            failed[run.seed] = f"{metric} is {value}"
        elif value is not None:
            values[run.seed] = value
    return Summary(
        levels=levels,
        metric=metric,
        seeds=results.seeds,
        values=values,
        valueless=len(runs) - len(values) - len(failed),
        failed=failed,
        cost=next((run.cost for run in runs if run.cost), {}),
        step=next((results.steps.get(run.group) for run in runs), None),
        is_reference=bool(results.reference)
        and results.reference.items() <= levels.items(),
    )
