"""Time and memory of the layers, against their plain formulas and a convolution.

python tools/analysis_tools/benchmark_pooling.py
"""

import argparse
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # of PyTorch's profiler

import torch

from attnpool_mm.analysis.benchmark import (
    MODES,
    count_flops,
    machine_speed,
    make_step,
    measure_layer,
)
from attnpool_mm.analysis.benchmark_cases import (
    LAYERS,
    SIZES,
    build_case,
    parse_size,
)
from attnpool_mm.analysis.benchmark_tables import columns, conditions, row, write_page
from attnpool_mm.analysis.results import write_json
from attnpool_mm.engine import launch
from attnpool_mm.utils.errors import ConfigError


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Measure time and memory of the layers, in inference and training"
    )
    parser.add_argument(
        "--layers",
        nargs="+",
        default=["pooling"],
        metavar="NAME",
        help="layers, or groups of them; groups: "
        + "; ".join(f"{group} ({', '.join(names)})" for group, names in LAYERS.items()),
    )
    parser.add_argument(
        "--sizes",
        nargs="+",
        metavar="CxHxW[:BATCH]",
        help="inputs; the batch is 8 if it is not said",
    )
    parser.add_argument(
        "--repeats", type=int, default=5, help="rounds that count (default: 5)"
    )
    parser.add_argument(
        "--threads", type=int, help="of the CPU (default: as many as PyTorch takes)"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--channels-last", action="store_true", help="inputs and layers in that memory"
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="measure the layers under torch.compile too (minutes; needs a compiler)",
    )
    parser.add_argument(
        "--no-plain",
        action="store_true",
        help="leave out the plain formulas, whose N×N matrices may not fit",
    )
    parser.add_argument("--json", help="write all of it, after each line")
    parser.add_argument(
        "--page",
        help="measure nothing; write the tables of this Markdown page anew, from the "
        "files that its marks <!-- benchmark: FILE --> name",
    )
    return parser.parse_args(arguments)


def measure(
    name: str, size: tuple[int, int, int, int], args: argparse.Namespace, speed: dict
) -> Iterator[dict]:
    """Measure a layer at one size; one result for each mode."""
    torch.manual_seed(0)
    device = torch.device(args.device)
    memory = torch.channels_last if args.channels_last else torch.contiguous_format
    layer, convolution = (
        m.to(device, memory_format=memory) for m in build_case(name, size[1])
    )
    x = torch.randn(size, device=device).contiguous(memory_format=memory)
    for mode in MODES:
        measured = measure_layer(
            *(layer, x, convolution, mode, args.repeats),
            plain=not args.no_plain,
            compiled=args.compile,
        )
        own = measured["layer"]
        step = make_step(layer, x, list(layer.parameters()), mode)
        flops = None if "dfm" in name else count_flops(step)
        with torch.no_grad():
            values = x.numel() + layer(x).numel()
        # Input and output, in training their gradients, are read or written once.
        minimum = values * x.element_size() * (2 if mode == "training" else 1)
        limit = max((flops or 0) / speed["matmul_gflops"],
                    minimum / speed["copy_gbytes"]) / 1e6  # fmt: skip
        yield dict(
            layer=name,
            size=size,
            mode=mode,
            flops=flops,
            minimum_bytes=minimum,
            limit_ms=limit,
            median_ms={n: m.median_ms for n, m in measured.items()},
            peak_bytes={n: m.peak_bytes for n, m in measured.items()},
            time_ratio={n: m.median_ms / own.median_ms for n, m in measured.items()},
            peak_ratio={n: m.peak_bytes / own.peak_bytes for n, m in measured.items()},
            operators=own.operators,
        )


def cases(layers: list[str], sizes: list[str] | None) -> list[tuple[str, tuple]]:
    """The layers and their inputs, by size.

    Raises:
        ConfigError: There is no such layer or group, or a size is none.
    """
    names = [name for group in LAYERS.values() for name in group]
    unknown = [name for name in layers if name not in (*LAYERS, *names)]
    if unknown:
        raise ConfigError(
            f"--layers {unknown[0]}: accepted are the groups {', '.join(LAYERS)} and "
            f"the layers {', '.join(names)}"
        )
    return [
        (name, parse_size(size))
        for group, members in LAYERS.items()
        for size in sizes or SIZES[group]
        for name in members
        if {group, name} & set(layers)
    ]


def check(args: argparse.Namespace) -> None:
    """Check what argparse does not.

    Raises:
        ConfigError: An argument is not accepted, or there is no such device.
    """
    for name in ("repeats", "threads"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name} {value}: an integer of at least 1 is accepted")
    if args.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: PyTorch finds no GPU")


def run(args: argparse.Namespace) -> None:
    """Measure, print and write."""
    if args.page:
        write_page(Path(args.page))
        return
    check(args)
    todo = cases(args.layers, args.sizes)
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    measured = dict(
        device=torch.cuda.get_device_name() if args.device == "cuda" else "CPU",
        threads=torch.get_num_threads(),
        repeats=args.repeats,
        channels_last=args.channels_last,
        versions=dict(torch=torch.__version__, python=platform.python_version()),
        speed=machine_speed(device),
        results=[],
    )
    if args.json:
        write_json(args.json, measured)  # at once, if that is an error
    print(conditions(measured), "\n")
    candidates = ["plain"] * (not args.no_plain) + ["convolution"]
    candidates += ["compiled"] * args.compile
    head = columns(candidates)
    widths = [max(15, len(column)) for column in head]
    print("  ".join(map(str.ljust, head, widths)))
    for name, size in todo:
        try:
            for result in measure(name, size, args, measured["speed"]):
                measured["results"].append(result)
                cells = row(result, candidates)
                print("  ".join(map(str.ljust, cells, widths)), flush=True)
                if args.json:
                    write_json(args.json, measured)
        except RuntimeError as error:  # among them no memory left
            batch, *shape = size
            word = f"{'x'.join(map(str, shape))}:{batch}"
            first = str(error).splitlines()[0]
            raise ConfigError(f"{name} at {word}: {first}") from error
    print(
        "\nms: the layer's median. of the limit: what FLOPs at the speed of matrix "
        "products, or reading\nand writing input and output at that of copies, would "
        "take. time, memory: the other over the layer.\nMB: the layer's peak memory."
    )


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with launch.one_line_errors():
        run(args)


if __name__ == "__main__":
    main()
