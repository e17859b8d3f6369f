"""Pictures of what the runs of a plan gave."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ..utils.checks import nearest
from ..utils.errors import ConfigError
from .comparison import pareto_front
from .evidence import Summary, summaries
from .evidence_file import Levels, Results
from .evidence_tables import WORDS, metric_name
from .evidence_verdicts import families, own_name

# Okabe and Ito's, which the colour-blind tell apart, without the yellow
COLORS = (
    *("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"),
)
MARKERS = "osD^vPX<>hp*"
COSTS = {  # key → unit, label
    "flops": (1e6, "MFLOPs of an image"),
    "peak_fused": (1e3, "peak activation memory (kB)"),
    "peak_unfused": (1e3, "peak activation memory, attention not fused (kB)"),
}
WORD_COLORS = {
    "better": "#0072b2",
    "worse": "#d55e00",
    "perhaps better": "#0072b2",
    "perhaps worse": "#d55e00",
}
NOISE = "0.55"
FRONT = "#f7ee8f"
NAME_SIZE = 7.5  # points


def draw_tradeoff(
    results: Results,
    costs: Sequence[str] = ("flops", "peak_fused"),
    where: Levels | None = None,
    panels: str | None = None,
) -> Figure:
    """Draw the metric over what it costs, the Pareto front of each panel marked.

    A point is the mean over the seeds, its bar the standard deviation. Colour and
    marker say the level of the reference's axis, usually the pool; the marker's filling
    that of the next other axis, usually the strides, whose points a line joins.

    Args:
        results: What the runs gave.
        costs: A panel for each: keys of `COSTS`.
        where: Only the combinations with these levels.
        panels: An axis with a column of panels for each of its levels.

    Raises:
        ConfigError: There is no such cost, axis or level, or nothing to draw.
    """
    for cost in costs:
        if cost not in COSTS:
            raise ConfigError(f"{results.name}: {cost}: {nearest(cost, COSTS)}")
    if panels is not None:
        results.check_axis(panels)
    rows = summaries(results, where=where)
    rows = [row for row in rows if row.cost and not math.isnan(row.mean)]
    if not rows:
        raise ConfigError(f"{results.name}: no run has a cost and a result to draw")
    styles = _Styles(results, rows, panels)
    groups = {"": rows}
    if panels is not None:
        groups = {
            level: [row for row in rows if row.levels[panels] == level]
            for level in styles.shown[panels]
        }
    parts = [
        (level, chosen, cost)
        for cost in (costs if panels else [""])
        for level, chosen in groups.items()
        for cost in ([cost] if panels else costs)
    ]
    shape = (len(costs), len(groups)) if panels else (1, len(costs))
    figure = Figure(
        figsize=(3.7 * shape[1] + 2, 3.6 * shape[0] + 0.6 * (not panels)),
        layout="constrained",
    )
    grid = figure.subplots(*shape, sharey="col" if panels else "row", squeeze=False)
    for axes, (level, chosen, cost) in zip(grid.flat, parts, strict=True):
        _draw_panel(axes, chosen, cost, styles)
        axes.set_title(level if axes in grid[0] else "", fontsize=10)
    for first in grid[:, 0]:
        first.set_ylabel(metric_name(results.metric))
    figure.legend(
        handles=styles.legend(),
        loc="outside right center",
        fontsize=8.5,
        frameon=False,
        handlelength=1.4,
        labelspacing=0.45,
    )
    figure.canvas.draw()  # where the names go depends on where the points came
    for axes, (_, chosen, cost) in zip(grid.flat, parts, strict=True):
        _name_front(axes, chosen, cost, styles)
    return figure


class _Styles:
    """Which colour, marker and filling a combination has."""

    def __init__(self, results: Results, rows: Sequence[Summary], panels: str | None):
        shown = self.shown = {
            axis: [
                level for level in levels if any(r.levels[axis] == level for r in rows)
            ]
            for axis, levels in results.axes.items()
        }
        several = [axis for axis in shown if len(shown[axis]) > 1 and axis != panels]
        of_colors = [axis for axis in several if axis in results.reference]
        self.color_axis = (of_colors or several or list(shown))[0]
        others = [axis for axis in several if axis != self.color_axis]
        self.fill_axis = others[0] if others else None
        self.line_axes = others[1:]
        self.colored = shown[self.color_axis]
        self.filled = shown[self.fill_axis] if self.fill_axis else []

    def of_level(self, level: str) -> dict:
        """Colour and marker."""
        i = self.colored.index(level)
        return dict(
            color=COLORS[i % len(COLORS)],
            marker=MARKERS[i % len(MARKERS)],
        )

    def name(self, row: Summary) -> str:
        """What the legend calls a combination's colour."""
        return row.levels[self.color_axis]

    def marker(self, row: Summary) -> dict:
        """The marker of a point."""
        style = self.of_level(self.name(row))
        fill = self.filled.index(row.levels[self.fill_axis]) if self.fill_axis else 0
        return dict(
            marker=style["marker"],
            markeredgecolor=style["color"],
            markerfacecolor=self.filling(style["color"], fill),
        )

    def filling(self, color: str, index: int) -> str | tuple:
        """Full colour for the first level of the second axis, white for the last."""
        steps = max(1, len(self.filled) - 1)
        return _lighter(color, index / steps)

    def lines(self, rows: Sequence[Summary]) -> list[list[Summary]]:
        """The combinations that a line joins."""
        found: dict[tuple, list[Summary]] = {}
        for row in rows:
            key = (self.name(row), *(row.levels[axis] for axis in self.line_axes))
            found.setdefault(key, []).append(row)
        return list(found.values())

    def legend(self) -> list[Line2D]:
        """Its entries."""
        line = dict(linestyle="", markersize=6)
        handles = [
            Line2D([], [], label=level, **self.of_level(level), **line)
            for level in self.colored
        ]
        if self.filled:
            handles.append(Line2D([], [], linestyle="", label=""))
        handles += [
            Line2D([], [], marker="o", markeredgecolor="0.3", label=level,
                   markerfacecolor=self.filling("#4d4d4d", i), **line)
            for i, level in enumerate(self.filled)
        ]  # fmt: skip
        front = dict(color=FRONT, linewidth=5, solid_capstyle="butt")
        return [*handles, Line2D([], [], label="Pareto front", **front)]


def _lighter(color: str, share: float) -> tuple[float, ...]:
    parts = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return tuple(part + (1 - part) * share for part in parts)


def _front(rows: Sequence[Summary], cost: str) -> list[Summary]:
    on = pareto_front([row.cost[cost] for row in rows], [row.mean for row in rows])
    chosen = [row for row, is_on in zip(rows, on, strict=True) if is_on]
    return sorted(chosen, key=lambda row: row.cost[cost])


def _draw_panel(
    axes: Axes, rows: Sequence[Summary], cost: str, styles: _Styles
) -> None:
    unit, label = COSTS[cost]
    for line in styles.lines(rows):
        x = [row.cost[cost] / unit for row in line]
        color = styles.of_level(styles.name(line[0]))["color"]
        axes.plot(x, [row.mean for row in line], color=color, linewidth=0.8, alpha=0.35)
    for row in rows:
        style = styles.marker(row)
        axes.errorbar(
            row.cost[cost] / unit,
            row.mean,
            yerr=row.std if row.std == row.std else None,
            ecolor=style["markeredgecolor"],
            elinewidth=0.9,
            markersize=6,
            zorder=3,
            **style,
        )
    front = _front(rows, cost)
    axes.set_xscale("log")
    axes.margins(0.1, 0.12)
    low, high = axes.get_xlim()
    x = [row.cost[cost] / unit for row in front]
    axes.step(
        [*x, high],
        [*(row.mean for row in front), front[-1].mean],
        where="post",
        color=FRONT,
        linewidth=5,
        zorder=0.5,
        solid_joinstyle="round",
    )
    axes.set_xlim(low, high)
    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(color="0.92", zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _name_front(
    axes: Axes, rows: Sequence[Summary], cost: str, styles: _Styles
) -> None:
    """Name the front's points to their upper left, where no point can be."""
    unit, _ = COSTS[cost]
    front = _front(rows, cost)
    scale = 72 / axes.figure.dpi
    _make_room(axes, {row.cost[cost] / unit: styles.name(row) for row in front})
    gap, floor = 11, -math.inf  # points
    for row in front:
        at = (row.cost[cost] / unit, row.mean)
        height = axes.transData.transform(at)[1] * scale
        to = max(height + 7, floor + gap)
        floor = to
        axes.annotate(
            styles.name(row),
            at,
            xytext=(-7, to - height),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=NAME_SIZE,
            color=styles.of_level(styles.name(row))["color"],
            path_effects=[withStroke(linewidth=2, foreground="white")],
            arrowprops=dict(arrowstyle="-", color="0.7", linewidth=0.6, shrinkB=4)
            if to > height + 8
            else None,
        )


def _make_room(axes: Axes, names: dict[float, str]) -> None:
    """Move the left end of a logarithmic axis so that names left of points fit."""
    width = axes.bbox.width * 72 / axes.figure.dpi
    low, high = map(math.log10, axes.get_xlim())
    for x, name in names.items():
        share = min(0.8, (10 + 0.6 * NAME_SIZE * len(name)) / width)
        low = min(low, (math.log10(x) - share * high) / (1 - share))
    axes.set_xlim(left=10**low)


def draw_differences(results: Results, where: Levels | None = None) -> Figure:
    """Draw each difference from the reference with its 95 % t interval.

    Blue is better, orange worse, grey within the noise; an open marker means that the
    interval does not contain 0 but the corrected p is 0.05 or more.

    Args:
        results: What the runs gave.
        where: Only the combinations with these levels.

    Raises:
        ConfigError: There is no such axis or level, or no difference to draw.
    """
    found = families(results, where)
    found = {
        shared: [row for row in rows if row.difference]
        for shared, rows in found.items()
    }
    found = {shared: rows for shared, rows in found.items() if rows}
    if not found:
        raise ConfigError(f"{results.name}: there is no difference to draw")
    names = []
    for rows in found.values():
        names += [n for row in rows if (n := own_name(results, row)) not in names]
    figure = Figure(
        figsize=(3.0 * len(found) + 1.6, 0.27 * len(names) + 1.3), layout="constrained"
    )
    panels = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
    for axes, (shared, rows) in zip(panels, found.items(), strict=True):
        axes.axvline(0, color="0.3", linewidth=0.9, zorder=1)
        for y in range(0, len(names), 2):
            axes.axhspan(y - 0.5, y + 0.5, color="0.965", zorder=0, linewidth=0)
        for row in rows:
            _draw_difference(axes, row, names.index(own_name(results, row)))
        axes.set_title(shared, fontsize=10)
        axes.grid(axis="x", color="0.92")
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    against = ", ".join(results.reference.values())
    figure.supxlabel(
        f"{metric_name(results.metric)}: difference from {against}, in points",
        fontsize=9.5,
    )
    words = {row.difference.word for rows in found.values() for row in rows}
    figure.legend(
        handles=[
            Line2D([], [], label=word, linewidth=1.6, markersize=6, **_style(word))
            for word in (*WORDS, "one seed")
            if word in words
        ],
        loc="outside upper center",
        ncols=len(words),
        fontsize=8.5,
        frameon=False,
    )
    return figure


def _style(word: str) -> dict:
    color = WORD_COLORS.get(word, NOISE)
    face = "white" if word.startswith("perhaps") else color
    return dict(
        color=color, marker="o", markeredgecolor=color, markerfacecolor=face, zorder=3
    )


def _draw_difference(axes: Axes, row: Summary, y: int) -> None:
    found = row.difference
    style = _style(found.word)
    if found.n > 1:
        ends = [found.low, found.high]
        axes.plot(ends, [y, y], color=style["color"], linewidth=1.6)
    axes.plot(found.mean, y, markersize=6, **style)
