"""From a config to what `measure_complexity` takes: a network and an image size."""

from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from torch.overrides import TorchFunctionMode

from ..engine.preflight import datasets_of
from ..errors import ConfigError

# Pixels of the images of a data set, where no transform sets their size.
DATASET_SIZES = {"CIFAR10": 32, "CIFAR100": 32, "STL10": 96, "Digits": 8}
RANDOM_FILLS = (torch.Tensor.normal_, torch.Tensor.uniform_)


def image_size(cfg: Config) -> tuple[int, int]:
    """Height and width of the images in pixels that a config tests with.

    They are what the test pipeline resizes or crops to. Where it keeps the ratio of
    height and width, they are the largest of a landscape photograph: `(1333, 800)`
    gives 800x1333. What the model's preprocessor pads is not in it.

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
    return height, width


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
        except (KeyError, TypeError) as error:
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
