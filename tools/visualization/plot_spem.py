"""Draw what SPEM learned, and how the training went, from its work folder.

python tools/visualization/plot_spem.py WORK_DIR
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import matplotlib

matplotlib.use("Agg")  # no window

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from attnpool_mm.analysis.logs import LAMBDA, Records, of_training, read_work_dir
from attnpool_mm.analysis.results import write_plot
from attnpool_mm.engine import launch
from attnpool_mm.utils.errors import ConfigError

MAX_NAMES = 12  # of blocks, beside the colour bar
Points = dict[str, list[tuple[float, float]]]


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Draw SPEM's λ, the losses and the metrics of a training"
    )
    parser.add_argument("work_dir", help="the work folder of the training")
    parser.add_argument(
        "--out", help="folder for the pictures (default: WORK_DIR/spem)"
    )
    return parser.parse_args()


def collect(records: Records) -> tuple[Points, Points]:
    """The scalars of the training and those of the validations, by name.

    A point is (iteration, value), in a validation (step, value): the epoch, unless
    the training counts none.
    """
    training: Points = {}
    validation: Points = {}
    for iteration, record in records:
        train = of_training(record)
        points = training if train else validation
        for key, value in record.items():
            if isinstance(value, int | float):
                name = key.removeprefix("train/").removeprefix("val/")
                x = iteration if train else record["step"]
                points.setdefault(name, []).append((x, value))
    return training, validation


def plot(axes: Axes, values: list[tuple[float, float]], **style: Any) -> None:
    """A line through the points, which are marked where they are few."""
    axes.plot(*np.transpose(values), ".-" if len(values) <= 30 else "-", **style)


def draw_lambda(points: Points) -> Figure:
    """One line a block, coloured by its depth.

    Args:
        points: Of each block, the first block first.
    """
    blocks = list(points)
    colors = plt.get_cmap("viridis")(np.linspace(0, 0.93, len(blocks)))
    few = len(blocks) <= MAX_NAMES
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    for color, values in zip(colors, points.values(), strict=True):
        plot(axes, values, color=color, linewidth=2 if few else 1)
    axes.axhline(0.5, color="0.5", linewidth=1, linestyle=":", zorder=0)
    axes.set(
        title="SPEM: how much the maximum counts, by block",
        xlabel="iteration",
        ylabel="λ  (0: minimum alone, 1: maximum alone)",
    )
    # No closer than this, or the picture shows how λ is rounded
    bottom, top = axes.get_ylim()
    axes.set_ylim(min(bottom, 0.45), max(top, 0.55))
    norm = BoundaryNorm(np.arange(len(blocks) + 1) - 0.5, len(blocks))
    bar = figure.colorbar(ScalarMappable(norm, ListedColormap(colors)), ax=axes)
    ticks = range(len(blocks)) if few else stage_starts(blocks)
    bar.set_ticks(ticks, labels=[blocks[i] for i in ticks])
    bar.ax.tick_params(which="both", length=0)
    bar.ax.invert_yaxis()  # the first block is at the top
    return figure


def stage_starts(blocks: list[str]) -> list[int]:
    """The blocks to name where not all can be: each stage's first, and the last."""
    stages = [block.partition(".")[0] for block in blocks]
    starts = [i for i, stage in enumerate(stages) if stage not in stages[:i]]
    if len(starts) > MAX_NAMES:
        starts = np.linspace(0, len(blocks) - 1, MAX_NAMES).astype(int).tolist()
    return sorted({*starts, len(blocks) - 1})


def draw_curves(training: Points, validation: Points) -> Figure | None:
    """Loss, penalty, accuracy and mAP, a panel each; None if there is none of them."""

    def chosen(points: Points, wanted: Callable[[str], bool]) -> Points:
        return {name: values for name, values in points.items() if wanted(name)}

    step = "epoch" if "epoch" in training else "iteration"
    penalty = chosen(training, lambda n: n == "spem_penalty")
    panels = [
        ("training loss", "iteration", chosen(training, lambda n: n == "loss")),
        ("SPEM's penalty", "iteration", penalty),
        ("accuracy (%)", step, chosen(validation, lambda n: n.startswith("accuracy"))),
        ("mAP", step, chosen(validation, lambda n: "mAP" in n)),
    ]
    panels = [panel for panel in panels if panel[2]]
    if not panels:
        return None
    figure, all_axes = plt.subplots(
        1,
        len(panels),
        figsize=(4.5 * len(panels), 4),
        layout="constrained",
        squeeze=False,
    )
    for axes, (label, xlabel, points) in zip(all_axes[0], panels, strict=True):
        for name, values in points.items():
            plot(axes, values, label=name)
        axes.set(xlabel=xlabel, ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color="0.9")
        if points is penalty and any(y > 0 for _, y in points["spem_penalty"]):
            axes.set_yscale("log")  # it falls by orders of magnitude
        if len(points) > 1:
            axes.legend()
    return figure


def draw(work_dir: Path, out: Path) -> list[Path]:
    """Draw the pictures and return their paths.

    Raises:
        ConfigError: The folder holds no log of a training, or one without λ.
    """
    training, validation = collect(read_work_dir(work_dir))
    lambdas = {
        name.removeprefix(LAMBDA): values
        for name, values in training.items()
        if name.startswith(LAMBDA)
    }
    if not lambdas:
        raise ConfigError(
            f"{work_dir}: the training logged no {LAMBDA}…; it does with "
            "custom_hooks=[dict(type='attnpool_mm.SPEMLoggerHook')] in its config, "
            "every `interval` iterations (default: 10), if a layer has a λ: if its "
            "pooling is 'adaptive'"
        )
    figures = {
        "lambda.png": draw_lambda(lambdas),
        "curves.png": draw_curves(training, validation),
    }
    paths = []
    for name, figure in figures.items():
        if figure is not None:
            write_plot(out / name, figure, name="--out")
            plt.close(figure)
            paths.append(out / name)
    return paths


def main() -> None:
    """Draw."""
    args = parse_args()
    with launch.one_line_errors():
        work_dir = Path(args.work_dir)
        for path in draw(work_dir, Path(args.out or work_dir / "spem")):
            print(path)


if __name__ == "__main__":
    main()
