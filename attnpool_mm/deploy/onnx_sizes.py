"""Of which sizes a network's ONNX graph holds."""

import warnings
from collections.abc import Callable

import torch

from ..models.tracing import trace
from ..utils.errors import ConfigError
from ..utils.extras import require
from ..utils.free_size import free_size
from ..utils.shapes import shapes_only
from .network import DeployedNetwork, output_shapes
from .traceable import TraceableOperators

LARGE = 1024  # pixels, beside which what is dropped at the borders does not count
MULTIPLES = (1, 2, 4, 8, 16, 32, 64, 128)
COUNTS = (15, 17)  # halved to odd numbers whether it is rounded down or up
LAST_MAP = 8  # pixels of the smallest map: more than a window or a patch there
LARGEST_TRACE = 256  # pixels


def find_sizes(
    network: DeployedNetwork, shape: tuple[int, ...]
) -> tuple[int, int, tuple[int, int]]:
    """The sizes that one graph of a network holds for.

    A network is traced at one size, and what it decides by the size is in the trace as
    it was decided there. So it does the same for two sizes if their traces are the
    same; and the least is the smallest whose trace is that of a large image.

    Args:
        network (DeployedNetwork): The network.
        shape (tuple[int, ...]): Channels, height and width of the image that it has to
            take.

    Returns:
        The least side in pixels; the number that sides are multiples of; and the size
        of the large image.

    Raises:
        ConfigError: `shape` is below the least size, or the network does not run for
            sizes by a power of two larger.

    Example:
        >>> from attnpool_mm.pooling import MaxPool2d
        >>> find_sizes(DeployedNetwork(MaxPool2d(4, stride=3)), (4, 32, 32))[:2]
        (3, 1)
    """
    channels, *size = shape
    multiple = _multiple(network, shape)
    side = min(LARGEST_TRACE, LAST_MAP * _stride(network))
    side += -side % multiple
    # Neither of them divides by strides and patches, if they may be anything.
    large = (side + multiple, side + 3 * multiple)
    expected = _trace(network, (channels, *large))

    def holds(count: int) -> bool:
        square = (channels, count * multiple, count * multiple)
        try:
            return _trace(network, square) == expected
        except Exception:  # anything: it is too small to run
            return False

    least = multiple * _smallest(holds, side // multiple + 1)
    if min(size) < least:
        raise ConfigError(
            f"an image of {size[0]}x{size[1]} is below the least size of "
            f"{type(network.model).__name__} with a free size, {least}x{least}: below "
            "it a map is smaller than a window or a patch; export it for one size, "
            "without --dynamic"
        )
    return least, multiple, large


def _trace(network: DeployedNetwork, shape: tuple[int, ...]) -> str:
    """What a network does on an image, without the sizes of the maps."""
    with (
        warnings.catch_warnings(),
        torch.no_grad(),
        TraceableOperators(),
        free_size(),
    ):
        warnings.simplefilter("ignore")
        graph = torch.jit._get_trace_graph(network, (torch.zeros(1, *shape),))[0]
    torch._C._jit_pass_erase_shape_information(graph)
    return str(torch._C._jit_pass_canonicalize(graph, False))


def _multiple(network: DeployedNetwork, shape: tuple[int, ...]) -> int:
    """The smallest power of two whose multiples an image may have as sides."""
    channels, height, width = shape
    whole = [side + -side % MULTIPLES[-1] for side in (height, width)]
    for multiple in MULTIPLES:
        if height % multiple or width % multiple:
            break
        try:
            for count in COUNTS:
                grown = (side + count * multiple for side in whole)
                output_shapes(network, (channels, *grown))
        except ConfigError:
            continue
        return multiple
    raise ConfigError(
        f"{type(network.model).__name__} cannot be exported for any size: it runs at "
        f"{height}x{width}, and not at sizes by a power of two up to "
        f"{MULTIPLES[-1]} larger; export it for one size, without --dynamic"
    )


def _stride(network: DeployedNetwork) -> int:
    """How many times smaller than the image the smallest map is, 1×1 ones aside."""
    with shapes_only(network) as copy:
        run = trace(copy, (LARGE, LARGE))
    sides = [min(call.out_size) for call in run.calls if call.y.dim() == 4]
    return max(LARGE // side for side in (LARGE, *sides) if side > 1)


def _smallest(holds: Callable[[int], bool], high: int) -> int:
    """The smallest number up to `high` that holds, if all above it hold.

    Example:
        >>> _smallest(lambda n: n >= 5, 40)
        5
    """
    low = 0  # which does not hold
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high


def add_size_check(data: bytes, least: int) -> bytes:
    """Let an ONNX graph fail for images with a side below `least` pixels.

    ONNX has no assertion. The input becomes the image of index 0 in the batch of one;
    of a smaller image it is that of index 1, which is not there.

    Args:
        data (bytes): The graph, whose input is 'input'.
        least (int): The least side in pixels.
    """
    onnx = require("onnx", "onnx")
    model, helper, kind = (
        onnx.load_from_string(data),
        onnx.helper,
        onnx.TensorProto.INT64,
    )
    graph, name = model.graph, f"image_below_least_size_{least}x{least}"
    for node in graph.node:
        node.input[:] = ["checked_input" if i == "input" else i for i in node.input]
    graph.initializer.append(helper.make_tensor("least_size", kind, [1], [least]))
    checks = [
        helper.make_node("Shape", ["input"], ["size"], start=2, end=4),
        helper.make_node("ReduceMin", ["size"], ["side"], axes=[0], keepdims=1),
        helper.make_node("Less", ["side", "least_size"], ["is_small"]),
        helper.make_node("Cast", ["is_small"], ["index"], to=kind),
        helper.make_node("Gather", ["input", "index"], ["checked_input"], name, axis=0),
    ]
    nodes = [*checks, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model.SerializeToString()
