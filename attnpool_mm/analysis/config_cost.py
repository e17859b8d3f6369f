"""What configs cost on one image, and what else is known of them, to compare them."""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from torch import nn

from ..utils.config import build_for_counting, counted_method, input_shape
from ..utils.errors import ConfigError
from .complexity import Complexity, measure_complexity
from .timing import take_turns

REPEATS = 9


@dataclass
class ConfigCost:
    """A config and what it costs on one image.

    Attributes:
        path: The config's file.
        model: What it builds; its weights have no values.
        shape: Channels, height and width of the image.
        method: What ran: 'forward', or 'extract_feat' for backbone and neck.
        complexity: Parameters of the whole model, FLOPs and memory of what ran.
        milliseconds: Median time of a forward pass, if it was measured.
        result: Its number in a results file, if there is one.
    """

    path: str
    model: nn.Module
    shape: tuple[int, ...]
    method: str
    complexity: Complexity
    milliseconds: float | None = None
    result: float | None = None


def measure_config(
    path: str,
    cfg: Config,
    shape: list[int] | None = None,
    bytes_per_value: int = 1,
    attention: str = "fused",
    prepare: Callable[[nn.Module, tuple[int, ...], str], None] | None = None,
) -> ConfigCost:
    """Build a config's model and measure it.

    A classifier is measured whole, a detector without its heads, which need NMS.

    Args:
        path (str): The config's file.
        cfg (Config): What is in it.
        shape (list[int] | None): As in `attnpool_mm.utils.config.input_shape`. Default:
            None.
        bytes_per_value (int): Bytes of a value of an activation. Default: 1.
        attention (str): As in `attnpool_mm.analysis.measure_complexity`. Default:
            'fused'.
        prepare (Callable[[nn.Module, tuple[int, ...], str], None] | None): Changes the
            model before it is measured, as `attnpool_mm.deploy.tiling.tile_attention`
            does; it gets the model, the image's shape and the name of the method that
            runs. Default: None.

    Raises:
        ConfigError: The model cannot be built or does not run on the image; the
            message names the file.
    """
    try:
        size, method = input_shape(cfg, shape), counted_method(cfg)
        model = build_for_counting(cfg)
        if prepare is not None:
            prepare(model, size, method)
        complexity = measure_complexity(model, size, bytes_per_value, method, attention)
    except ConfigError as error:
        raise ConfigError(f"config {path}: {error}") from error
    return ConfigCost(path, model, size, method, complexity)


@torch.no_grad()
def time_forward_passes(costs: Sequence[ConfigCost]) -> None:
    """Time forward passes of one image on the CPU, in turns; fill in the medians.

    Args:
        costs (Sequence[ConfigCost]): The configs. Their models get random weights.
    """
    steps = {}
    for cost in costs:
        for parameter in cost.model.parameters():
            if parameter.dim() > 1:  # which have no values yet
                nn.init.normal_(parameter, std=0.02)
        for module in cost.model.modules():
            module.training = False  # MMPretrain's eval() of a backbone returns nothing
        run, image = getattr(cost.model, cost.method), torch.rand(1, *cost.shape)
        steps[cost.path] = lambda run=run, image=image: run(image)
    times = take_turns(steps, REPEATS, torch.device("cpu"))
    for cost in costs:
        cost.milliseconds = 1e3 * statistics.median(times[cost.path])


def short_names(paths: Sequence[str]) -> list[str]:
    """What to call files: by their stems, or where two share one by their paths.

    Example:
        >>> short_names(['a/resnet18.py', 'a/resnet50.py', 'b/resnet50.py'])
        ['resnet18', 'a/resnet50.py', 'b/resnet50.py']
    """
    stems = [Path(path).stem for path in paths]
    return [
        stem if stems.count(stem) == 1 else path
        for stem, path in zip(stems, paths, strict=True)
    ]


def read_results(file: str, paths: Sequence[str]) -> list[float]:
    """Read one number for each config, such as its accuracy.

    Args:
        file (str): JSON, an object: path or file name, with or without .py → number.
        paths (Sequence[str]): The configs.

    Raises:
        ConfigError: The file cannot be read or has another form, or not exactly one
            number for each config.
    """
    try:
        results = json.loads(Path(file).read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"--results {file}: {error}") from error
    if not isinstance(results, dict) or not all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in results.values()
    ):
        raise ConfigError(
            f"--results {file}: an object with a number for each config is expected, "
            'such as {"resnet18": 82.3}'
        )
    keys_of = {
        path: {path, path.removesuffix(".py"), Path(path).name, Path(path).stem}
        for path in paths
    }
    for key in results:
        meant = sum(key in keys for keys in keys_of.values())
        if meant != 1:
            which = "more than one" if meant else "none"
            raise ConfigError(f"--results {file}: '{key}' is {which} of the configs")
    found = []
    for path, keys in keys_of.items():
        numbers = [results[key] for key in keys if key in results]
        if len(numbers) != 1:
            raise ConfigError(
                f"--results {file}: it has {len(numbers)} numbers for {path}; one is "
                "expected"
            )
        found.append(float(numbers[0]))
    return found
