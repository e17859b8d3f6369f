"""Count a config's parameters, FLOPs and activation memory, layer by layer.

python tools/analysis_tools/get_complexity.py CONFIG --shape 3 224 224
"""

import argparse
import sys
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import matplotlib

matplotlib.use("Agg")  # no window

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from torch import nn

from attnpool_mm.analysis import Complexity, measure_complexity
from attnpool_mm.analysis.results import write_json, write_plot
from attnpool_mm.engine import launch
from attnpool_mm.utils.config import (
    build_for_counting,
    counted_method,
    input_shape,
)
from attnpool_mm.utils.errors import ConfigError

COLUMNS = ("layer", "last result", "parameters", "MFLOPs", "live kB", "layer kB")
POOLS = ("pool", "maxpool")  # have a row at any depth


@dataclass
class Row:
    """A line of the table: a module, or the stem, with all that is in it.

    Attributes:
        layer: Its name in the whole model.
        level: How deep it stands under its stage, or under neck or head.
        parameters: Number of parameters.
        ran: Whether the forward pass went through it.
        shape: Shape of what its last operation gave.
        flops: FLOPs, a multiplication and an addition being two.
        live_bytes: The most memory that is live while one of its operations runs.
        layer_bytes: The largest input + output of a layer in it.
    """

    layer: str
    level: int
    parameters: int = 0
    ran: bool = False
    shape: tuple[int, ...] = ()
    flops: int = 0
    live_bytes: int = 0
    layer_bytes: int = 0


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Count a config's parameters, FLOPs and activation memory"
    )
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--shape",
        type=int,
        nargs="+",
        metavar="N",
        help="channels, height and width of the image; height and width; or one "
        "number for both (default: 3 channels, the size of the test pipeline)",
    )
    parser.add_argument(
        "--bytes",
        type=int,
        default=1,
        help="bytes of a value of an activation (default: 1)",
    )
    parser.add_argument(
        "--depth",
        type=int,
        default=0,
        help="show the modules of each stage too, down to this depth (default: 0)",
    )
    parser.add_argument("--json", help="write all of it, operation by operation")
    parser.add_argument("--plot", help="draw the live memory over the operations")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=launch.KeyValueAction,
        metavar="KEY=VALUE",
        help="config values to override, such as model.backbone.arch=resnet18-lip-1222",
    )
    return parser.parse_args(arguments)


class Layers:
    """The rows that a module's name belongs to, from the stage inwards.

    The stem is what a backbone runs before its first `layer…`.

    Args:
        complexity: What was measured.
    """

    def __init__(self, complexity: Complexity):
        names = [op.module.split(".") for op in complexity.operations]
        parts = [name[1] for name in names if name[0] == "backbone" and len(name) > 1]
        stages = [i for i, part in enumerate(parts) if part.startswith("layer")]
        self.stem = set(parts[: stages[0]]) if stages else set()

    def of(self, module: str) -> list[str]:
        """The names of the rows.

        Args:
            module: Name of a module in the whole model.
        """
        parts = module.split(".")
        if parts[0] != "backbone" or len(parts) == 1:
            names = [".".join(parts[: i + 1]) for i in range(len(parts))]
            return [name or "model" for name in names]
        inside = [".".join(parts[: i + 1]) for i in range(1, len(parts))]
        return ["backbone.stem", *inside] if parts[1] in self.stem else inside


def make_rows(model: nn.Module, complexity: Complexity, depth: int) -> list[Row]:
    """The table's lines in the order of the forward pass; last, what it leaves out."""
    layers = Layers(complexity)
    rows: dict[str, Row] = {}
    order: dict[str, int] = {}

    def rows_of(module: str) -> list[Row]:
        names = layers.of(module)
        for name in names:
            order.setdefault(name, len(order))
        return [
            rows.setdefault(name, Row(name, level))
            for level, name in enumerate(names)
            if level <= depth or name.rsplit(".", 1)[-1] in POOLS
        ]

    for op in complexity.operations[1:]:
        for row in rows_of(op.module):
            row.ran = True
            row.shape = op.shape
            row.flops += op.flops
            row.live_bytes = max(row.live_bytes, op.live_bytes)
            row.layer_bytes = max(row.layer_bytes, op.layer_bytes)
    for name, parameter in model.named_parameters():
        for row in rows_of(name.rpartition(".")[0]):
            row.parameters += parameter.numel()
    return sorted(
        (row for row in rows.values() if row.parameters or row.layer_bytes),
        key=lambda row: [order[name] for name in layers.of(row.layer)],
    )


def table(rows: list[Row]) -> str:
    """The rows as lines of text."""
    cells = [COLUMNS, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _cells(row: Row) -> tuple[str, ...]:
    name = "  " * row.level + row.layer
    if not row.ran:
        return (name, "-", f"{row.parameters:,}", "-", "-", "-")
    return (
        name,
        "x".join(map(str, row.shape[1:])),
        f"{row.parameters:,}",
        f"{row.flops / 1e6:,.2f}",
        f"{row.live_bytes / 1e3:,.1f}",
        f"{row.layer_bytes / 1e3:,.1f}",
    )


def summary(complexity: Complexity, num_bytes: int) -> str:
    """The totals as lines of text."""
    peak, layer = complexity.peak, complexity.largest_layer
    return (
        f"parameters:             {complexity.parameters:,}\n"
        f"FLOPs:                  {complexity.flops / 1e9:,.4g} G "
        "(a multiplication and an addition are 2)\n"
        f"peak activation memory: {peak.live_bytes / 1e3:,.1f} kB "
        f"at {peak.module or 'the model'} ({peak.name})\n"
        f"largest input + output: {layer.layer_bytes / 1e3:,.1f} kB "
        f"at {layer.module or 'the model'} ({layer.name})\n"
        f"Memory is that of one image, {num_bytes} byte(s) a value, 1 kB = 1000 bytes."
    )


def draw(complexity: Complexity, title: str) -> Figure:
    """The live memory over the operations, the stages marked."""
    operations = complexity.operations
    layers = Layers(complexity)
    live = [op.live_bytes / 1e3 for op in operations]
    figure, axes = plt.subplots(figsize=(11, 5), layout="constrained")
    axes.fill_between(range(len(live)), live, step="mid", color="#3b6ea8", alpha=0.85)
    points = [(i, op.layer_bytes / 1e3) for i, op in enumerate(operations)
              if op.layer_bytes]  # fmt: skip
    if points:
        axes.plot(*zip(*points, strict=True), ".", color="#e08214", markersize=4,
                  label="input + output of a layer")  # fmt: skip
    start = 0
    by_stage = groupby(operations, lambda op: op.module and layers.of(op.module)[0])
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


def run(args: argparse.Namespace) -> None:
    """Measure, print and write."""
    if args.depth < 0:
        raise ConfigError(f"--depth {args.depth}: an integer of at least 0 is accepted")
    cfg = launch.read_config(args.config)
    launch.merge_options(cfg, args.cfg_options)
    shape = input_shape(cfg, args.shape)
    model = build_for_counting(cfg)
    method = counted_method(cfg)
    complexity = measure_complexity(model, shape, args.bytes, method)
    rows = make_rows(model, complexity, args.depth)
    size = "x".join(map(str, shape))
    part = "whole model"
    if method == "extract_feat":
        part = "backbone and neck; the heads, which need NMS, did not run"
    print(f"{args.config}, image of {size}: {part}\n")
    print(table(rows), summary(complexity, args.bytes), sep="\n\n")
    if args.json:
        measured = dict(
            config=args.config,
            shape=shape,
            bytes_per_value=args.bytes,
            method=method,
            parameters=complexity.parameters,
            flops=complexity.flops,
            peak=asdict(complexity.peak),
            largest_layer=asdict(complexity.largest_layer),
            layers=[asdict(row) for row in rows],
            operations=[asdict(operation) for operation in complexity.operations],
        )
        write_json(args.json, measured)
    if args.plot:
        write_plot(args.plot, draw(complexity, f"{args.config}, {size}"))


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with launch.one_line_errors():
        run(args)


if __name__ == "__main__":
    main()
