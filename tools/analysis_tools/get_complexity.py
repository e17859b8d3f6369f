"""Count what configs cost: parameters, FLOPs, activation memory, time.

    python tools/analysis_tools/get_complexity.py CONFIG            # layer by layer
    python tools/analysis_tools/get_complexity.py CONFIG CONFIG …   # side by side

A classifier is counted whole, a detector without its heads, which need NMS. Memory is
that of an ideal runtime; `--attention unfused` and `tiled` count what TensorFlow Lite
Micro holds.
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from attnpool_mm.analysis.config_cost import (
    REPEATS,
    ConfigCost,
    measure_config,
    read_results,
    short_names,
    time_forward_passes,
)
from attnpool_mm.analysis.cost_plots import draw_comparison, draw_live_memory
from attnpool_mm.analysis.layers import Layer, list_layers
from attnpool_mm.analysis.results import text_table, write_json, write_plot
from attnpool_mm.engine import launch, memory_options
from attnpool_mm.engine.arguments import check_arguments
from attnpool_mm.engine.work_dir import check_file
from attnpool_mm.utils.checks import check_int
from attnpool_mm.utils.errors import ConfigError

MICRO = "as TensorFlow Lite Micro; arena: with what its kernels keep; attention {}."
RUNTIMES = {
    "fused": "ideal: in place, attention fused. TensorFlow Lite Micro's: --attention.",
    "unfused": MICRO.format("with its N×N matrices"),
    "tiled": MICRO.format("in blocks of queries"),
}


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="config files")
    launch.add_shape(parser)
    memory_options.add_arguments(parser)
    parser.add_argument(
        "--depth",
        type=int,
        default=0,
        help="show the modules of each stage too, down to this depth (default: 0)",
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
        "by path or by file name, with or without .py: {'resnet18': 82.3}",
    )
    parser.add_argument(
        "--plot",
        metavar="FILE",
        help="draw the live memory over the operations; of several configs, the "
        "results, or without them the FLOPs, against the peak memory",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write all of it, operation by operation"
    )
    parser.add_argument(
        "--markdown", action="store_true", help="print the table as Markdown"
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=launch.KeyValueAction,
        metavar="KEY=VALUE",
        help="config values to override, such as model.backbone.depth=34",
    )
    return parser.parse_args(arguments)


def measure(args: argparse.Namespace) -> list[ConfigCost]:
    """Measure the configs of the command line.

    Raises:
        ConfigError: An option or a config cannot be used.
    """
    attention, tile = memory_options.read_arguments(args)
    check_int("--depth", args.depth, minimum=0)
    for path in args.configs:
        if args.configs.count(path) > 1:
            raise ConfigError(f"config {path}: it is named twice")
    results = [None] * len(args.configs)
    if args.results is not None:
        results = read_results(args.results, args.configs)
    costs = []
    for path, result in zip(args.configs, results, strict=True):
        cfg = launch.read_config(path)
        launch.merge_options(cfg, args.cfg_options)
        try:
            check_arguments(cfg, which=())
        except ConfigError as error:
            raise ConfigError(f"config {path}: {error}") from error
        cost = measure_config(path, cfg, args.shape, args.bytes, attention, tile)
        cost.result = result
        costs.append(cost)
    if args.time:
        time_forward_passes(costs)
    return costs


def layer_columns(layers: list[Layer]) -> dict[str, list[str]]:
    """The table of one config's layers. What did not run has no cost."""

    def cells(of_layer: Any) -> list[str]:
        return [of_layer(layer) if layer.ran else "-" for layer in layers]

    return {
        "layer": ["  " * layer.level + layer.name for layer in layers],
        "last result": cells(lambda layer: _by(layer.shape[1:])),
        "parameters": [f"{layer.parameters:,}" for layer in layers],
        "MFLOPs": cells(lambda layer: f"{layer.flops / 1e6:,.2f}"),
        "live kB": cells(lambda layer: f"{layer.live_bytes / 1e3:,.1f}"),
        "layer kB": cells(lambda layer: f"{layer.layer_bytes / 1e3:,.1f}"),
    }


def config_columns(costs: list[ConfigCost]) -> dict[str, list[str]]:
    """The table of the configs."""
    measured = [cost.complexity for cost in costs]
    columns = {
        "config": short_names([cost.path for cost in costs]),
        "image": [_by(cost.shape) for cost in costs],
        "parameters (M)": [f"{c.parameters / 1e6:.2f}" for c in measured],
        "FLOPs (G)": [f"{c.flops / 1e9:,.3f}" for c in measured],
        "live kB": [f"{c.peak.live_bytes / 1e3:,.1f}" for c in measured],
        "at": [c.peak.module or "the model" for c in measured],
        "layer kB": [f"{c.largest_layer.layer_bytes / 1e3:,.1f}" for c in measured],
    }
    if measured[0].kept_bytes:
        columns["arena kB"] = [f"{c.arena_bytes / 1e3:,.1f}" for c in measured]
    if costs[0].milliseconds is not None:
        columns["time (ms)"] = [f"{cost.milliseconds:,.1f}" for cost in costs]
    if costs[0].result is not None:
        columns["result"] = [f"{cost.result:g}" for cost in costs]
    return columns


def notes(costs: list[ConfigCost], num_bytes: int, attention: str) -> str:
    """What the numbers mean."""
    lines = [
        "FLOPs: a multiplication and an addition are 2; OpenMMLab counts them as 1.",
        f"Memory: of one image, {num_bytes} byte(s) a value, 1 kB = 1000 bytes; the "
        "most that is live at a time, and\nthe largest input + output of a layer.",
        f"Runtime: {RUNTIMES[attention]}",
    ]
    without_heads = [cost.path for cost in costs if cost.method != "forward"]
    if without_heads:
        lines.append(
            "Backbone and neck, but for the parameters; the heads, which need NMS, did "
            f"not run: {', '.join(short_names(without_heads))}"
        )
    if costs[0].milliseconds is not None:
        lines.append(
            f"Time: a forward pass of one image, CPU, {torch.get_num_threads()} "
            f"thread(s), float32, the median of {REPEATS} in turns."
        )
    return "\n".join(lines)


def as_json(costs: list[ConfigCost], args: argparse.Namespace) -> dict[str, Any]:
    """All that was measured."""
    return dict(
        bytes_per_value=args.bytes,
        attention=args.attention,
        attention_limit=args.attention_limit,
        threads=torch.get_num_threads() if args.time else None,
        configs=[
            dict(
                path=cost.path,
                shape=cost.shape,
                method=cost.method,
                parameters=cost.complexity.parameters,
                flops=cost.complexity.flops,
                multiply_adds=cost.complexity.multiply_adds,
                peak=asdict(cost.complexity.peak),
                largest_layer=asdict(cost.complexity.largest_layer),
                kept_bytes=cost.complexity.kept_bytes,
                arena_bytes=cost.complexity.arena_bytes,
                milliseconds=cost.milliseconds,
                result=cost.result,
                layers=[
                    asdict(layer)
                    for layer in list_layers(cost.model, cost.complexity, args.depth)
                ],
                operations=[asdict(op) for op in cost.complexity.operations],
            )
            for cost in costs
        ],
    )


def _by(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))


def run(args: argparse.Namespace) -> None:
    """Measure, print and write."""
    for option, path in (("--json", args.json), ("--plot", args.plot)):
        if path:
            check_file(option, path, args.results, *args.configs)
    costs = measure(args)
    first, *others = costs
    columns = config_columns(costs)
    tables = [columns]
    if not others:
        layers = list_layers(first.model, first.complexity, args.depth)
        tables.insert(0, layer_columns(layers))
    texts = [text_table(table, args.markdown) for table in tables]
    print(*texts, notes(costs, args.bytes, args.attention), sep="\n\n")
    if args.json:
        write_json(args.json, as_json(costs, args))
    if args.plot and others:
        kilobytes = [cost.complexity.peak.live_bytes / 1e3 for cost in costs]
        values = [cost.result for cost in costs]
        if args.results is None:
            values = [cost.complexity.flops / 1e9 for cost in costs]
        name = "FLOPs (G)" if args.results is None else "result"
        figure = draw_comparison(columns["config"], kilobytes, values, name)
        write_plot(args.plot, figure)
    elif args.plot:
        title = f"{first.path}, {_by(first.shape)}"
        write_plot(args.plot, draw_live_memory(first.complexity, title))


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with launch.one_line_errors():
        run(args)


if __name__ == "__main__":
    main()
