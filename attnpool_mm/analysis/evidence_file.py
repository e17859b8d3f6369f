"""What the runs of a plan gave, read from its json."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from ..utils.checks import nearest
from ..utils.errors import ConfigError

COSTS = ("parameters", "flops", "peak_fused", "peak_unfused")
FRACTIONS = ("coco/", "pascal_voc/")  # how the metrics start that are parts of 1
PERCENTAGES = (
    *("accuracy/", "single-label/", "multi-label/", "shift_consistency", "corruption/"),
    *FRACTIONS,  # once they are multiplied
)
Levels = dict[str, str]  # axis → level


@dataclass(frozen=True)
class Run:
    """One training of a plan.

    Attributes:
        name: Its name in the plan.
        levels: What it is, of each axis.
        seed: Its seed.
        last: The metrics of its last validation, which need not be its best.
        measures: What else was measured of its network, in per cent.
        cost: `COSTS` of its network, the peaks in bytes; empty if not measured.
        seconds: How long it took.
        versions: Of the packages that it ran with.
        machine: Its `device` and its `threads`, if they are known.
        problem: Why it failed; empty if it did not.
    """

    name: str
    levels: Levels
    seed: int
    last: dict[str, float]
    measures: dict[str, float]
    cost: dict[str, float]
    seconds: float
    versions: dict[str, str]
    machine: dict[str, Any]
    problem: str

    def value(self, metric: str) -> float | None:
        """A metric of the last validation, or a measure; in per cent if it is known.

        MMDetection's metrics are fractions, and COCO's −1 where there are no objects:
        they are given in per cent, and as None.
        """
        value = self.last.get(metric, self.measures.get(metric))
        if value is None or not metric.startswith(FRACTIONS):
            return value
        return None if value == -1 else 100 * value

    @property
    def group(self) -> str:
        """The name without the seed."""
        return re.sub(r"_seed\d+$", "", self.name)


@dataclass(frozen=True)
class Results:
    """What a plan's json says.

    Attributes:
        name: The file's name without its ending.
        plan: The plan's file.
        metric: What the runs are compared by. More is better.
        seeds: How many each combination has.
        axes: Axis → its levels.
        reference: The levels that the others are compared with, of some of the axes.
        runs: The runs there are.
        steps: A run's `group` → its step's time over that of the reference.
        exclude: The combinations that the plan leaves out, each as some levels.
    """

    name: str
    plan: str
    metric: str
    seeds: int
    axes: dict[str, list[str]]
    reference: Levels
    runs: list[Run]
    steps: dict[str, float] = field(default_factory=dict)
    exclude: list[Levels] = field(default_factory=list)

    @cached_property
    def combinations(self) -> list[Levels]:
        """The combinations of levels that the plan runs, each with every seed."""
        every = (
            dict(zip(self.axes, levels, strict=True))
            for levels in product(*self.axes.values())
        )
        return [
            levels
            for levels in every
            if not any(part.items() <= levels.items() for part in self.exclude)
        ]

    @cached_property
    def metrics(self) -> set[str]:
        """What any run logged or measured; nothing while none has ended well."""
        return {name for run in self.runs for name in (*run.last, *run.measures)}

    def check_axis(self, axis: str) -> None:
        """Check that there is such an axis.

        Raises:
            ConfigError: There is not.
        """
        if axis not in self.axes:
            raise ConfigError(f"{self.name}: {axis}: {nearest(axis, self.axes)}")

    def check_levels(self, where: Mapping[str, str]) -> None:
        """Check that `where` names axes and levels that there are.

        Raises:
            ConfigError: It does not.
        """
        for axis, level in where.items():
            self.check_axis(axis)
            if level not in self.axes[axis]:
                hint = nearest(level, self.axes[axis])
                raise ConfigError(f"{self.name}: {axis}={level!r}: {hint}")

    def check_metric(self, metric: str) -> None:
        """Check that a run has a metric, if any has one.

        Raises:
            ConfigError: They have others.
        """
        if self.metrics and metric not in {*self.metrics, self.metric}:
            raise ConfigError(f"{self.name}: {metric}: {nearest(metric, self.metrics)}")


def is_percentage(metric: str) -> bool:
    """Whether `Run.value` gives a metric in per cent.

    Example:
        >>> is_percentage('coco/bbox_mAP'), is_percentage('NMI')
        (True, False)
    """
    return metric.startswith(PERCENTAGES)


def level_name(axis: str, level: str) -> str:
    """A level as a reader knows it: a mere number has its axis before it.

    Example:
        >>> level_name('stride', '2'), level_name('strides', 'aggressive')
        ('stride 2', 'aggressive')
    """
    return f"{axis} {level}" if level.isdigit() else level


def read_results(path: str | Path) -> Results:
    """Read a plan's json.

    Raises:
        ConfigError: It cannot be read, or is not what `compare_pools.py` writes.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text())
    except (OSError, RecursionError, ValueError) as error:
        raise ConfigError(f"{path}: it cannot be read: {error}") from error
    return parse_results(content, path.stem)


def parse_results(content: dict[str, Any], name: str = "results") -> Results:
    """Check what `compare_pools.py` gathers, and take what the tables need.

    Args:
        content (dict[str, Any]): The content of its json.
        name (str): What an error, and a picture, calls it. Default: 'results'.

    Raises:
        ConfigError: It is something else.
    """
    read = _Reader(name)
    axes = read.of(content, "axes", dict)
    if not axes or not all(isinstance(v, list) and v for v in axes.values()):
        raise read.error("axes", axes, "lists of levels")
    metric = read.of(content, "metric", str)
    results = Results(
        name=name,
        plan=read.of(content, "plan", str),
        metric=metric,
        seeds=read.of(content, "seeds", int),
        axes=axes,
        reference=read.of(content, "reference", dict),
        runs=[_parse_run(read, run, metric) for run in read.of(content, "runs", list)],
        steps={
            key: read.of(step, "ratio", (int, float))
            for key, step in read.of(
                read.of(content, "timing", dict, {}), "steps", dict, {}
            ).items()
        },
        exclude=read.of(content, "exclude", list, []),
    )
    for part in (results.reference, *results.exclude):
        results.check_levels(part)
    _check_runs(read, results)
    return results


def _parse_run(read: "_Reader", run: Any, metric: str) -> Run:
    epochs = read.of(run, "epochs", list)
    last = _numbers(read, epochs[-1], "epochs") if epochs else {}
    problem = read.of(run, "problem", str, "")
    if not math.isfinite(last.get(metric, 0)):
        problem = problem or f"{metric} is {last[metric]}"
    return Run(
        name=read.of(run, "name", str),
        levels=read.of(run, "levels", dict),
        seed=read.of(run, "seed", int),
        last=last,
        measures=_numbers(read, read.of(run, "measures", dict, {}), "measures"),
        cost=_costs(read, read.of(run, "cost", dict, {})),
        seconds=read.of(run, "seconds", (int, float), 0),
        versions=read.of(run, "versions", dict, {}),
        machine=read.of(run, "machine", dict, {}),
        problem=problem,
    )


def _numbers(read: "_Reader", values: Any, key: str) -> dict[str, float]:
    if not isinstance(values, dict):
        raise read.error(key, values, "metrics and their values")
    return {name: read.of(values, name, (int, float), where=key) for name in values}


def _costs(read: "_Reader", cost: dict[str, Any]) -> dict[str, float]:
    return {key: read.of(cost, key, (int, float)) for key in COSTS} if cost else {}


def _check_runs(read: "_Reader", results: Results) -> None:
    combinations = [frozenset(levels.items()) for levels in results.combinations]
    seen = set()
    for run in results.runs:
        key = (frozenset(run.levels.items()), run.seed)
        if key[0] not in combinations:
            raise read.error(f"{run.name}: levels", run.levels, "one of each axis")
        if key in seen:
            raise read.error(f"{run.name}: seed", run.seed, "a run once")
        if run.last and not run.problem and results.metric not in run.last:
            hint = nearest(results.metric, run.last)
            raise ConfigError(f"{read.name}: {run.name}: {results.metric}: {hint}")
        seen.add(key)


@dataclass(frozen=True)
class _Reader:
    """Values of a json by their kinds.

    Attributes:
        name: What an error calls the json.
    """

    name: str

    def of(
        self,
        values: Any,
        key: str,
        kind: type | tuple[type, ...],
        default: Any = None,
        where: str = "",
    ) -> Any:
        """The value of a key, or the default if the key is not there."""
        value = values.get(key, default) if isinstance(values, dict) else None
        if not isinstance(value, kind) or isinstance(value, bool):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            names = " or ".join(each.__name__ for each in kinds)
            raise self.error(f"{where}.{key}".lstrip("."), value, names)
        return value

    def error(self, key: str, value: Any, accepted: str) -> ConfigError:
        """An error about a value."""
        return ConfigError(f"{self.name}: {key}={value!r:.60}: {accepted} is expected")
