"""Write a trained network to an ONNX file, and compare the two on images.

    python tools/deployment/export_onnx.py CONFIG CHECKPOINT --out model.onnx
    python tools/deployment/export_onnx.py CONFIG CHECKPOINT --out model.onnx --dynamic
    python tools/deployment/export_onnx.py CONFIG CHECKPOINT --out model.onnx --int8

A classifier goes whole, up to its logits; a one-stage detector up to the maps of its
head, which tools/deployment/test_onnx.py decodes by the config's head; another detector
with backbone and neck alone.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import DATASETS
from torch import Tensor, nn

from attnpool_mm.analysis.results import text_table
from attnpool_mm.deploy.network import FEATURES
from attnpool_mm.deploy.onnx import export_onnx
from attnpool_mm.deploy.onnx_info import OnnxInfo, channel_order
from attnpool_mm.deploy.onnx_network import OnnxNetwork, difference
from attnpool_mm.deploy.quantize import quantize_onnx
from attnpool_mm.deploy.tiling import tile_attention
from attnpool_mm.engine import launch, preflight, trained
from attnpool_mm.engine.contents import check_contents, class_names
from attnpool_mm.utils.atomic_files import write_atomically
from attnpool_mm.utils.checks import check_int
from attnpool_mm.utils.config import (
    counted_method,
    datasets_of,
    input_shape,
    registered_class,
)
from attnpool_mm.utils.errors import ConfigError
from attnpool_mm.utils.extras import require
from attnpool_mm.utils.sizes import parse_size


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    trained.add_arguments(parser)
    parser.add_argument("--out", required=True, metavar="FILE", help="the ONNX file")
    launch.add_shape(parser)
    parser.add_argument(
        "--dynamic",
        action="store_true",
        help="take images of any size from a least one on, which is printed",
    )
    parser.add_argument(
        "--images",
        type=int,
        default=4,
        metavar="N",
        help="images of the test set that the file is compared on (default: 4)",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=1e-4,
        help="largest difference from PyTorch that is no error, as a part of the "
        "largest output (default: 1e-4); not of --int8",
    )
    parser.add_argument(
        "--int8", action="store_true", help="weights and maps of one byte a value"
    )
    parser.add_argument(
        "--calibration",
        type=int,
        default=128,
        metavar="N",
        help="images of the training set that the ranges for --int8 are taken from "
        "(default: 128)",
    )
    parser.add_argument(
        "--attention-limit",
        metavar="SIZE",
        help="let attention go over its queries in blocks, whose products of queries "
        "and keys take no more than this, such as 256kB",
    )
    return parser.parse_args()


def test_classes(cfg: Config) -> tuple[str, ...] | None:
    """The names of the classes of the test set, if they are known beforehand."""
    key, dataset = next(
        datasets_of(cfg.test_dataloader.dataset, "test_dataloader.dataset")
    )
    kind = registered_class(dataset.get("type"), DATASETS, cfg.default_scope)
    return None if kind is None else class_names(key, dataset, kind)


def tile(
    cfg: Config, model: nn.Module, shape: tuple[int, ...], args: argparse.Namespace
) -> None:
    """Let the attention layers go over their queries in blocks."""
    limit = parse_size(args.attention_limit, "--attention-limit")
    try:
        tiles = tile_attention(model, shape, limit, method=counted_method(cfg))
    except ConfigError as error:
        raise ConfigError(
            f"--attention-limit {args.attention_limit}: {error}"
        ) from error
    if not tiles:
        print("--attention-limit changes nothing: the network has no self-attention")
    for name, chosen in tiles.items():
        print(f"{name}: {chosen.tokens} tokens in {chosen.blocks} blocks a head")


def sizes_to_compare(info: OnnxInfo) -> list[tuple[int, int]]:
    """The sizes of images that a file is compared on.

    Of a free size: the config's, the least, and two that divide by as little as may be.
    """
    height, width = info.shape[1:]
    if not info.dynamic:
        return [(height, width)]
    step, least = info.size_multiple, info.least_size[0]
    odd = [(least + step, least + 4 * step), (height + step, width + 3 * step)]
    return list(dict.fromkeys([(height, width), (least, least), *odd]))


def resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """An image in a size, itself if it has it."""
    if image.shape[-2:] == size:
        return image
    return F.interpolate(image, size=size, mode="bilinear")


def compare(model: nn.Module, file: Path, images: list[Tensor]) -> list[float]:
    """Print how much an ONNX file differs from PyTorch, and return it, size by size."""
    network = OnnxNetwork(file)
    sizes = sizes_to_compare(network.info)
    differences = [
        max(difference(model, network, resized(image, size)) for image in images)
        for size in sizes
    ]
    columns = {
        "image": [f"{height}x{width}" for height, width in sizes],
        "images": [str(len(images))] * len(sizes),
        "difference": [f"{value:.1e}" for value in differences],
    }
    print(text_table(columns))
    return differences


def describe(file: str, info: OnnxInfo) -> str:
    """What is in the float file, in a few lines."""
    lines = [f"{file}: {info.task}; it gives {info.outputs}"]
    size = f"{info.shape[1]}x{info.shape[2]}"
    if info.dynamic:
        size = f"any height and width from {info.least_size[0]} on"
        if info.size_multiple > 1:
            size += f", multiples of {info.size_multiple}"
    order = f", its channels as {info.channels}" if info.channels else ""
    lines.append(f"image: 1x{info.shape[0]}, {size}{order}")
    if info.task == FEATURES:
        lines.append("The heads are not in the file: it has no boxes and no metric.")
    lines.append("difference: the largest from PyTorch, of the largest output")
    return "\n".join(lines)


def check(args: argparse.Namespace) -> None:
    """Check the options and the packages, before any work."""
    check_int("--images", args.images)
    check_int("--calibration", args.calibration)
    if not args.tolerance > 0:
        raise ConfigError(
            f"--tolerance {args.tolerance}: a positive number is accepted"
        )
    if args.attention_limit is not None:
        parse_size(args.attention_limit, "--attention-limit")
    preflight.check_target(Path(args.out), Path(args.checkpoint), Path(args.config))
    for package in ("onnx", "onnxruntime"):
        require(package, "onnx")


def run(args: argparse.Namespace) -> None:
    """Export, compare, and put the file into its place."""
    check(args)
    cfg = trained.read_config(args)
    shape = input_shape(cfg, args.shape)
    preflight.check_data_paths(cfg, ("train", "test") if args.int8 else ("test",))
    for warning in check_contents(cfg, ("test",)):
        print(f"warning: {warning}")
    model = trained.load_trained(cfg, args)
    images = list(trained.network_inputs(cfg, model, count=args.images))
    calibration: Iterator[Tensor] = iter(())
    if args.int8:
        calibration = trained.network_inputs(cfg, model, "train", args.calibration)
    if args.attention_limit is not None:
        tile(cfg, model, shape, args)
    out = Path(args.out)
    order = channel_order(cfg, model) if shape[0] == 3 else None
    with TemporaryDirectory() as folder:
        file = Path(folder, "float.onnx")
        info = export_onnx(model, file, shape, args.dynamic, test_classes(cfg), order)
        print(describe(args.out, info))
        worst = max(compare(model, file, images))
        if not worst <= args.tolerance:
            raise ConfigError(
                f"--out {args.out}: its outputs differ from PyTorch's by {worst:.1e} "
                f"of the largest, more than --tolerance {args.tolerance:g}; the file "
                "is not kept"
            )
        if args.int8:
            print(f"\nint8, calibrated on {args.calibration} images")
            file = quantize(file, info, calibration)
            compare(model, file, images)
        write_atomically(out, file.read_bytes(), "--out")


def quantize(source: Path, info: OnnxInfo, images: Iterator[Tensor]) -> Path:
    """Write an int8 file beside a float one."""
    target = source.with_name("int8.onnx")
    if not info.dynamic:
        size = tuple(info.shape[1:])
        images = (resized(image, size) for image in images)
    kept = quantize_onnx(source, target, images)
    print(f"nodes that stay in float: {len(kept)}")
    return target


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with launch.one_line_errors():
        run(args)


if __name__ == "__main__":
    main()
