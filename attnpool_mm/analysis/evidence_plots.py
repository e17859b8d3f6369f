"""What the runs of a plan gave over what they cost, as a picture."""

import math
from collections.abc import Sequence
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ..utils.checks import nearest
from ..utils.errors import ConfigError
from .comparison import pareto_front
from .evidence import Summary, summaries
from .evidence_file import Levels, Results, level_name
from .evidence_tables import metric_name

# Okabe and Ito's, which the colour-blind tell apart, without the yellow
COLORS = (
    *("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"),
)
MARKERS = "osD^vPX<>hp*"
COSTS = {  # key → unit, label
    "flops": (1e6, "MFLOPs per image"),
    "peak_fused": (1e3, "peak activation memory, attention fused (kB)"),
    "peak_unfused": (1e3, "arena of a microcontroller, attention not fused (kB)"),
}
FRONT = "#f7ee8f"
NAME_SIZE = 7.5  # points
NAME_WIDTH = 11  # characters of a line


def draw_tradeoff(
    results: Results,
    costs: Sequence[str] = ("flops", "peak_fused"),
    where: Levels | None = None,
    panels: str | None = None,
) -> Figure:
    """Draw the metric over what it costs, the Pareto front of each panel marked.

    A point is the mean over the seeds, its bar the standard deviation. Colour and
    marker say the level of the reference's axis, usually the pool; the marker's filling
    that of the next other axis, usually the strides, whose points a line joins unless
    it is the network.

    Args:
        results (Results): What the runs gave.
        costs (Sequence[str]): A panel for each: keys of `COSTS`. Default: ('flops',
            'peak_fused').
        where (Levels | None): Only the combinations with these levels. Default: None.
        panels (str | None): An axis with a column of panels for each of its levels.
            Default: None.

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
        (level, chosen, cost) for cost in costs for level, chosen in groups.items()
    ]
    shape = (len(costs), len(groups)) if panels else (1, len(costs))
    figure = Figure(
        figsize=(3.7 * shape[1] + 2, 3.6 * shape[0] + 0.6 * (not panels)),
        layout="constrained",
    )
    grid = figure.subplots(*shape, sharey="col" if panels else "row", squeeze=False)
    for axes, (level, chosen, cost) in zip(grid.flat, parts, strict=True):
        _draw_panel(axes, chosen, cost, styles)
        title = level_name(panels or "", level) if axes in grid[0] else ""
        axes.set_title(title, fontsize=10)
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
        # A line joins what one network gives
        self.line_axes = [a for a in others if a == "network" or a != self.fill_axis]
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
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
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
    names = [fill(styles.name(row), NAME_WIDTH) for row in front]
    costs = [row.cost[cost] / unit for row in front]
    _make_room(axes, [*zip(costs, names, strict=True)])
    floor = -math.inf  # points
    for row, name in zip(front, names, strict=True):
        half = 5.5 * (1 + name.count("\n"))
        at = (row.cost[cost] / unit, row.mean)
        height = axes.transData.transform(at)[1] * scale
        to = max(height + 7, floor + half)
        floor = to + half
        axes.annotate(
            name,
            at,
            xytext=(-7, to - height),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=NAME_SIZE,
            color="0.2",
            bbox=dict(facecolor="white", edgecolor="none", pad=0.5, alpha=0.8),
            arrowprops=dict(arrowstyle="-", color="0.7", linewidth=0.6, shrinkB=4)
            if to > height + 8
            else None,
        )


def _make_room(axes: Axes, names: Sequence[tuple[float, str]]) -> None:
    """Move the left end of a logarithmic axis so that names left of points fit."""
    width = axes.bbox.width * 72 / axes.figure.dpi
    low, high = map(math.log10, axes.get_xlim())
    for x, name in names:
        longest = max(map(len, name.split("\n")))
        share = min(0.8, (10 + 0.6 * NAME_SIZE * longest) / width)
        low = min(low, (math.log10(x) - share * high) / (1 - share))
    axes.set_xlim(left=10**low)
    ticks = (1, 2, 5) if high - low < 2.5 else (1,)  # of a decade
    axes.xaxis.set_major_locator(LogLocator(subs=ticks))
