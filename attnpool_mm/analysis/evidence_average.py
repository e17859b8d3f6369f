"""Results with one axis less: each value is the mean over its levels."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from statistics import fmean

from ..utils.errors import ConfigError
from .evidence_file import Levels, Results, Run

Key = tuple[tuple[str, str], ...]  # of (axis, level)


def averaged(results: Results, axis: str, costs: str | None = None) -> Results:
    """Take the mean over an axis, of the runs that are otherwise alike.

    So one comparison is made of each pool, instead of one at every setting of the
    strides. A seed counts where it has a run at each level; it has failed where one of
    these has. What the plan leaves out at one of the levels is left out.

    Args:
        results (Results): What the runs gave.
        axis (str): The axis.
        costs (str | None): The level of it whose costs and times of steps are taken.
            Default: none is; a mean of costs would be of no network.

    Raises:
        ConfigError: There is no such axis or level, the reference is one of its levels,
            or it is the only axis.

    Example:
        >>> from attnpool_mm.analysis.evidence_file import parse_results
        >>> runs = [
        ...     dict(name=f'max{stride}_seed0', levels=dict(pool='max', stride=stride),
        ...          seed=0, epochs=[dict(top1=value)])
        ...     for stride, value in [('1', 70), ('2', 60)]]
        >>> results = parse_results(dict(
        ...     plan='plan.py', metric='top1', seeds=1, reference={}, runs=runs,
        ...     axes=dict(pool=['max'], stride=['1', '2'])))
        >>> averaged(results, 'stride').runs[0].value('top1')
        65.0
    """
    results.check_axis(axis)
    if costs is not None:
        results.check_levels({axis: costs})
    axes = {name: levels for name, levels in results.axes.items() if name != axis}
    if axis in results.reference or not axes:
        raise ConfigError(
            f"{results.name}: over={axis}: another axis than "
            f"{', '.join([axis, *results.reference])} is expected"
        )
    planned = {key: set() for key in _keys(axes)}
    for levels in results.combinations:
        planned[_key(levels, axis)].add(levels[axis])
    used = set.union(*planned.values())
    found: dict[tuple, dict[str, Run]] = {}
    for run in results.runs:
        at = found.setdefault((_key(run.levels, axis), run.seed), {})
        at[run.levels[axis]] = run
    return replace(
        results,
        axes=axes,
        runs=[
            _mean(list(runs.values()), axis, runs.get(costs))
            for runs in found.values()
            if runs.keys() == used or any(run.problem for run in runs.values())
        ],
        exclude=[dict(key) for key, levels in planned.items() if levels != used],
    )


def _keys(axes: Mapping[str, Sequence[str]]) -> list[Key]:
    every = product(*axes.values())
    return [tuple(zip(axes, levels, strict=True)) for levels in every]


def _key(levels: Levels, axis: str) -> Key:
    return tuple((name, level) for name, level in levels.items() if name != axis)


def _mean(runs: Sequence[Run], axis: str, costs: Run | None) -> Run:
    """The mean of runs, with the name and the costs of one of them."""
    names = {name for run in runs for name in (*run.last, *run.measures)}
    values = {
        name: [run.last.get(name, run.measures.get(name)) for run in runs]
        for name in names
        if all(run.value(name) is not None for run in runs)
    }
    first = costs or runs[0]
    problems = [f"{run.levels[axis]}: {run.problem}" for run in runs if run.problem]
    return replace(
        first,
        name=first.name if costs else f"mean over {axis}_seed{first.seed}",
        levels=dict(_key(first.levels, axis)),
        last={name: fmean(each) for name, each in values.items() if not problems},
        measures={},
        problem="; ".join(problems),
        cost=costs.cost if costs else {},
        seconds=sum(run.seconds for run in runs),
    )
