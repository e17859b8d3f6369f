"""Time and memory of the layers, against their plain formulas and a convolution.

python tools/analysis_tools/benchmark_pooling.py
"""

import argparse
import json
import os
import platform
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # of PyTorch's profiler

import torch
from torch import nn

from attnpool_mm.analysis.benchmark import (
    MODES,
    count_flops,
    machine_speed,
    make_step,
    measure_layer,
)
from attnpool_mm.engine import launch
from attnpool_mm.errors import ConfigError
from attnpool_mm.layers import SPEM, DynamicConv2d
from attnpool_mm.pooling import build_pool

STRIDE = 2
NLP = dict(type="SelfAttentivePool2d")
LIP = dict(type="LocalImportancePool2d")
DEFORMABLE = dict(type="DeformableSelfAttentivePool2d")
POOLS = {
    "nlp": NLP,
    "nlp_p4_nowin": dict(NLP, patch_size=4, normalize=False),
    "lip": LIP,
    "lip_original": dict(LIP, form="original"),
    "gaussian_pool": dict(type="GaussianPool2d"),
    "attnpool": dict(type="AttentionPool2d"),
    "dfmnlp_p2_nowin": dict(DEFORMABLE, patch_size=2, normalize=False),
    "mixp": dict(type="MixedPool2d", pools=[LIP, NLP]),
    "dfmixp_p2": dict(
        type="MixedPool2d",
        pools=[dict(DEFORMABLE, patch_size=2), dict(LIP, kernel_size=2)],
    ),
}
LAYERS = {
    "pooling": tuple(POOLS),
    "spem": ("spem",),
    "dynamic": ("dynamic_1x1", "dynamic_3x3"),
}
SIZES = {
    "pooling": ("64x56x56:8", "128x28x28:8", "256x14x14:8"),
    "spem": ("64x32x32:128", "256x56x56:8"),
    "dynamic": ("64x56x56:8", "256x14x14:8"),
}
COLUMNS = (
    "layer", "input", "step", "ms", "GFLOPs", "of the limit", "time: plain",
    "time: conv", "MB", "memory: plain", "memory: conv",
)  # fmt: skip
TARGETS = (  # layer, size, step, ratio to the plain formula, at least
    ("nlp", "64x56x56:8", "training", "time_ratio", 6),
    ("nlp", "64x56x56:8", "training", "peak_ratio", 20),
    ("nlp", "64x56x56:8", "inference", "time_ratio", 7),
    ("nlp", "128x28x28:8", "training", "time_ratio", 2.7),
    ("nlp_p4_nowin", "64x56x56:8", "training", "time_ratio", 2),
)
MARKED = re.compile(
    r"(<!-- (benchmark|targets): (\S+) -->\n).*?(<!-- end -->)", re.DOTALL
)


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Measure time and memory of the layers, in inference and training"
    )
    parser.add_argument("--layers", choices=LAYERS, default="pooling")
    parser.add_argument(
        "--pools", nargs="+", metavar="NAME", help=f"of {', '.join(POOLS)}"
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


def parse_size(word: str) -> tuple[int, int, int, int]:
    """Batch, channels, height and width of 'CxHxW' or 'CxHxW:BATCH'.

    Raises:
        ConfigError: It is neither.
    """
    match = re.fullmatch(r"(\d+)x(\d+)x(\d+)(?::(\d+))?", word)
    if not match or 0 in map(int, match.groups("8")):
        raise ConfigError(f"--sizes {word}: CxHxW or CxHxW:BATCH is accepted")
    channels, height, width, batch = map(int, match.groups("8"))
    return batch, channels, height, width


def build(name: str, channels: int) -> tuple[nn.Module, nn.Module]:
    """A layer, and the convolution that it is compared with.

    That of a pool or of SPEM is 3×3 with the same stride, that of a dynamic
    convolution has its kernel. Attention has a head for every 16 channels.
    """
    if name == "spem":
        return SPEM(channels), nn.Conv2d(channels, channels, 3, padding=1)
    if name.startswith("dynamic"):
        size = int(name[-1])
        arguments = (channels, channels, size, 1, size // 2)
        return DynamicConv2d(*arguments), nn.Conv2d(*arguments)
    cfg = _with_heads(POOLS[name], max(1, channels // 16))
    with warnings.catch_warnings():
        # A part of a mixture may well be constant in a window.
        warnings.filterwarnings("ignore", "SelfAttentivePool2d with patch_size")
        warnings.filterwarnings("ignore", "DeformableSelfAttentivePool2d with patch")
        pool = build_pool(cfg, channels, STRIDE)
    return pool, nn.Conv2d(channels, channels, 3, STRIDE, 1)


def _with_heads(cfg: dict, heads: int) -> dict:
    if "pools" in cfg:
        return dict(cfg, pools=[_with_heads(part, heads) for part in cfg["pools"]])
    return dict(cfg, num_heads=heads) if "Attenti" in cfg["type"] else cfg


def measure(
    name: str, size: tuple[int, int, int, int], args: argparse.Namespace, speed: dict
) -> Iterator[dict]:
    """Measure a layer at one size; one result for each mode."""
    torch.manual_seed(0)
    device = torch.device(args.device)
    layer, convolution = (m.to(device) for m in build(name, size[1]))
    x = torch.randn(size, device=device)
    for mode in MODES:
        measured = measure_layer(
            layer, x, convolution, mode, args.repeats, not args.no_plain
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
        )


def row(result: dict) -> tuple[str, ...]:
    """The cells of a result."""
    batch, channels, height, width = result["size"]
    own, flops = result["median_ms"]["layer"], result["flops"]

    def ratio(of: str, to: str) -> str:
        value = result[of].get(to)
        return "–" if value is None else f"{value:.2f}×"

    return (
        result["layer"],
        f"{batch}×{channels}×{height}×{width}",
        result["mode"],
        f"{own:,.1f}",
        "–" if flops is None else f"{flops / 1e9:,.2f}",
        "–" if flops is None else f"{100 * result['limit_ms'] / own:.0f} %",
        ratio("time_ratio", "plain"),
        ratio("time_ratio", "convolution"),
        f"{result['peak_bytes']['layer'] / 1e6:,.1f}",
        ratio("peak_ratio", "plain"),
        ratio("peak_ratio", "convolution"),
    )


def table(results: list[dict]) -> str:
    """The results as a Markdown table."""
    lines = [COLUMNS, ("---",) * 3 + ("---:",) * 8, *map(row, results)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def conditions(measured: dict) -> str:
    """How it was measured, in a sentence."""
    speed, torch_version = measured["speed"], measured["versions"]["torch"]
    return (
        f"{measured['device']}, {measured['threads']} threads, float32, PyTorch "
        f"{torch_version}, median of {measured['repeats']}; the machine multiplies "
        f"matrices at {speed['matmul_gflops']:,.0f} GFLOP/s and copies "
        f"{speed['copy_gbytes']:,.0f} GB/s."
    )


def targets(results: list[dict]) -> str:
    """What was aimed at, and what was measured, as a Markdown table."""
    found = {(r["layer"], tuple(r["size"]), r["mode"]): r for r in results}
    lines = [("layer", "input", "step", "less", "target", "measured"), ("---",) * 6]
    for name, word, mode, key, least in TARGETS:
        result = found[name, parse_size(word), mode]
        what = "time" if key == "time_ratio" else "peak memory"
        measured = f"{result[key]['plain']:.1f}×"
        lines.append((*row(result)[:3], what, f"≥ {least}×", measured))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_page(path: Path) -> None:
    """Write the tables of a page anew, each from the file that its mark names.

    Raises:
        ConfigError: The page or a file cannot be read, or there is no mark.
    """

    def fill(match: re.Match) -> str:
        measured = json.loads((path.parent / match[3]).read_text())
        if match[2] == "targets":
            text = targets(measured["results"])
        else:
            text = f"{conditions(measured)}\n\n{table(measured['results'])}"
        return f"{match[1]}\n{text}\n\n{match[4]}"

    try:
        page, count = MARKED.subn(fill, path.read_text())
        if not count:
            raise ConfigError(f"--page {path}: it has no <!-- benchmark: FILE -->")
        path.write_text(page)
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"--page {path}: {error}") from error


def check(args: argparse.Namespace) -> None:
    """Check what argparse does not.

    Raises:
        ConfigError: An argument is not accepted, or there is no such device.
    """
    for name in ("repeats", "threads"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name} {value}: an integer of at least 1 is accepted")
    if args.pools and args.layers != "pooling":
        raise ConfigError(f"--pools with --layers {args.layers}: --layers pooling only")
    unknown = [name for name in args.pools or () if name not in POOLS]
    if unknown:
        raise ConfigError(f"--pools {unknown[0]}: accepted are {', '.join(POOLS)}")
    if args.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: PyTorch finds no GPU")
    if args.json and not Path(args.json).parent.is_dir():
        raise ConfigError(f"--json {args.json}: its folder does not exist")


def run(args: argparse.Namespace) -> None:
    """Measure, print and write."""
    if args.page:
        write_page(Path(args.page))
        return
    check(args)
    sizes = [parse_size(word) for word in args.sizes or SIZES[args.layers]]
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    measured = dict(
        device=torch.cuda.get_device_name() if args.device == "cuda" else "CPU",
        threads=torch.get_num_threads(),
        repeats=args.repeats,
        versions=dict(torch=torch.__version__, python=platform.python_version()),
        speed=machine_speed(device),
        results=[],
    )
    print(conditions(measured), "\n")
    widths = [max(15, len(column)) for column in COLUMNS]
    print("  ".join(map(str.ljust, COLUMNS, widths)))
    for size in sizes:
        for name in args.pools or LAYERS[args.layers]:
            try:
                for result in measure(name, size, args, measured["speed"]):
                    measured["results"].append(result)
                    print("  ".join(map(str.ljust, row(result), widths)), flush=True)
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


def write_json(path: str, measured: dict) -> None:
    """Write what was measured so far.

    Raises:
        ConfigError: The file cannot be written.
    """
    try:
        Path(path).write_text(json.dumps(measured, indent=1) + "\n")
    except OSError as error:
        raise ConfigError(f"--json {path}: {error}") from error


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with launch.one_line_errors():
        run(args)


if __name__ == "__main__":
    main()
