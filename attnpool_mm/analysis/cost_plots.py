"""Pictures of what networks cost."""

from collections.abc import Sequence
from itertools import groupby

import matplotlib
from matplotlib.figure import Figure

from .complexity import Complexity
from .layers import LayerNames

MARKERS = "os^DvP"


def draw_live_memory(complexity: Complexity, title: str = "") -> Figure:
    """Draw the live memory over the operations, the stages marked.

    Args:
        complexity (Complexity): What was measured of a whole model.
        title (str): Stands above the picture. Default: ''.
    """
    operations = complexity.operations
    names_of = LayerNames(complexity).of
    live = [op.live_bytes / 1e3 for op in operations]
    figure = Figure(figsize=(11, 5), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(range(len(live)), live, step="mid", color="#3b6ea8", alpha=0.85)
    points = [(i, op.layer_bytes / 1e3) for i, op in enumerate(operations)
              if op.layer_bytes]  # fmt: skip
    if points:
        axes.plot(*zip(*points, strict=True), ".", color="#e08214", markersize=4,
                  label="input + output of a layer")  # fmt: skip
    start = 0
    by_stage = groupby(operations, lambda op: op.module and names_of(op.module)[0])
    for i, (stage, members) in enumerate(by_stage):
        end = start + len(list(members))
        if i % 2:
            axes.axvspan(start - 0.5, end - 0.5, color="0.93", zorder=0)
        if end - start >= len(operations) / 80:
            axes.text((start + end - 1) / 2, 1.01, stage.removeprefix("backbone."),
                      transform=axes.get_xaxis_transform(), rotation=45, va="bottom",
                      fontsize=8)  # fmt: skip
        start = end
    at, peak = operations.index(complexity.peak), complexity.peak
    label = f"peak: {live[at]:,.1f} kB at {peak.module or 'the model'} ({peak.name})"
    axes.plot(at, live[at], "v", color="#b2182b", label=label)
    axes.set(
        xlabel="operation",
        ylabel="live activations (kB)",
        xlim=(-0.5, len(live) - 0.5),
        ylim=(0, 1.08 * live[at]),
    )
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    figure.suptitle(title, fontsize=10)
    return figure


def draw_comparison(
    names: Sequence[str],
    kilobytes: Sequence[float],
    values: Sequence[float],
    value_name: str,
) -> Figure:
    """Draw a point for each network: its peak memory, and its accuracy or FLOPs.

    Args:
        names (Sequence[str]): The networks, listed beside the plot, that with the
            highest value first.
        kilobytes (Sequence[float]): Their peak memory.
        values (Sequence[float]): What stands at the vertical axis.
        value_name (str): What it is.
    """
    rows = 0.2 * len(names)
    figure = Figure(figsize=(10, max(5, rows + 1)), layout="constrained")
    axes = figure.subplots()
    colors = matplotlib.colormaps["tab10"].colors
    for i in sorted(range(len(names)), key=lambda i: -values[i]):
        axes.scatter(
            kilobytes[i],
            values[i],
            s=45,
            color=colors[i % len(colors)],
            marker=MARKERS[i // len(colors) % len(MARKERS)],
            label=names[i],
            zorder=3,
        )
    axes.set(xlabel="peak activation memory (kB)", ylabel=value_name)
    axes.margins(0.12)
    axes.grid(color="0.9", which="both")
    figure.legend(loc="outside right upper", fontsize=8)
    return figure
