"""Compare configs: parameters, FLOPs, activation memory, time, accuracy.

python tools/analysis_tools/compare_models.py CONFIG CONFIG … --plot compared.png
"""

import argparse
import json
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import matplotlib

matplotlib.use("Agg")  # no window

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from torch import nn

from attnpool_mm.analysis import measure_complexity
from attnpool_mm.analysis.benchmark import take_turns
from attnpool_mm.analysis.results import write_json, write_plot
from attnpool_mm.engine import launch
from attnpool_mm.utils.checks import check_int
from attnpool_mm.utils.config import (
    build_for_counting,
    counted_method,
    input_shape,
)
from attnpool_mm.utils.errors import ConfigError

REPEATS = 9
LABEL_LINES = 0.045  # distance of two labels, as a part of the height of the plot


@dataclass
class Compared:
    """A config and what it costs on one image.

    Attributes:
        name: The config's file name without its ending, or its path if two share that.
        shape: Channels, height and width of the image.
        method: What ran: 'forward', or 'extract_feat' for backbone and neck.
        parameters: Of the whole model.
        flops: A multiplication and an addition are two.
        peak_bytes: The most memory that is live at a time.
        layer_bytes: The largest input + output of a layer.
        milliseconds: Median time of a forward pass, if it was measured.
        accuracy: From the results file, if there is one.
    """

    name: str
    shape: tuple[int, ...]
    method: str
    parameters: int
    flops: int
    peak_bytes: int
    layer_bytes: int
    milliseconds: float | None = None
    accuracy: float | None = None


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Compare configs: parameters, FLOPs, activation memory, accuracy"
    )
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="config files")
    parser.add_argument(
        "--shape",
        type=int,
        nargs="+",
        metavar="N",
        help="channels, height and width of the image; height and width; or one "
        "number for both (default: 3 channels, the size of each test pipeline)",
    )
    parser.add_argument(
        "--bytes",
        type=int,
        default=1,
        help="bytes of a value of an activation (default: 1)",
    )
    parser.add_argument(
        "--time",
        action="store_true",
        help=f"time a forward pass of one image on the CPU too, in turns: the median "
        f"of {REPEATS}",
    )
    parser.add_argument(
        "--results",
        metavar="FILE",
        help="JSON file with one number for each config, such as its accuracy in %%, "
        "by path or by file name, with or without .py: {'resnet18-nlp_b8_stl10': 82.3}",
    )
    parser.add_argument(
        "--plot",
        metavar="FILE",
        help="draw the results, or without them the FLOPs, against the peak memory",
    )
    parser.add_argument("--json", metavar="FILE", help="write the numbers")
    parser.add_argument(
        "--markdown", action="store_true", help="print the table as Markdown"
    )
    return parser.parse_args(arguments)


def names_of(paths: list[str]) -> list[str]:
    """What to call the configs: short, and each its own.

    Raises:
        ConfigError: A config is named twice.
    """
    twice = {path for path in paths if paths.count(path) > 1}
    if twice:
        raise ConfigError(f"config {min(twice)}: it is named twice")
    stems = [Path(path).stem for path in paths]
    return [
        stem if stems.count(stem) == 1 else path
        for stem, path in zip(stems, paths, strict=True)
    ]


def read_results(file: str, paths: list[str]) -> list[float]:
    """The number of each config in a results file.

    Args:
        file: JSON, an object with one number for each config.
        paths: The configs.

    Raises:
        ConfigError: The file cannot be read or has another form, or not exactly one
            number for each config.
    """
    try:
        results = json.loads(Path(file).read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"--results {file}: {error}") from error
    if not isinstance(results, dict) or not all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in results.values()
    ):
        raise ConfigError(
            f"--results {file}: an object with a number for each config is expected, "
            'such as {"resnet18-nlp_b8_stl10": 82.3}'
        )
    found: dict[str, float] = {}
    for key, value in results.items():
        meant = [path for path in paths if key in _keys(path)]
        if len(meant) != 1:
            which = "more than one config" if meant else "no config that is compared"
            raise ConfigError(f"--results {file}: '{key}' is {which}")
        if meant[0] in found:
            raise ConfigError(f"--results {file}: config {meant[0]} has two results")
        found[meant[0]] = float(value)
    for path in paths:
        if path not in found:
            raise ConfigError(f"--results {file}: config {path} has no result")
    return [found[path] for path in paths]


def _keys(path: str) -> set[str]:
    return {path, path.removesuffix(".py"), Path(path).name, Path(path).stem}


def compare(args: argparse.Namespace) -> list[Compared]:
    """Measure the configs of the command line.

    Raises:
        ConfigError: A config cannot be read or built, does not run on the image, or
            the results do not fit.
    """
    names = names_of(args.configs)
    check_int("--bytes", args.bytes)
    results = [None] * len(names)
    if args.results is not None:
        results = read_results(args.results, args.configs)
    rows, models = [], []
    for path, name, result in zip(args.configs, names, results, strict=True):
        cfg = launch.read_config(path)
        try:
            row, model = measure(cfg, name, args.shape, args.bytes)
        except ConfigError as error:
            raise ConfigError(f"config {path}: {error}") from error
        row.accuracy = result
        rows.append(row)
        models.append(model if args.time else None)
    if args.time:
        time_passes(rows, models)
    return rows


def measure(
    cfg: Config, name: str, shape: list[int] | None, num_bytes: int
) -> tuple[Compared, nn.Module]:
    """Count what a config costs; the model that it gives has no values."""
    size, method = input_shape(cfg, shape), counted_method(cfg)
    model = build_for_counting(cfg)
    cost = measure_complexity(model, size, num_bytes, method)
    row = Compared(
        name,
        size,
        method,
        cost.parameters,
        cost.flops,
        cost.peak.live_bytes,
        cost.largest_layer.layer_bytes,
    )
    return row, model


@torch.no_grad()
def time_passes(rows: list[Compared], models: list[nn.Module]) -> None:
    """Time forward passes of one image on the CPU, in turns, and write the medians."""
    steps = {}
    for row, model in zip(rows, models, strict=True):
        for parameter in model.parameters():
            if parameter.dim() > 1:  # which have no values yet
                nn.init.normal_(parameter, std=0.02)
        for module in model.modules():
            module.training = False  # MMPretrain's eval() of a backbone returns nothing
        image = torch.rand(1, *row.shape)
        run = getattr(model, row.method)
        steps[row.name] = lambda run=run, image=image: run(image)
    times = take_turns(steps, REPEATS, torch.device("cpu"))
    for row in rows:
        row.milliseconds = 1e3 * statistics.median(times[row.name])


def table(rows: list[Compared], markdown: bool) -> str:
    """The rows as lines of text, or as a table of Markdown."""
    columns = {
        "config": [row.name for row in rows],
        "image": ["x".join(map(str, row.shape)) for row in rows],
        "parameters (M)": [f"{row.parameters / 1e6:.2f}" for row in rows],
        "FLOPs (G)": [f"{row.flops / 1e9:,.3f}" for row in rows],
        "peak memory (kB)": [f"{row.peak_bytes / 1e3:,.1f}" for row in rows],
        "input + output (kB)": [f"{row.layer_bytes / 1e3:,.1f}" for row in rows],
    }
    if rows[0].milliseconds is not None:
        columns["time (ms)"] = [f"{row.milliseconds:,.1f}" for row in rows]
    if rows[0].accuracy is not None:
        columns["result"] = [f"{row.accuracy:g}" for row in rows]
    lines = [tuple(columns), *zip(*columns.values(), strict=True)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [
        [
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]
    if markdown:
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        padded.insert(1, rule)
        return "\n".join(f"| {' | '.join(line)} |" for line in padded)
    padded.insert(1, ["-" * width for width in widths])
    return "\n".join("  ".join(line) for line in padded)


def notes(rows: list[Compared], num_bytes: int) -> str:
    """What the numbers of the table mean."""
    text = (
        "FLOPs: a multiplication and an addition are 2. Memory is that of one image, "
        f"{num_bytes} byte(s) a value, 1 kB = 1000 bytes:\nthe most that is live at a "
        "time, and the largest input + output of a layer."
    )
    parts = [row.name for row in rows if row.method != "forward"]
    if parts:
        text += f"\nBackbone and neck only, but for the parameters: {', '.join(parts)}"
    if rows[0].milliseconds is not None:
        text += (
            f"\nTime: a forward pass of one image, CPU, {torch.get_num_threads()} "
            f"thread(s), float32, the median of {REPEATS} in turns."
        )
    return text


def draw(rows: list[Compared], num_bytes: int) -> Figure:
    """Result, or FLOPs, against peak memory; each point with its name beside it."""
    figure, axes = plt.subplots(
        figsize=(10, max(5, 0.32 * len(rows) + 2)), layout="constrained"
    )
    with_results = rows[0].accuracy is not None
    x = [row.peak_bytes / 1e3 for row in rows]
    y = [row.accuracy if with_results else row.flops / 1e9 for row in rows]
    axes.set(
        xlabel=f"peak activation memory (kB), {num_bytes} byte(s) a value",
        ylabel="result" if with_results else "FLOPs (G)",
    )
    colors = [plt.get_cmap("tab20")(i % 20) for i in range(len(rows))]
    axes.scatter(x, y, c=colors, s=45, zorder=3, edgecolors="0.2", linewidths=0.6)
    axes.margins(0.12)
    axes.grid(color="0.9", which="both")
    # The names stand in a column at the right, in the order of the points' heights and
    # apart from one another, each with a line to its point.
    figure.canvas.draw()
    to_part = axes.transLimits.transform
    heights = [to_part((a, b))[1] for a, b in zip(x, y, strict=True)]
    for row, a, b, color, place in zip(
        rows, x, y, colors, _apart(heights), strict=True
    ):
        axes.annotate(
            row.name,
            (a, b),
            xytext=(1.03, place),
            textcoords="axes fraction",
            fontsize=9,
            va="center",
            annotation_clip=False,
            arrowprops=dict(
                arrowstyle="-",
                color=color,
                lw=0.8,
                shrinkA=2,
                shrinkB=4,
                relpos=(0, 0.5),
            ),
        )
    return figure


def _apart(heights: list[float]) -> list[float]:
    """Heights of the labels, in [0, 1] if they fit: near the points, not too near."""
    gap = min(LABEL_LINES, 1 / max(1, len(heights) - 1))
    order = sorted(range(len(heights)), key=heights.__getitem__)
    places = [0.0] * len(heights)
    lowest = 0.0
    for i in order:
        places[i] = lowest = max(heights[i], lowest)
        lowest += gap
    highest = 1.0
    for i in reversed(order):
        places[i] = highest = min(places[i], highest)
        highest -= gap
    return places


def run(args: argparse.Namespace) -> None:
    """Measure, print and write."""
    rows = compare(args)
    print(table(rows, args.markdown), notes(rows, args.bytes), sep="\n\n")
    if args.json:
        written = dict(
            bytes_per_value=args.bytes,
            threads=torch.get_num_threads() if args.time else None,
            configs=[
                dict(path=path, **asdict(row))
                for path, row in zip(args.configs, rows, strict=True)
            ],
        )
        write_json(args.json, written)
    if args.plot:
        figure = draw(rows, args.bytes)
        write_plot(args.plot, figure)
        plt.close(figure)


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with launch.one_line_errors():
        run(args)


if __name__ == "__main__":
    main()
