"""Show what an architecture keyword stands for: its config, and its stages."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmengine.config import Config

from attnpool_mm.analysis import Stage, describe_stages
from attnpool_mm.models import AttnPoolBackbone, arch_to_config
from attnpool_mm.engine import launch
from attnpool_mm.utils.errors import ConfigError

COLUMNS = (
    "stage", "stride", "map", "channels", "pool", "patch", "heads", "normalised"
)  # fmt: skip


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("arch", help="e.g. resnet18-nlp_headfix2_nowin-1222")
    parser.add_argument(
        "--shape",
        type=int,
        nargs="+",
        default=[224],
        metavar="PIXELS",
        help="size of the image: height and width, or one number (default: 224)",
    )
    return parser.parse_args()


def table(stages: Sequence[Stage]) -> str:
    """The stages as lines of text."""
    rows = [COLUMNS, *map(_row, stages)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _row(stage: Stage) -> tuple[str, ...]:
    normalised = {None: "", True: "yes", False: "no"}[stage.normalize]
    return (
        stage.name,
        str(stage.stride),
        f"{stage.height}x{stage.width}",
        str(stage.channels),
        stage.pool,
        str(stage.patch_size or ""),
        str(stage.num_heads or ""),
        normalised,
    )


def run(args: argparse.Namespace) -> None:
    """Print the config and the table."""
    if len(args.shape) > 2:
        raise ConfigError(f"--shape {args.shape}: one or two integers are accepted")
    config = arch_to_config(args.arch)
    backbone = AttnPoolBackbone(args.arch)
    stages = describe_stages(backbone, (args.shape[0], args.shape[-1]))
    print(Config(dict(backbone=config)).pretty_text)
    print(table(stages))


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with launch.one_line_errors():
        run(args)


if __name__ == "__main__":
    main()
