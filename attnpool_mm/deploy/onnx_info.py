"""What stands in an ONNX file beside the network."""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, fields
from numbers import Real
from pathlib import Path
from reprlib import repr as shown
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from ..utils.checks import is_int
from ..utils.config import reads_rgb
from ..utils.errors import ConfigError
from ..utils.extras import require
from ..version import __version__
from .network import OUTPUTS, DeployedNetwork, flatten

TEXTS = ("task", "outputs", "layout", "precision", "attnpool_mm")  # the others: JSON
MAX_DEPTH = 20  # of nested outputs; those of MMDetection's heads are two deep


@dataclass
class OnnxInfo:
    """The metadata of an exported file, a string or JSON an entry.

    Attributes:
        task: 'classification', 'detection' or 'features', as in `network.task_of`.
        outputs: What the outputs are.
        structure: Their names, nested as the model nests them.
        layout: Order of the input's axes; one image at a time.
        shape: Channels, height and width of the image that it was exported for.
        dynamic: Whether it takes images of other sizes.
        least_size: Smallest height and width in pixels that it takes.
        size_multiple: What height and width have to be multiples of.
        classes: Names of the classes, if they are known.
        mean: What is subtracted from each channel, or none.
        std: What each channel is divided by then, or none.
        to_rgb: Whether the model's preprocessor turns the order of the channels round.
        channels: Their order as the network gets them, 'RGB' or 'BGR'; none where it is
            not known.
        precision: 'float32' or 'int8'.
        attnpool_mm: Version of this package.
    """

    task: str
    outputs: str
    structure: Any
    shape: Sequence[int]
    dynamic: bool
    least_size: Sequence[int]
    size_multiple: int
    layout: str = "NCHW"
    classes: Sequence[str] | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    to_rgb: bool = False
    channels: str | None = None
    precision: str = "float32"
    attnpool_mm: str = __version__

    def check_size(self, height: int, width: int) -> None:
        """Check that the file takes an image of this size.

        Raises:
            ConfigError: It does not.
        """
        multiple, least = self.size_multiple, tuple(self.least_size)
        size = "x".join(map(str, self.shape[1:]))
        if not self.dynamic:
            if (height, width) != tuple(self.shape[1:]):
                raise ConfigError(
                    f"an image of {height}x{width}: the ONNX file takes {size} alone; "
                    "it takes others if it is exported with --dynamic"
                )
        elif height < least[0] or width < least[1]:
            raise ConfigError(
                f"an image of {height}x{width}: the ONNX file takes images of "
                f"{least[0]}x{least[1]} and larger"
            )
        elif height % multiple or width % multiple:
            raise ConfigError(
                f"an image of {height}x{width}: the ONNX file takes heights and widths "
                f"that are multiples of {multiple}"
            )


def preprocessing_of(model: nn.Module) -> dict[str, Any]:
    """Mean, standard deviation and order of the channels, of OpenMMLab's models.

    Example:
        >>> preprocessing_of(nn.Conv2d(3, 8, 1))
        {'mean': None, 'std': None, 'to_rgb': False}
    """
    preprocessor = getattr(model, "data_preprocessor", None)
    swaps = ("to_rgb", "_channel_conversion")
    return dict(
        mean=_numbers(getattr(preprocessor, "mean", None)),
        std=_numbers(getattr(preprocessor, "std", None)),
        to_rgb=any(getattr(preprocessor, name, False) for name in swaps),
    )


def channel_order(cfg: Config, model: nn.Module) -> str:
    """The order of the channels that a network of three gets: 'RGB' or 'BGR'.

    Args:
        cfg (Config): Its whole config.
        model (nn.Module): The network, with its preprocessor.

    Example:
        >>> cfg = Config(dict(test_dataloader=dict(dataset=dict(type='CIFAR10'))))
        >>> channel_order(cfg, nn.Conv2d(3, 8, 1))
        'RGB'
    """
    return "RGB" if reads_rgb(cfg) != preprocessing_of(model)["to_rgb"] else "BGR"


def _numbers(values: Any) -> list[float] | None:
    if not isinstance(values, torch.Tensor):
        return None
    return [round(value, 6) for value in values.flatten().tolist()]


def describe(network: DeployedNetwork, **given: Any) -> OnnxInfo:
    """The metadata of a network that has run.

    Args:
        network (DeployedNetwork): The network.
        **given (Any): What else `OnnxInfo` takes.
    """
    return OnnxInfo(
        task=network.task,
        outputs=OUTPUTS[network.task],
        structure=network.structure,
        **preprocessing_of(network.model),
        **given,
    )


def add_info(data: bytes, info: OnnxInfo) -> bytes:
    """Add the metadata to an ONNX graph.

    Args:
        data (bytes): The graph.
        info (OnnxInfo): The metadata.
    """
    onnx = require("onnx", "onnx")
    model = onnx.load_from_string(data)
    entries = {
        name: value if name in TEXTS else json.dumps(value)
        for name, value in asdict(info).items()
    }
    onnx.helper.set_model_props(model, entries)
    model.producer_name = "attnpool_mm"
    return model.SerializeToString()


def read_info(
    entries: dict[str, str], path: str | Path, outputs: Collection[str]
) -> OnnxInfo:
    """The metadata from an ONNX file's entries.

    Args:
        entries (dict[str, str]): As onnxruntime gives them.
        path (str | Path): The file, for messages.
        outputs (Collection[str]): The names of the graph's outputs.

    Raises:
        ConfigError: They are not those that this package writes.
    """
    writer = "tools/deployment/export_onnx.py, which writes the files that are accepted"
    values: dict[str, Any] = {}
    for name in (field.name for field in fields(OnnxInfo)):
        if name not in entries:
            raise ConfigError(f"{path}: it has no entry {name!r} of {writer}")
        values[name] = entries[name]
        try:
            if name not in TEXTS:
                values[name] = json.loads(entries[name])
        except (RecursionError, ValueError) as error:
            raise ConfigError(
                f"{path}: its entry {name!r} is no JSON ({error}), unlike that of "
                f"{writer}"
            ) from error
        is_right, accepted = CHECKS.get(name, (None, ""))
        if is_right and not is_right(values[name]):
            raise ConfigError(
                f"{path}: its entry {name!r} is {shown(values[name])}, and {accepted} "
                f"is expected, as of {writer}"
            )
    names = flatten(values["structure"])
    if missing := [name for name in names if name not in outputs]:
        raise ConfigError(
            f"{path}: its entry 'structure' names {shown(missing[0])}, and the outputs "
            "of the graph are expected"
        )
    return OnnxInfo(**values)


def _are_sizes(value: Any, count: int) -> bool:
    return isinstance(value, list) and len(value) == count and all(map(_is_size, value))


def _is_size(value: Any) -> bool:
    return is_int(value) and value > 0


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_none_or(value: Any, kind: type) -> bool:
    """Whether it is None, or a list of this kind without booleans."""
    return value is None or (
        isinstance(value, list)
        and all(isinstance(v, kind) and not isinstance(v, bool) for v in value)
    )


def _is_structure(value: Any) -> bool:
    return _is_nested(value, MAX_DEPTH) and bool(flatten(value))


def _is_nested(value: Any, depth: int) -> bool:
    if isinstance(value, list) and depth:
        return all(_is_nested(part, depth - 1) for part in value)
    return isinstance(value, str)


CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "task": (OUTPUTS.__contains__, " or ".join(map(repr, OUTPUTS))),
    "structure": (_is_structure, "a name, or nested lists of names,"),
    "shape": (lambda v: _are_sizes(v, 3), "[channels, height, width]"),
    "dynamic": (_is_bool, "true or false"),
    "least_size": (lambda v: _are_sizes(v, 2), "[height, width]"),
    "size_multiple": (_is_size, "a positive integer"),
    "classes": (lambda v: _is_none_or(v, str), "null or a list of names"),
    "mean": (lambda v: _is_none_or(v, Real), "null or a list of numbers"),
    "std": (lambda v: _is_none_or(v, Real), "null or a list of numbers"),
    "to_rgb": (_is_bool, "true or false"),
    "channels": ((None, "RGB", "BGR").__contains__, "null, 'RGB' or 'BGR'"),
}
