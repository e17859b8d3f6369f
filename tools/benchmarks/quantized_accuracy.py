"""What 8 bits cost: a digits classifier with each pool, trained, exported, quantised.

python tools/benchmarks/quantized_accuracy.py
"""

import argparse
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
import torch.nn.functional as F
from benchmark_cases import POOLS
from torch import Tensor, nn

from attnpool_mm.datasets.digits import load_digit_images
from attnpool_mm.deploy.onnx import export_onnx
from attnpool_mm.deploy.quantize import FRAGILE, quantize_onnx
from attnpool_mm.engine import launch
from attnpool_mm.models import AttnPoolResNetCIFAR
from attnpool_mm.utils.checks import check_int
from attnpool_mm.utils.errors import ConfigError
from attnpool_mm.utils.extras import require

SIDE = 32
PLAIN = dict(pool_cfg=dict(type="StridedConv2d"))
CASES = {name: dict(pool_cfg=cfg) for name, cfg in POOLS.items()} | {
    "nlp_nowin": dict(pool_cfg=dict(type="SelfAttentivePool2d", normalize=False)),
    "soft": dict(pool_cfg=dict(type="SoftPool2d")),
    "adapool": dict(pool_cfg=dict(type="AdaptiveExponentialPool2d")),
    "avgp": dict(pool_cfg=dict(type="AvgPool2d")),
    "maxp": dict(pool_cfg=dict(type="MaxPool2d")),
    "blur": dict(pool_cfg=dict(type="BlurPool2d")),
    "strided": PLAIN,
    "spem": PLAIN | dict(attention_cfg=dict(type="SPEM")),
    "dynamic": PLAIN | dict(conv_cfg=dict(type="attnpool_mm.DynamicConv2d")),
}
COLUMNS = {
    "network": "{}",
    "float %": "{:.1f}",
    "int8 %": "{:.1f}",
    "all int8 %": "{:.1f}",
    "same answers %": "{:.1f}",
    "error": "{:.3f}",
    "all int8: error": "{:.3f}",
    "float kB": "{:.0f}",
    "int8 kB": "{:.0f}",
}


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Accuracy and size of digits classifiers in float and in 8 bits"
    )
    parser.add_argument(
        "--networks", nargs="+", choices=list(CASES), default=list(CASES),
        metavar="NAME",
        help=f"default: all of {', '.join(CASES)}",
    )  # fmt: skip
    parser.add_argument("--epochs", type=int, default=6, help="default: 6")
    parser.add_argument(
        "--calibration", type=int, default=128, help="training images (default: 128)"
    )
    parser.add_argument(
        "--types",
        action="store_true",
        help="also: the error with one type of operator alone in 8 bits, the others "
        "in float",
    )
    return parser.parse_args(arguments)


def load_digits(split: str) -> tuple[Tensor, Tensor]:
    """The digits of a split, (N, 3, 32, 32) in [-1, 1], and their labels."""
    images, labels = load_digit_images(split)
    images = torch.from_numpy(images)[:, None].float() / 127.5 - 1
    images = F.interpolate(images, size=(SIDE, SIDE), mode="bilinear")
    return images.expand(-1, 3, -1, -1).contiguous(), torch.from_numpy(labels)


def train(name: str, epochs: int) -> nn.Module:
    """Train the classifier with a pool, always to the same weights."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*with patch_size")  # parts of mixtures
        backbone = AttnPoolResNetCIFAR(8, "basic", stem_stride=2, **CASES[name])
    model = nn.Sequential(
        backbone, _Last(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
    )
    images, labels = load_digits("train")
    optimizer = torch.optim.Adam(model.parameters())
    steps = len(images) // 64
    rate = 0.01 if name == "spem" else 0.003  # its blocks start nearly closed
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=epochs * steps
    )
    for _ in range(epochs):
        for batch in torch.randperm(len(images))[: steps * 64].split(64):
            loss = F.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


class _Last(nn.Module):
    """The last of a backbone's maps."""

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        return maps[-1]


def run_onnx(path: Path, images: np.ndarray) -> np.ndarray:
    """The outputs of a file for images, one at a time."""
    onnxruntime = require("onnxruntime", "onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        path, options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: i[None]})[0] for i in images])


class Measurement:
    """A trained network in float, and what it gives in 8 bits.

    Args:
        name: One of `CASES`.
        epochs: Of its training.
        calibration: Training images that give the maps' ranges.
        folder: Where its files go.
    """

    def __init__(self, name: str, epochs: int, calibration: int, folder: Path):
        self.name = name
        self.images, self.labels = (t.numpy() for t in load_digits("test"))
        training = load_digits("train")[0].numpy()
        self.batches = training[:: len(training) // calibration][:calibration, None]
        self.path, self.int8 = folder / f"{name}.onnx", folder / f"{name}-int8.onnx"
        export_onnx(train(name, epochs), self.path, (3, SIDE, SIDE))
        self.expected = run_onnx(self.path, self.images)

    def quantised(self, *keep_float: str) -> np.ndarray:
        """The outputs in 8 bits but for `keep_float`."""
        quantize_onnx(self.path, self.int8, self.batches, keep_float)
        return run_onnx(self.int8, self.images)

    def accuracy(self, outputs: np.ndarray) -> float:
        """How many of 100 answers are right."""
        return 100 * (outputs.argmax(1) == self.labels).mean()

    def error(self, outputs: np.ndarray) -> float:
        """The norm of the difference to float's outputs over theirs."""
        difference = np.linalg.norm(outputs - self.expected)
        return difference / np.linalg.norm(self.expected)

    def row(self) -> tuple[str | float, ...]:
        """The values of `COLUMNS`."""
        every, default = self.quantised(), self.quantised(FRAGILE)
        same = 100 * (default.argmax(1) == self.expected.argmax(1)).mean()
        sizes = (file.stat().st_size / 1000 for file in (self.path, self.int8))
        accuracies = (self.accuracy(y) for y in (self.expected, default, every))
        errors = (self.error(y) for y in (default, every))
        return self.name, *accuracies, same, *errors, *sizes

    def by_type(self) -> dict[str, float]:
        """The error with the operators of one type alone in 8 bits, by that type."""
        types = {n.op_type for n in require("onnx", "onnx").load(self.path).graph.node}
        return {t: self.error(self.quantised(*(types - {t}))) for t in types}


def run(args: argparse.Namespace) -> None:
    """Measure and print.

    Raises:
        ConfigError: A number is not positive, or more images than there are are asked
            for.
    """
    check_int("--epochs", args.epochs)
    check_int("--calibration", args.calibration)
    available = len(load_digit_images("train")[0])
    if args.calibration > available:
        raise ConfigError(
            f"--calibration {args.calibration}: at most {available} images are there"
        )
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + " --- |" * len(COLUMNS))
    with TemporaryDirectory() as folder:
        for name in args.networks:
            measured = Measurement(name, args.epochs, args.calibration, Path(folder))
            row = zip(COLUMNS.values(), measured.row(), strict=True)
            print("| " + " | ".join(f.format(v) for f, v in row) + " |", flush=True)
            if args.types:
                costs = sorted(measured.by_type().items(), key=lambda item: -item[1])
                print("  ", ", ".join(f"{t} {cost:.4f}" for t, cost in costs[:8]))


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with launch.one_line_errors():
        run(args)


if __name__ == "__main__":
    main()
