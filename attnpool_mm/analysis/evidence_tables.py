"""What the runs of a plan gave, as the columns of a table."""

import math
from collections.abc import Callable, Sequence
from itertools import product

from ..utils.checks import nearest
from ..utils.errors import ConfigError
from .comparison import Difference, pareto_front
from .evidence import Summary, summaries
from .evidence_file import Levels, Results, is_percentage, level_name

WORDS = ("better", "perhaps better", "within the noise", "perhaps worse", "worse")
SIGNS = dict(zip(WORDS, "▲△≈▽▼", strict=True)) | {"one seed": "?"}
METRICS = {
    "accuracy/top1": "top-1 (%)",
    "coco/bbox_mAP": "AP (%)",
    "coco/bbox_mAP_50": "AP50 (%)",
    "coco/bbox_mAP_75": "AP75 (%)",
    "coco/bbox_mAP_s": "AP small (%)",
    "coco/bbox_mAP_m": "AP medium (%)",
    "coco/bbox_mAP_l": "AP large (%)",
    "shift_consistency": "shift consistency (%)",
    "corruption/mean": "corrupted, mean (%)",
}
NOTHING = "–"


def metric_name(metric: str) -> str:
    """A metric as a reader knows it.

    Example:
        >>> metric_name('accuracy/top1'), metric_name('corruption/gaussian_noise')
        ('top-1 (%)', 'gaussian noise (%)')
        >>> metric_name('NMI')
        'NMI'
    """
    name = metric.rpartition("/")[2].replace("_", " ")
    return METRICS.get(metric, f"{name} (%)" if is_percentage(metric) else name)


def number(value: float, signed: bool = False, digits: int = 2) -> str:
    """A value, or a difference, with two digits behind the point or others.

    Example:
        >>> number(71.234), number(-0.5, signed=True), number(0.001, signed=True)
        ('71.23', '−0.50', '0.00')
    """
    if math.isnan(value):
        return NOTHING
    value = round(value, digits) + 0.0  # no −0.00
    return f"{value:{'+' if signed and value else ''}.{digits}f}".replace("-", "−")


def _value(row: Summary) -> str:
    text = number(row.mean, digits=row.digits)
    if row.std == row.std:
        text += f" ± {number(row.std, digits=row.digits)}"
    failed = f" ({len(row.failed)} failed)" if row.failed else ""
    return f"failed ({len(row.failed)})" if failed and not row.values else text + failed


def _change(row: Summary) -> str:
    found = row.difference
    if found is None:
        return "reference" if row.is_reference else NOTHING
    return f"{SIGNS[found.word]} {number(found.mean, True, row.digits)}"


def _difference(row: Summary) -> str:
    found = row.difference
    if found is None or found.n < 2:
        return _change(row)
    low, high = (number(end, True, row.digits) for end in (found.low, found.high))
    return f"{_change(row)} ({low} to {high})"


def _of_difference(value: Callable[[Difference], str]) -> Callable[[Summary], str]:
    return lambda row: NOTHING if row.difference is None else value(row.difference)


def _end(name: str) -> Callable[[Summary], str]:
    """A number of a difference, with its sign."""
    return lambda row: (
        number(getattr(row.difference, name), True, row.digits)
        if row.difference
        else NOTHING
    )


def _p(value: float | None) -> str:
    if value is None or math.isnan(value):
        return NOTHING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _cost(key: str, unit: float, digits: int) -> Callable[[Summary], str]:
    return lambda row: f"{row.cost[key] / unit:,.{digits}f}" if row.cost else NOTHING


# Name → heading and cell. `value` stands for the metric, and has its heading.
COLUMNS: dict[str, tuple[str, Callable[[Summary], str]]] = {
    "value": ("", _value),
    "mean": ("mean", lambda row: number(row.mean, digits=row.digits)),
    "std": ("standard deviation", lambda row: number(row.std, digits=row.digits)),
    "change": ("difference", _change),
    "difference": ("difference", _difference),
    "points": ("points", _end("mean")),
    "low": ("from", _end("low")),
    "high": ("to", _end("high")),
    "word": (
        "which is",
        lambda row: row.difference.word if row.difference else _difference(row),
    ),
    "p": ("p", _of_difference(lambda d: _p(d.p))),
    "p_holm": ("p (Holm)", _of_difference(lambda d: _p(d.p_holm))),
    "runs": ("runs", lambda row: f"{len(row.values)} of {row.seeds}"),
    "parameters": ("parameters (k)", _cost("parameters", 1e3, 1)),
    "flops": ("MFLOPs", _cost("flops", 1e6, 1)),
    "peak_fused": ("peak (kB)", _cost("peak_fused", 1e3, 1)),
    "peak_unfused": ("unfused peak (kB)", _cost("peak_unfused", 1e3, 1)),
    "step": (
        "training step",
        lambda row: NOTHING if row.step is None else f"{row.step:.2f}×",
    ),
}
FRONTS = {"flops": "FLOPs", "peak_fused": "peak", "peak_unfused": "unfused peak"}


def columns_of(
    results: Results,
    names: Sequence[str] = ("value", "difference", "flops", "peak_fused"),
    where: Levels | None = None,
    across: str | None = None,
) -> dict[str, list[str]]:
    """The columns of a table with a row for each combination of levels.

    Args:
        results (Results): What the runs gave.
        names (Sequence[str]): Keys of `COLUMNS`, also of another metric or measure, as
            'change:shift_consistency'; metrics and measures, with mean and deviation;
            or 'front', which names the costs at whose Pareto front a row is. Default:
            ('value', 'difference', 'flops', 'peak_fused').
        where (Levels | None): Only the combinations with these levels. Default: None.
        across (str | None): An axis whose levels stand side by side, and not below each
            other. Default: None.

    Raises:
        ConfigError: There is no such column, axis or level.
    """
    where = where or {}
    if across is not None:
        results.check_axis(across)
        return _side_by_side(results, names, where, across)
    rows = summaries(results, where=where)
    columns = {
        axis: [row.levels[axis] for row in rows]
        for axis, levels in results.axes.items()
        if axis not in where and len(levels) > 1
    }
    for name in names:
        heading, cells = _column(results, name, where, rows)
        columns[heading] = cells
    return columns


def _column(
    results: Results, name: str, where: Levels, rows: Sequence[Summary]
) -> tuple[str, list[str]]:
    if name == "front":
        return "Pareto front", _fronts(rows)
    column, _, metric = name.partition(":")
    if column in COLUMNS:
        heading, cell = COLUMNS[column]
        of = metric_name(metric or results.metric)
        if metric:
            rows = summaries(results, metric, where)
            heading = heading and f"{of.removesuffix(' (%)')}: {heading}"
        return heading or of, [cell(row) for row in rows]
    if "/" not in name and results.metrics and name not in results.metrics:
        raise ConfigError(f"{results.name}: {name}: {nearest(name, COLUMNS)}")
    return metric_name(name), [_value(row) for row in summaries(results, name, where)]


def _fronts(rows: Sequence[Summary]) -> list[str]:
    names: list[list[str]] = [[] for _ in rows]
    for key, name in FRONTS.items():
        costs = [row.cost.get(key, math.nan) for row in rows]
        for i, is_on in enumerate(pareto_front(costs, [row.mean for row in rows])):
            names[i] += [name] * is_on
    return [", ".join(found) or NOTHING for found in names]


def _side_by_side(
    results: Results, names: Sequence[str], where: Levels, across: str
) -> dict[str, list[str]]:
    others = {
        axis: levels
        for axis, levels in results.axes.items()
        if axis != across and axis not in where and len(levels) > 1
    }
    if not others:
        raise ConfigError(
            f"{results.name}: {across}: another axis has to make the rows"
        )
    parts = []
    for level in results.axes[across]:
        part = columns_of(results, names, where | {across: level})
        rows = list(zip(*(part.pop(axis) for axis in others), strict=True))
        parts.append((level_name(across, level), rows, part))
    there = {row for _, rows, _ in parts for row in rows}
    keys = [key for key in product(*others.values()) if key in there]
    columns = {axis: [key[i] for key in keys] for i, axis in enumerate(others)}
    for level, rows, part in parts:
        for heading, cells in part.items():
            found = dict(zip(rows, cells, strict=True))
            columns[f"{level}: {heading}"] = [found.get(key, NOTHING) for key in keys]
    return columns
