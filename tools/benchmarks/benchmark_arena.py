"""What TensorFlow Lite Micro needs for networks of architecture keywords, in int8.

    python tools/benchmarks/benchmark_arena.py --archs mobilenet-skip-1222121 …

The weights are random and the images noise: the arena depends on neither.
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from mmengine.registry import MODELS
from torch import nn

from attnpool_mm.analysis.results import text_table, write_json
from attnpool_mm.deploy.micro import (
    DEFAULT_PYTHON,
    agreement,
    check_python,
    export_micro,
)
from attnpool_mm.deploy.tiling import tile_attention
from attnpool_mm.engine import launch
from attnpool_mm.engine.work_dir import check_file
from attnpool_mm.utils.checks import check_int
from attnpool_mm.utils.errors import ConfigError
from attnpool_mm.utils.sizes import parse_size

IMAGES = 4


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--archs", nargs="+", required=True, metavar="KEYWORD", help="architectures"
    )
    parser.add_argument(
        "--limits",
        nargs="+",
        default=["none"],
        metavar="SIZE",
        help="each with attention in blocks below this size; 'none': not in blocks",
    )
    parser.add_argument("--size", type=int, default=96, help="of the image (96)")
    parser.add_argument("--width", type=float, default=0.35, help="of MobileNet (0.35)")
    parser.add_argument("--classes", type=int, default=2, help="classes (2)")
    parser.add_argument("--float", action="store_true", help="float32, not int8")
    parser.add_argument("--micro-python", default=str(DEFAULT_PYTHON), metavar="FILE")
    parser.add_argument("--json", metavar="FILE", help="write it, row by row")
    return parser.parse_args()


def check(args: argparse.Namespace) -> None:
    """Check the options, before any work.

    Raises:
        ConfigError: One cannot be used.
    """
    check_python(args.micro_python)
    for name in ("size", "classes"):
        check_int(f"--{name}", getattr(args, name))
    for limit in args.limits:
        if limit != "none":
            parse_size(limit, "--limits")
    if args.json:
        check_file("--json", args.json)


def build(arch: str, args: argparse.Namespace) -> nn.Module:
    """A classifier with random weights whose norms have seen images."""
    torch.manual_seed(0)
    backbone = dict(type="attnpool_mm.AttnPoolBackbone", arch=arch)
    if arch.startswith("mobilenet"):
        backbone["widen_factor"] = args.width
    net = MODELS.build(backbone)
    with torch.no_grad():
        channels = net(torch.rand(2, 3, args.size, args.size))[-1].shape[1]
        model = Classifier(net, channels, args.classes).train()
        for _ in range(10):
            model(torch.randn(8, 3, args.size, args.size))
    for module in model.modules():
        module.training = False  # MMPretrain's eval() of a backbone returns nothing
    return model


class Classifier(nn.Module):
    """A backbone, its global mean and a linear layer."""

    def __init__(self, backbone: nn.Module, channels: int, classes: int):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The scores of (B, 3, H, W)."""
        return self.head(self.backbone(x)[-1])


def measure(arch: str, limit: str, args: argparse.Namespace) -> dict:
    """One row: an architecture, and what it needs."""
    model = build(arch, args)
    images = torch.randn(IMAGES, 3, args.size, args.size)
    row = dict(arch=arch, limit=limit)
    try:
        if limit != "none":
            tile_attention(model, images.shape[1:], parse_size(limit, "--limits"))
        with TemporaryDirectory() as folder:
            exported = export_micro(
                model,
                images[:1],
                Path(folder, "model.tflite"),
                None if args.float else images,
                args.micro_python,
            )
    except ConfigError as error:
        return dict(row, error=str(error))
    difference, _ = agreement(exported)["TensorFlow Lite Micro"]
    return dict(
        row,
        **exported.arena,
        file=exported.file_bytes,
        operators=len(exported.operators),
        difference=difference,
        largest=float(abs(exported.outputs["PyTorch"]).max()),
    )


def main() -> None:
    """Measure and print."""
    args = parse_args()
    rows = []
    with launch.one_line_errors():
        check(args)
        for arch in args.archs:
            for limit in args.limits:
                rows.append(measure(arch, limit, args))
                print(rows[-1], file=sys.stderr, flush=True)
                if args.json:
                    write_json(args.json, dict(rows=rows, size=args.size))
    measured = [row for row in rows if "error" not in row]
    columns = ("total", "head", "tail", "file", "operators")
    table = {
        "architecture": [row["arch"] for row in measured],
        "blocks of": [row["limit"] for row in measured],
        **{name: [f"{row[name]:,}" for row in measured] for name in columns},
    }
    print(text_table(table, markdown=True))


if __name__ == "__main__":
    main()
