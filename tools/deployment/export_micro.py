"""Convert a trained classifier for a microcontroller, and measure the memory it needs.

    python tools/deployment/export_micro.py CONFIG CHECKPOINT --out model.tflite

The file is int8. It runs in TensorFlow Lite Micro here, whose arena is printed, and its
outputs are compared with PyTorch's on images of the test set. `make micro` sets up the
environment that is needed.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from mmengine.config import Config
from torch import Tensor, nn

from attnpool_mm.analysis.results import text_table, write_json
from attnpool_mm.deploy.micro import (
    DEFAULT_PYTHON,
    MicroExport,
    agreement,
    check_python,
    export_micro,
)
from attnpool_mm.deploy.onnx_info import channel_order, preprocessing_of
from attnpool_mm.deploy.tiling import tile_attention
from attnpool_mm.engine import launch, preflight, trained
from attnpool_mm.utils.checks import check_int
from attnpool_mm.utils.config import input_shape
from attnpool_mm.utils.errors import ConfigError
from attnpool_mm.utils.sizes import parse_size


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    trained.add_arguments(parser)
    parser.add_argument(
        "--out", required=True, metavar="FILE", help="the LiteRT file to write"
    )
    parser.add_argument(
        "--float", action="store_true", help="leave it in float32 (default: int8)"
    )
    parser.add_argument(
        "--calibration",
        type=int,
        default=100,
        metavar="N",
        help="images of the training set that the ranges of int8 are chosen by "
        "(default: 100)",
    )
    parser.add_argument(
        "--images",
        type=int,
        default=100,
        metavar="N",
        help="images of the test set that the outputs are compared on (default: 100)",
    )
    launch.add_shape(parser)
    parser.add_argument(
        "--attention-limit",
        metavar="SIZE",
        help="let attention go over its queries in blocks, each with matrices below "
        "this, such as 256kB (default: all at once, N x N values a head)",
    )
    parser.add_argument(
        "--micro-python",
        default=str(DEFAULT_PYTHON),
        metavar="FILE",
        help=f"Python of the environment of `make micro` (default: {DEFAULT_PYTHON})",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write all of it, operator by operator"
    )
    return parser.parse_args()


def check(args: argparse.Namespace) -> None:
    """Check the options that need neither the config nor the network.

    Raises:
        ConfigError: One cannot be used.
    """
    check_python(args.micro_python)
    check_int("--calibration", args.calibration)
    check_int("--images", args.images)
    if args.attention_limit is not None:
        parse_size(args.attention_limit, "--attention-limit")
    sources = Path(args.config), Path(args.checkpoint)
    preflight.check_target(Path(args.out), *sources)
    if args.json:
        preflight.check_target(Path(args.json), Path(args.out), *sources)


def load_images(
    cfg: Config, model: nn.Module, split: str, count: int, size: tuple | None
) -> Tensor:
    """Images as the network gets them, (count, C, H, W), resized to `size` if given.

    Raises:
        ConfigError: There are not so many, or they differ in size or from the size's
            channels.
    """
    images = list(trained.network_inputs(cfg, model, split, count))
    if size is not None:
        images = [
            nn.functional.interpolate(x, size[1:], mode="bilinear", antialias=True)
            for x in images
        ]
    shapes = {tuple(x.shape[1:]) for x in images}
    if len(shapes) > 1:
        raise ConfigError(
            f"{split}_dataloader: its images differ in size; say with --shape to which "
            "one they are resized"
        )
    if size is not None and shapes != {size}:
        raise ConfigError(
            f"--shape: {size[0]} channels, but the images have {images[0].shape[1]}"
        )
    return torch.cat(images)


def preprocessing(cfg: Config, model: nn.Module, channels: int) -> dict:
    """How an image becomes the input: mean, standard deviation, order of channels."""
    found = preprocessing_of(model)
    order = channel_order(cfg, model) if channels == 3 else None
    return dict(mean=found["mean"], std=found["std"], channels=order)


def report(
    exported: MicroExport, args: argparse.Namespace, given: dict[str, Any]
) -> str:
    """What was measured, in words."""
    arena, entry, exit_ = exported.arena, exported.input, exported.output
    differences = agreement(exported)
    table = text_table(
        {
            "against PyTorch": list(differences),
            "largest difference": [f"{d:.3g}" for d, _ in differences.values()],
            "same class": [f"{100 * same:.1f} %" for _, same in differences.values()],
        }
    )
    largest = abs(exported.outputs["PyTorch"]).max()
    lines = [
        f"{args.out}: {exported.file_bytes:,} bytes",
        f"arena of TensorFlow Lite Micro: {arena['total']:,} bytes ({arena['head']:,} "
        f"activations, {arena['tail']:,} operators)",
        f"input {describe(entry)}, output {describe(exit_)}",
        f"image: {', '.join(f'{k} {v}' for k, v in given.items() if v) or 'as it is'}",
        "",
        table,
        "",
        f"On {args.images} images of the test set; PyTorch's outputs are up to "
        f"{largest:.3g}.",
    ]
    return "\n".join(lines)


def describe(tensor: dict) -> str:
    """An input or an output: shape, type, and what a code of int8 is."""
    text = f"{tensor['shape']} {tensor['dtype']}"
    if tensor["dtype"] == "float32":
        return text
    zero = tensor["zero_point"]
    return (
        f"{text} = {tensor['scale']:.6g} (code {'-' if zero >= 0 else '+'} {abs(zero)})"
    )


def run(args: argparse.Namespace) -> None:
    """Convert, measure and print."""
    check(args)
    cfg = trained.read_config(args)
    if cfg.default_scope != "mmpretrain":
        raise ConfigError(
            f"config {args.config}: a classifier is accepted; of a detector, "
            "export_onnx.py exports what comes before the boxes"
        )
    size = None if args.shape is None else input_shape(cfg, args.shape)
    preflight.check_data_paths(cfg, ("test",) if args.float else ("train", "test"))
    model = trained.load_trained(cfg, args)
    with torch.no_grad():
        images = load_images(cfg, model, "test", args.images, size)
        calibration = None
        if not args.float:
            calibration = load_images(cfg, model, "train", args.calibration, size)
    if args.attention_limit is not None:
        limit = parse_size(args.attention_limit, "--attention-limit")
        tile_attention(model, images.shape[1:], limit)
    exported = export_micro(model, images, args.out, calibration, args.micro_python)
    given = preprocessing(cfg, model, images.shape[1])
    print(report(exported, args, given))
    if args.json:
        measured = dict(
            arena=exported.arena,
            file_bytes=exported.file_bytes,
            input=exported.input,
            output=exported.output,
            preprocessing=given,
            agreement=agreement(exported),
            operators=exported.operators,
        )
        write_json(args.json, measured)


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with launch.one_line_errors():
        run(args)


if __name__ == "__main__":
    main()
