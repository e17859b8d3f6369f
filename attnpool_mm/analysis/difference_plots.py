"""The differences of a plan's runs from the reference, as a picture."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..utils.errors import ConfigError
from .evidence import Summary
from .evidence_file import Levels, Results, is_percentage
from .evidence_tables import WORDS, metric_name
from .evidence_verdicts import families, own_name

WORD_COLORS = {
    "better": "#0072b2",
    "worse": "#d55e00",
    "perhaps better": "#0072b2",
    "perhaps worse": "#d55e00",
}
NOISE = "0.55"


def draw_differences(results: Results, where: Levels | None = None) -> Figure:
    """Draw each difference from the reference with its 95 % t interval.

    Blue is better, orange worse, grey within the noise; an open marker means that the
    interval does not contain 0 but the corrected p is 0.05 or more.

    Args:
        results (Results): What the runs gave.
        where (Levels | None): Only the combinations with these levels. Default: None.

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
    points = ", in points" if is_percentage(results.metric) else ""
    figure.supxlabel(
        f"{metric_name(results.metric)}: difference from {against}{points}",
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
