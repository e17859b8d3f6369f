"""Show where a network shrinks its map, and what stands there.

python tools/misc/print_arch.py resnet18-nlp_headfix2_nowin-1222
python tools/misc/print_arch.py CONFIG
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmengine.config import Config
from torch import nn

from attnpool_mm.engine import launch
from attnpool_mm.engine.arguments import check_arguments
from attnpool_mm.models import (
    Shrinking,
    arch_to_config,
    attn_pool_backbone,
    find_shrinkings,
)
from attnpool_mm.pooling import AttentionPool2d, SelfAttentivePool2d, WeightedPool2d
from attnpool_mm.utils.config import build_for_counting
from attnpool_mm.utils.errors import ConfigError

COLUMNS = (
    "index", "module", "what", "stride", "map", "channels", "patch", "heads",
    "normalised", "",
)  # fmt: skip


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("network", help="an architecture keyword, or a config file")
    parser.add_argument(
        "--shape",
        type=int,
        nargs="+",
        default=[224],
        metavar="PIXELS",
        help="size of the image: height and width, or one number (default: 224)",
    )
    return parser.parse_args()


def table(backbone: nn.Module, places: Sequence[Shrinking]) -> str:
    """The places where a backbone shrinks its map, as lines of text."""
    rows = [COLUMNS, *(_row(i, p, backbone) for i, p in enumerate(places))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths).rstrip())
    return "\n".join(lines)


def _row(index: int, place: Shrinking, backbone: nn.Module) -> tuple[str, ...]:
    pool = backbone.get_submodule(place.name)
    patch = heads = normalised = ""
    for part in pool.modules() if place.is_pool else ():
        if isinstance(part, SelfAttentivePool2d):
            patch = str(part.patch_size)
        if isinstance(part, SelfAttentivePool2d | AttentionPool2d):
            heads = str(part.attention.num_heads)
    if isinstance(pool, WeightedPool2d):
        normalised = "yes" if pool.normalize else "no"
    height, width = (*place.out_size, 1)[:2]
    return (
        str(index),
        place.name,
        place.kind,
        str(place.stride),
        f"{height}x{width}",
        str(place.out_channels),
        patch,
        heads,
        normalised,
        ", ".join(
            ["stem"] * place.is_stem + ["cannot be pooled"] * bool(place.problem)
        ),
    )


def run(args: argparse.Namespace) -> None:
    """Print the config of a keyword, and the table."""
    if len(args.shape) > 2:
        raise ConfigError(f"--shape {args.shape}: one or two integers are accepted")
    if args.network.endswith((".py", ".json", ".yaml", ".yml")):
        cfg = launch.read_config(args.network)
        check_arguments(cfg, which=())
        model = build_for_counting(cfg)
        backbone = getattr(model, "backbone", model)
    else:
        config = arch_to_config(args.network)
        backbone = attn_pool_backbone(args.network)
        print(Config(dict(backbone=config)).pretty_text)
    places = find_shrinkings(backbone, (args.shape[0], args.shape[-1]))
    print(table(backbone, places))
    print("\n`stages` of pool_downsampling takes indices, or names of modules.")


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with launch.one_line_errors():
        run(args)


if __name__ == "__main__":
    main()
