"""Curves of a training, from what it logged."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .logs import Records, of_training

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")


def draw_curves(records: Records, metrics: Mapping[str, str]) -> Figure:
    """Draw the loss over the iterations, and metrics over the epochs.

    Args:
        records (Records): What `read_work_dir` gives.
        metrics (Mapping[str, str]): Key in the log → name in the picture, of what the
            validations measure.
    """
    figure = Figure(figsize=(9, 3), layout="constrained")
    loss, validation = figure.subplots(1, 2)
    losses = [(at, r["loss"]) for at, r in records if of_training(r) and "loss" in r]
    _plot(loss, losses, "loss", COLORS[0])
    loss.set(xlabel="iteration", ylabel="loss in training")
    loss.set_ylim(bottom=0)
    measured = [record for _, record in records if not of_training(record)]
    for (key, name), color in zip(metrics.items(), COLORS, strict=False):
        points = [(r["step"], r[key]) for r in measured if key in r]
        _plot(validation, points, name, color)
    validation.set(xlabel="epoch", ylabel=", ".join(metrics.values()))
    validation.set_ylim(bottom=0)
    validation.set_xlim(0.5, 0.5 + max([r["step"] for r in measured], default=1))
    validation.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(metrics) > 1 and validation.lines:
        validation.legend()
    return figure


def _plot(axes: Axes, points: list, name: str, color: str) -> None:
    mark = "o-" if len(points) <= 30 else "-"
    if points:
        axes.plot(*zip(*points, strict=True), mark, color=color, label=name, ms=4)
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
