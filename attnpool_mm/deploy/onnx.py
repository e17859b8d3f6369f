"""ONNX files of networks, for one image size or for any."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from torch import nn

from ..utils.atomic_files import write_atomically
from ..utils.checks import check_choice, check_int
from ..utils.errors import ConfigError
from ..utils.extras import require
from ..utils.free_size import free_size
from .network import DeployedNetwork, output_shapes
from .onnx_info import OnnxInfo, add_info, describe
from .onnx_sizes import add_size_check, find_sizes
from .traceable import TraceableOperators

OPSET = 17


def export_onnx(
    model: nn.Module,
    path: str | Path,
    shape: Sequence[int] = (3, 224, 224),
    dynamic: bool = False,
    classes: Sequence[str] | None = None,
    channels: str | None = None,
) -> OnnxInfo:
    """Write a network to an ONNX file, which takes one image at a time.

    A classifier goes whole, up to its logits; a one-stage detector up to the maps of
    its head; another detector with backbone and neck alone (see `network.task_of`). The
    file's metadata say which, and how images are normalised (`OnnxInfo`).

    With `dynamic=True` height and width are free, from a least size on. Below it, where
    a map is smaller than a window or a patch, the network does something else than what
    the file holds: there the file fails, at a node named 'image_below_least_size_…'.
    The least size is found by comparing traces of small images with a large one's.

    Args:
        model (nn.Module): A network on images (B, C, H, W). It is set to evaluation.
        path (str | Path): The file, which appears when it is whole.
        shape (Sequence[int]): Channels, height and width of the image in pixels.
            Default: (3, 224, 224).
        dynamic (bool): Whether height and width are free. Default: False.
        classes (Sequence[str] | None): Names of the classes, for the metadata. Default:
            None.
        channels (str | None): Order of the channels that the network was trained on,
            'RGB' or 'BGR', for the metadata. Default: None.

    Returns:
        The metadata.

    Raises:
        ConfigError: The package onnx is missing; there is no folder for the file, or
            it cannot be written; the network does not run on such an image, or cannot
            be exported; with `dynamic`, the image is below the least size, or the graph
            depends on the size for large images too.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from attnpool_mm.pooling import SelfAttentivePool2d
        >>> pool = SelfAttentivePool2d(4, stride=3, patch_size=5)
        >>> with TemporaryDirectory() as folder:
        ...     file = f'{folder}/pool.onnx'
        ...     info = export_onnx(pool, file, (4, 32, 32), dynamic=True)
        >>> info.least_size, info.structure
        ((5, 5), 'output')
    """
    require("onnx", "onnx")
    path, shape = _checked_path(path), _checked_shape(shape)
    check_choice("channels", channels, (None, "RGB", "BGR"))
    classes = None if classes is None else [str(name) for name in classes]
    network = DeployedNetwork(model)
    output_shapes(network, shape)  # it runs, and the outputs have names
    least, multiple, traced = shape[1:], 1, shape
    if dynamic:
        side, multiple, large = find_sizes(network, shape)
        least, traced = (side, side), (shape[0], *large)
    data = _exported(network, traced, dynamic)
    if dynamic:
        _check_graph(network, data, traced, multiple)
        data = add_size_check(data, side)
    info = describe(
        network,
        shape=shape,
        dynamic=dynamic,
        least_size=least,
        size_multiple=multiple,
        classes=classes,
        channels=channels,
    )
    write_atomically(path, add_info(data, info))
    return info


def _checked_path(path: str | Path) -> Path:
    path = Path(path)
    if path.is_dir() or not path.parent.is_dir():
        raise ConfigError(
            f"path={str(path)!r}: a file in a folder that is there is accepted"
        )
    return path


def _checked_shape(shape: Sequence[int]) -> tuple[int, ...]:
    if not isinstance(shape, tuple | list) or len(shape) != 3:
        raise ConfigError(f"shape={shape!r}: channels, height and width are accepted")
    return tuple(check_int("each of shape", side) for side in shape)


def _check_graph(
    network: DeployedNetwork, data: bytes, shape: tuple[int, ...], multiple: int
) -> None:
    """Check that the graph that was traced at `shape` is that of other sizes too.

    Raises:
        ConfigError: It is not.
    """
    channels, height, width = shape
    other = (channels, height + multiple, width - multiple)
    if _parts(data) != _parts(_exported(network, other, dynamic=True)):
        sizes = (f"{h}x{w}" for h, w in (shape[1:], other[1:]))
        raise ConfigError(
            f"{type(network.model).__name__} cannot be exported for any size: its "
            f"graph at {' is not that at '.join(sizes)}; export it for one size, "
            "without --dynamic"
        )


def _parts(data: bytes) -> list[bytes]:
    """The nodes and the constants of a graph."""
    graph = require("onnx", "onnx").load_from_string(data).graph
    return [part.SerializeToString() for part in (*graph.node, *graph.initializer)]


def _exported(network: DeployedNetwork, shape: tuple[int, ...], dynamic: bool) -> bytes:
    names = network.names()
    axes: dict[str, dict[int, str]] = {"input": {2: "height", 3: "width"}}
    file = io.BytesIO()
    free = free_size() if dynamic else nullcontext()
    with _quiet(), torch.no_grad(), TraceableOperators(), free:
        try:
            torch.onnx.export(
                network,
                (torch.zeros(1, *shape),),
                file,
                input_names=["input"],
                output_names=names,
                dynamic_axes=axes if dynamic else None,
                opset_version=OPSET,
                dynamo=False,
            )
        except Exception as error:  # anything: networks have operators of their own
            reason = (str(error) or type(error).__name__).splitlines()[0]
            name = type(network.model).__name__
            raise ConfigError(f"{name} cannot be exported to ONNX: {reason}") from error
    _check_operators(network, file.getvalue())
    return file.getvalue()


def _check_operators(network: DeployedNetwork, data: bytes) -> None:
    """Check that runtimes have the operators of a graph: they are ONNX's own.

    Raises:
        ConfigError: One is of another library, as those that MMCV compiles.
    """
    for node in require("onnx", "onnx").load_from_string(data).graph.node:
        if node.domain:
            raise ConfigError(
                f"{type(network.model).__name__} cannot be exported to ONNX, which has "
                f"no operator for {node.op_type} of {node.domain}"
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of traces and of its successor.

    And without the graph that it prints when it fails, since it reads its switch wrong.
    """
    print_graph = torch._C._jit_onnx_log
    torch._C._jit_onnx_log = lambda *args: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch._C._jit_onnx_log = print_graph
