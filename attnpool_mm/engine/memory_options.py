"""The options of the tools that count memory: for which runtime, in which numbers."""

import argparse
from collections.abc import Callable, Sequence

from torch import nn

from ..deploy.tiling import tile_attention
from ..utils.checks import check_int
from ..utils.errors import ConfigError
from ..utils.sizes import parse_size

LIMIT = "--attention-limit"


def add_arguments(parser: argparse.ArgumentParser, default_limit: str = "") -> None:
    """Add `--bytes`, `--attention` and `--attention-limit`.

    Args:
        parser (argparse.ArgumentParser): The parser.
        default_limit (str): What the limit is without the option, in words; empty:
            nothing, it is needed. Default: ''.
    """
    parser.add_argument(
        "--bytes",
        type=int,
        default=1,
        help="bytes of a value of an activation (default: 1)",
    )
    parser.add_argument(
        "--attention",
        choices=("fused", "unfused", "tiled"),
        default="fused",
        help="the runtime: an ideal one with an operator for attention (default), a "
        "microcontroller's without it, or that with attention in blocks of queries",
    )
    parser.add_argument(
        LIMIT,
        metavar="SIZE",
        help="with --attention tiled, most memory of a block's two matrices, which are "
        "float32 at any --bytes, such as 64kB"
        + (f" (default: {default_limit})" if default_limit else ""),
    )


def read_arguments(
    args: argparse.Namespace, default_limit: int | None = None
) -> tuple[str, Callable | None]:
    """What of these options `measure_complexity` needs, and what tiles a model first.

    Args:
        args (argparse.Namespace): The command line.
        default_limit (int | None): Bytes of the limit without the option; None: it is
            needed. Default: None.

    Returns:
        `attention`, and None, or what gets a model, the shape of its image and the name
        of the method that runs, and lets the model's attention go in blocks.

    Raises:
        ConfigError: An option is out of range, the limit is missing, or it is given
            without `--attention tiled`.
    """
    check_int("--bytes", args.bytes)
    tiled, limit = args.attention == "tiled", default_limit
    if args.attention_limit is not None:
        limit = parse_size(args.attention_limit, LIMIT)
    if tiled and limit is None or not tiled and args.attention_limit is not None:
        needed = "" if default_limit else ", and needed there"
        raise ConfigError(
            f"--attention={args.attention} {LIMIT}={args.attention_limit}: a limit is "
            f"accepted with --attention tiled{needed}"
        )
    if not tiled:
        return args.attention, None

    def tile(model: nn.Module, shape: Sequence[int], method: str) -> None:
        tile_attention(model, shape, limit, method=method)

    return "unfused", tile
