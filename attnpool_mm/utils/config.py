"""What is read off a config: its data sets, its image size, its model."""

from collections.abc import Iterator
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from torch.overrides import TorchFunctionMode

from .errors import ConfigError

# Pixels of the images of a data set, where no transform sets their size.
DATASET_SIZES = {"CIFAR10": 32, "CIFAR100": 32, "STL10": 96, "Digits": 8}
RANDOM_FILLS = (torch.Tensor.normal_, torch.Tensor.uniform_)


def datasets_of(dataset: Any, key: str) -> Iterator[tuple[str, ConfigDict]]:
    """Yield each data set's config under `dataset`, and its key, through wrappers."""
    if not isinstance(dataset, dict):
        return
    if "dataset" in dataset:
        yield from datasets_of(dataset["dataset"], f"{key}.dataset")
    elif "datasets" in dataset:
        for i, inner in enumerate(dataset["datasets"]):
            yield from datasets_of(inner, f"{key}.datasets.{i}")
    else:
        yield key, dataset


def image_size(cfg: Config) -> tuple[int, int]:
    """Height and width of the images in pixels that a config tests with.

    They are what the test pipeline resizes or crops to, and the preprocessor pads to
    a multiple. Where the pipeline keeps the ratio of height and width, they are the
    largest of a landscape photograph: `(1333, 800)` gives 800x1333, padded to a
    multiple of 32 800x1344.

    Args:
        cfg: A whole config.

    Raises:
        ConfigError: The pipeline does not set the size.

    Example:
        >>> pipeline = [dict(type='ResizeEdge', scale=256, edge='short'),
        ...             dict(type='CenterCrop', crop_size=224)]
        >>> image_size(Config(dict(
        ...     test_dataloader=dict(dataset=dict(pipeline=pipeline)))))
        (224, 224)
    """
    size = None
    wrapped = (cfg.get("test_dataloader") or {}).get("dataset")
    for _, dataset in list(datasets_of(wrapped, "test_dataloader.dataset"))[:1]:
        size = DATASET_SIZES.get(_name(dataset))
        for step in dataset.get("pipeline") or []:
            name = _name(step)
            if name in ("Resize", "ResizeEdge") and step.get("scale") is not None:
                size = step["scale"]
                if step.get("keep_ratio") and not isinstance(size, int):
                    size = (max(size), min(size))
            elif name == "CenterCrop":
                size = step["crop_size"]
    if size is None:
        raise ConfigError(
            "the test pipeline sets no image size: test_dataloader.dataset.pipeline "
            "with Resize, ResizeEdge or CenterCrop is expected"
        )
    width, height = (size, size) if isinstance(size, int) else size
    inner = (cfg.get("model") or {}).get("data_preprocessor")
    divisor = (inner or cfg.get("data_preprocessor") or {}).get("pad_size_divisor") or 1
    return height + -height % divisor, width + -width % divisor


def input_shape(cfg: Config, shape: list[int] | None = None) -> tuple[int, ...]:
    """Channels, height and width of an image, of a command line or of the config.

    Args:
        cfg: A whole config.
        shape: The values of `--shape`: channels, height and width; height and width; or
            one number for both. Default: 3 channels, the size that the config tests
            with.

    Raises:
        ConfigError: There are more values, or none and the config sets no size.
    """
    if shape is None:
        try:
            return (3, *image_size(cfg))
        except ConfigError as error:
            raise ConfigError(f"{error}; or say it with --shape") from error
    if len(shape) > 3:
        raise ConfigError(f"--shape {shape}: one to three integers are accepted")
    return tuple(shape) if len(shape) == 3 else (3, shape[0], shape[-1])


def counted_method(cfg: Config) -> str:
    """The method of a config's model that is counted.

    It is 'forward' of a classifier, and 'extract_feat' of a detector, backbone and
    neck: its heads need NMS.

    Args:
        cfg: A whole config.
    """
    return "extract_feat" if cfg.default_scope == "mmdet" else "forward"


def build_for_counting(cfg: Config) -> nn.Module:
    """Build a config's model without giving its weights values; none are loaded.

    Args:
        cfg: A whole config.

    Raises:
        ConfigError: The config has no model, or one that cannot be built.
    """
    if cfg.get("model") is None:
        raise ConfigError("the config has no model")
    with DefaultScope.overwrite_default_scope(cfg.default_scope), _NoRandomFills():
        try:
            return MODELS.build(cfg.model)
        except ConfigError:
            raise
        except (
            AssertionError,
            AttributeError,
            KeyError,
            TypeError,
            ValueError,
        ) as error:
            raise ConfigError(f"model: {error}") from error


class _NoRandomFills(TorchFunctionMode):
    """Random initial values take most of the time of building."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if func in RANDOM_FILLS:
            return args[0]
        return func(*args, **(kwargs or {}))


def _name(cfg: Any) -> str:
    kind = cfg.get("type")
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
    return name.rsplit(".", 1)[-1]
