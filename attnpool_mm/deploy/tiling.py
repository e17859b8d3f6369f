"""Attention in blocks of queries, for runtimes that build the N×N matrix."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

from torch import nn

from ..pooling.self_attention import SelfAttention
from ..utils.checks import check_int
from ..utils.errors import ConfigError
from ..utils.shapes import empty_input, shapes_only

MATRICES = 2  # a block's scores, and their softmax, which reads them


@dataclass
class Tiles:
    """How an attention goes over its queries.

    Attributes:
        tokens: Tokens N of an image.
        heads: Attention heads, one after the other.
        blocks: Blocks of queries in each head.
        matrix_bytes: Size of the two matrices of the largest block, of one image.
    """

    tokens: int
    heads: int
    blocks: int
    matrix_bytes: int


def tile_attention(
    model: nn.Module,
    shape: Sequence[int],
    limit: int,
    bytes_per_value: int = 4,
    method: str = "forward",
) -> dict[str, Tiles]:
    """Let every `SelfAttention` of a network go over its queries in blocks.

    A runtime without a fused operator holds two matrices of N×N values a head, the
    scores and their softmax. In blocks it holds the rows of one block of one head; each
    layer gets as few blocks as keep these below the limit. The outputs stay the same.

    The number of blocks is what is set: an image of another size is divided into as
    many blocks, of other sizes, and then holds more or less. So a graph that is traced
    for a dynamic size is right at each, but the limit holds up to the size of `shape`.

    The limit is for the matrices. What lives beside them, the tokens themselves, is
    not in it, nor is what a runtime keeps for each operator of the graph: four a block.

    Args:
        model (nn.Module): Any network; its `SelfAttention` layers are changed in place.
            A network without any is left as it is.
        shape (Sequence[int]): Shape of the input without the batch, (C, H, W) for an
            image.
        limit (int): Most bytes of the two matrices, for one image.
        bytes_per_value (int): Bytes of an activation's value: 4 in float32, 1 in int8.
            Default: 4.
        method (str): Name of the method that runs, as in `measure_complexity`. Default:
            'forward'.

    Returns:
        For each layer that runs, by its name, what was chosen; '' is the model itself.

    Raises:
        ConfigError: An argument is no positive integer, the network does not run on
            such an input, or the limit is too small for one query: the layer with the
            most tokens says what it needs. Then nothing is changed.

    Example:
        >>> from attnpool_mm.pooling import SelfAttentivePool2d
        >>> pool = SelfAttentivePool2d(8, num_heads=2)
        >>> tile_attention(pool, (8, 48, 48), limit=256_000)
        {'attention': Tiles(tokens=2304, heads=2, blocks=178, matrix_bytes=239616)}
        >>> untile_attention(pool)
    """
    check_int("limit", limit)
    check_int("bytes_per_value", bytes_per_value)
    tokens = _count_tokens(model, shape, method)
    rows = {name: MATRICES * n * bytes_per_value for name, n in tokens.items()}
    largest = max(rows, key=rows.__getitem__, default=None)
    if largest is not None and rows[largest] > limit:
        raise ConfigError(
            f"limit={limit}: one query of {largest or type(model).__name__} needs "
            f"{rows[largest]} bytes, with {tokens[largest]} tokens"
        )
    chosen = {}
    for name, row in rows.items():
        layer = model.get_submodule(name)
        layer.blocks = ceil(tokens[name] / (limit // row))
        block = ceil(tokens[name] / layer.blocks)
        chosen[name] = Tiles(tokens[name], layer.num_heads, layer.blocks, block * row)
    return chosen


def untile_attention(model: nn.Module) -> None:
    """Let every `SelfAttention` of a network use the fused operator again."""
    for layer in model.modules():
        if isinstance(layer, SelfAttention):
            layer.blocks = None


def _count_tokens(
    model: nn.Module, shape: Sequence[int], method: str
) -> dict[str, int]:
    """The most tokens that each `SelfAttention` gets of one image, by its name."""
    tokens: dict[str, int] = {}

    def hook(name: str) -> Callable:
        def count(layer: nn.Module, inputs: tuple) -> None:
            tokens[name] = max(tokens.get(name, 0), inputs[0].shape[1])

        return count

    with shapes_only(model) as network, empty_input(network, shape) as x:
        for name, layer in network.named_modules():
            if isinstance(layer, SelfAttention):
                layer.register_forward_pre_hook(hook(name))
        getattr(network, method)(x)
    return tokens
