"""Time and memory of the layers, against their plain formulas and a convolution.

python tools/benchmarks/benchmark_pooling.py
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
from benchmark_cases import LAYERS, SIZES, build_case, named_layers, parse_size
from benchmark_tables import columns, conditions, row, write_page
from measurement import MODES, measure_layer

from attnpool_mm.analysis.results import write_json
from attnpool_mm.engine import launch
from attnpool_mm.utils.errors import ConfigError


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Measure time and memory of the layers, in inference and training"
    )
    groups = "; ".join(f"{group} ({', '.join(of)})" for group, of in LAYERS.items())
    parser.add_argument(
        "--layers",
        nargs="+",
        default=list(LAYERS),
        metavar="NAME",
        help=f"layers, or groups of them (default: all); groups: {groups}",
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
        nargs="*",
        metavar="NAME",
        help="measure these layers (all, if none is named) under torch.compile too "
        "(minutes; needs a compiler)",
    )
    parser.add_argument(
        "--no-plain",
        action="store_true",
        help="leave out the plain formulas, whose N×N matrices may not fit",
    )
    parser.add_argument("--json", help="write all of it, after each line")
    parser.add_argument(
        "--page",
        help="write the tables of this Markdown page anew, from the files that its "
        "marks <!-- benchmark: FILE GROUP --> name; without --json, measure nothing",
    )
    return parser.parse_args(arguments)


def measure(
    name: str, size: tuple[int, int, int, int], args: argparse.Namespace
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
            compiled=name in compiled_layers(args),
        )
        yield dict(
            layer=name,
            size=size,
            mode=mode,
            median_ms={n: m.median_ms for n, m in measured.items()},
            peak_bytes={n: m.peak_bytes for n, m in measured.items()},
        )


def cases(layers: list[str], sizes: list[str] | None) -> list[tuple[str, tuple]]:
    """The layers and their inputs, by size.

    Raises:
        ConfigError: There is no such layer or group, or a size is none.
    """
    chosen = named_layers("--layers", layers)
    return [
        (name, parse_size(size))
        for group, members in LAYERS.items()
        for size in sizes or SIZES[group]
        for name in members
        if name in chosen
    ]


def compiled_layers(args: argparse.Namespace) -> set[str]:
    """The layers that are measured under `torch.compile` too.

    Raises:
        ConfigError: There is no such layer or group.
    """
    if args.compile is None:
        return set()
    return named_layers("--compile", args.compile or list(LAYERS))


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
    compiled_layers(args)


def run(args: argparse.Namespace) -> None:
    """Measure, print and write."""
    if args.json or not args.page:
        measure_all(args)
    if args.page:
        write_page(Path(args.page))


def measure_all(args: argparse.Namespace) -> None:
    """Measure and print, and write `args.json`."""
    check(args)
    todo = cases(args.layers, args.sizes)
    if args.threads:
        torch.set_num_threads(args.threads)
    measured = dict(
        device=torch.cuda.get_device_name() if args.device == "cuda" else "CPU",
        threads=torch.get_num_threads(),
        repeats=args.repeats,
        channels_last=args.channels_last,
        versions=dict(torch=torch.__version__, python=platform.python_version()),
        results=[],
    )
    if args.json:
        write_json(args.json, measured)  # at once, if that is an error
    print(conditions(measured), "\n")
    others = ["plain"] * (not args.no_plain) + ["convolution"]
    others += ["compiled"] * (args.compile is not None)
    head = columns(others)
    widths = [max(15, len(column)) for column in head]
    print("  ".join(map(str.ljust, head, widths)))
    for name, size in todo:
        try:
            for result in measure(name, size, args):
                measured["results"].append(result)
                print(
                    "  ".join(map(str.ljust, row(result, others), widths)), flush=True
                )
                if args.json:
                    write_json(args.json, measured)
        except RuntimeError as error:  # among them no memory left
            batch, *shape = size
            word = f"{'x'.join(map(str, shape))}:{batch}"
            first = str(error).splitlines()[0]
            raise ConfigError(f"{name} at {word}: {first}") from error
    print(
        "\nms, MB: the layer's median time and peak memory. time, memory: the other's "
        "over the layer's."
    )


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with launch.one_line_errors():
        run(args)


if __name__ == "__main__":
    main()
